"""marshmallow's fields without their leniencies: nothing is converted on the way but what JSON cannot say itself.

What is written is written as it is, so that reading it again tells whether it fits.
"""

import datetime
import re
import sys
import uuid
from collections.abc import Collection
from contextvars import ContextVar
from decimal import Decimal
from enum import Enum
from typing import Any, TypeAlias

from marshmallow import ValidationError, fields, validate

AnyField: TypeAlias = fields.Field[Any]
Options: TypeAlias = dict[str, Any]
"""Keyword arguments of a marshmallow field."""

EXACTLY: ContextVar[bool] = ContextVar("EXACTLY", default=False)
"""Whether only what has the hint's own type is written now, as long as another alternative may have that type."""

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,19}")


def wrong_type(value: object, kind: type) -> ValidationError:
    """Return why a value is not written that is of another type than it should be."""
    return ValidationError(f"Not of the type {kind.__qualname__}, but {type(value).__qualname__}.")


class _Of(fields.Field[Any]):
    """Writes what is of one type."""

    kind: type

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if value is not None and not isinstance(value, self.kind):
            raise wrong_type(value, self.kind)
        return super()._serialize(value, attr, obj, **options)


class _AsItIs:
    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        return value


class Text(_AsItIs, fields.String):
    """A text, and no bytes."""

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        return value


class Whole(_AsItIs, fields.Integer):
    """An integer: no text, no fraction, no truth value."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, **options)


class Real(_AsItIs, fields.Float):
    """A finite number: no text, no truth value."""

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> float:
        if not isinstance(value, int | float):
            raise self.make_error("invalid")
        number = self._validated(value)
        if number != value:
            raise ValidationError("Too many digits for a float.")
        return number


class Truth(_AsItIs, fields.Boolean):
    """True or false, and nothing that might mean it."""

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Null(fields.Raw):
    """Null."""

    default_error_messages = {"invalid": "Not null."}  # noqa: RUF012, as marshmallow declares it

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_none": True})

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> None:
        raise self.make_error("invalid")


class Exact(fields.Decimal):
    """A decimal number, written as a text; a number is read as well, if it has its digits for certain."""

    def __init__(self, **options: Any) -> None:
        super().__init__(as_string=True, **options)

    def _serialize(self, value: object, attr: str | None, obj: object, **options: object) -> Any:
        if value is None:
            return None
        if not isinstance(value, Decimal) and (type(value) is not int or EXACTLY.get()):
            raise wrong_type(value, Decimal)
        return str(value)  # never format(value, "f"): 1E+999999 is legal

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> Decimal:
        if isinstance(value, float):
            value = repr(value)
            if len(Decimal(value).as_tuple().digits) > sys.float_info.dig:  # others than those that were sent, perhaps
                raise ValidationError("Too many digits for a number: send a text.")
        found: Decimal = super()._deserialize(value, attr, data, **options)
        return found


class Unique(_Of, fields.UUID):
    """A UUID, and no text that looks like one."""

    kind = uuid.UUID


class Moment(_Of, fields.DateTime):
    """A date with a time."""

    kind = datetime.datetime


class Hour(_Of, fields.Time):
    """A time of the day."""

    kind = datetime.time


class Day(_Of, fields.Date):
    """A date; a datetime is more than that, and its time would get lost."""

    kind = datetime.date

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if isinstance(value, datetime.datetime):
            raise wrong_type(value, self.kind)
        return super()._serialize(value, attr, obj, **options)


class Span(_Of, fields.TimeDelta):
    """A number of seconds: no text, no truth value."""

    kind = datetime.timedelta

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        seconds = super()._serialize(value, attr, obj, **options)
        if seconds is not None and datetime.timedelta(seconds=seconds) != value:
            raise ValidationError("Too long to be exact to the microsecond.")
        return seconds

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> datetime.timedelta:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        return super()._deserialize(value, attr, data, **options)


class WholeKey(Whole):
    """An integer as the key of an object, where JSON has texts only."""

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        return str(value) if type(value) is int else value

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> int:
        if not isinstance(value, str) or not _WHOLE.fullmatch(value):
            raise self.make_error("invalid")
        return int(value)


class OneOf(fields.Raw):
    """One of some values, of the same type.

    Args:
        values: what is allowed.
    """

    def __init__(self, values: Collection[object], **options: Any) -> None:
        super().__init__(**{"validate": validate.OneOf(values), "allow_none": None in values, **options})
        self.values = values

    def _deserialize(self, value: Any, attr: str | None, data: object, **options: object) -> Any:
        if not any(value == each and type(value) is type(each) for each in self.values):  # for True == 1
            raise ValidationError(validate.OneOf.default_message.format(choices=", ".join(map(str, self.values))))
        return value


class Member(fields.Enum[Any]):
    """A member of an enumeration: by its value where all are texts or all are integers, else by its name.

    Args:
        kind: the enumeration.
    """

    def __init__(self, kind: type[Enum], **options: Any) -> None:
        types = {type(member.value) for member in kind}
        # A member of a StrEnum has its own type; its value is a plain text.
        by_value = {str: Text, int: Whole}.get(types.pop(), False) if len(types) == 1 else False
        super().__init__(kind, by_value=by_value, **options)

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if value is not None and not isinstance(value, self.enum):
            raise wrong_type(value, self.enum)
        return super()._serialize(value, attr, obj, **options)
