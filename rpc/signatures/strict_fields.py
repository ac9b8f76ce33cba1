"""marshmallow's fields without their leniencies: nothing is converted on the way but what JSON cannot say itself.

What is written is written as it is, so that reading it again tells whether it fits.
"""

import datetime
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, TypeAlias, TypeVar

from marshmallow import Schema, ValidationError, fields, validate

AnyField: TypeAlias = fields.Field[Any]
Options: TypeAlias = dict[str, Any]
"""Keyword arguments of a marshmallow field."""

_MAX_NAMED = 12
_Key = TypeVar("_Key", bound=Hashable)


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
        return self._validated(value)


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
    """A decimal number, written as a text and never through a float."""

    def __init__(self, **options: Any) -> None:
        super().__init__(as_string=True, **options)

    def _serialize(self, value: object, attr: str | None, obj: object, **options: object) -> Any:
        return str(value) if isinstance(value, Decimal) else value  # never format(value, "f"): 1E+999999 is legal


class Day(fields.Date):
    """A date; a datetime is more than that, and its time would get lost."""

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if isinstance(value, datetime.datetime):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE)
        return super()._serialize(value, attr, obj, **options)


class Span(fields.TimeDelta):
    """A number of seconds: no text, no truth value."""

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> datetime.timedelta:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        return super()._deserialize(value, attr, data, **options)


class WholeKey(Whole):
    """An integer as the key of an object, where JSON has texts only."""

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        return str(value) if type(value) is int else value

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> int:
        if not isinstance(value, str) or len(value) > 20 or not value.removeprefix("-").isdecimal():
            raise self.make_error("invalid")
        return int(value)


class Array(fields.List[Any]):
    """An array, read as a list, a set or a tuple.

    Args:
        inner: the field of its elements.
        make: what makes the collection of them.
    """

    default_error_messages = {"unhashable": "Not a valid element of a set."}  # noqa: RUF012, as marshmallow declares it

    def __init__(self, inner: AnyField, make: Callable[[Iterable[object]], Collection[object]], **options: Any) -> None:
        super().__init__(inner, **options)
        self.make = make

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if isinstance(value, str | bytes | Mapping):
            raise self.make_error("invalid")  # it can be iterated, and is no list
        if value is None:
            return None
        parts = ((index, partial(self.inner._serialize, each, attr, obj)) for index, each in enumerate(value))
        return list(serialized(parts).values())

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> Any:
        elements = super()._deserialize(value, attr, data, **options)
        try:
            return self.make(elements)
        except TypeError as error:
            raise self.make_error("unhashable") from error


class Table(fields.Dict):
    """An object, its keys and values of one kind each."""

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if value is None:
            return None
        write_one = super()._serialize
        entries = serialized((key, partial(write_one, {key: each}, attr, obj)) for key, each in value.items())
        return {key: each for entry in entries.values() for key, each in entry.items()}


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
            raise self.make_error("unknown", choices=self.choices_text)
        return super()._serialize(value, attr, obj, **options)


class AnyOf(fields.Raw):
    """What fits the first of several fields that it fits at all.

    Args:
        candidates: the fields, tried in this order.
    """

    def __init__(self, candidates: Collection[AnyField], **options: Any) -> None:
        super().__init__(**options)
        self.candidates = candidates

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        reasons: list[str | list[object] | dict[object, object]] = []
        if value is None and self.allow_none:
            return None
        # Written as what it derives from, a dataclass would lose what it has of its own.
        own = [each for each in self.candidates if isinstance(each, Record) and each.kind is type(value)]
        for candidate in [*own, *self.candidates]:
            try:
                return write(candidate, value)
            except ValidationError as error:
                reasons.append(error.messages)
        raise ValidationError(reasons)

    def _deserialize(self, value: Any, attr: str | None, data: object, **options: object) -> Any:
        reasons: list[str | list[object] | dict[object, object]] = []
        for candidate in self.candidates:
            try:
                return candidate.deserialize(value)
            except ValidationError as error:
                reasons.append(error.messages)
        raise ValidationError(reasons)


class Record(fields.Nested):
    """An object that is read as a dataclass.

    Args:
        kind: the dataclass.
        schema_of: returns its schema, asked when it is first needed: a dataclass may hold itself.
    """

    def __init__(self, kind: type, schema_of: Callable[[type], Schema], **options: Any) -> None:
        super().__init__(lambda: schema_of(kind), **options)
        self.kind = kind

    @property
    def schema(self) -> Schema:
        """The dataclass's schema, one for all fields."""
        if self._schema is None:
            assert callable(self.nested)
            self._schema = self.nested()  # type: ignore[assignment]
        assert self._schema is not None
        return self._schema

    def _serialize(  # type: ignore[override]  # Nested names its parameters otherwise than Field
        self, nested_obj: Any, attr: Any, obj: Any, **kwargs: Any
    ) -> Any:
        if nested_obj is None:
            return None
        if not isinstance(nested_obj, self.kind):
            raise ValidationError(f"Not of the type {self.kind.__name__}.")
        return self.schema.dump(nested_obj)

    def _deserialize(self, value: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return super()._deserialize(value, *arguments, **options)
        except ValidationError as error:
            if error.messages != {"_schema": [self.schema.error_messages["type"]]}:
                raise
            names = [field.data_key or name for name, field in self.schema.load_fields.items()]
            listed = ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")
            raise ValidationError(f"Not an object with the members {listed}." if names else "Not an object.") from None


def collected(parts: Iterable[tuple[_Key, Callable[[], Any]]]) -> dict[_Key, Any]:
    """Return what each part comes to.

    Raises:
        ValidationError: some come to nothing; the messages are by part.
    """
    found: dict[_Key, Any] = {}
    problems: dict[_Key, Any] = {}
    for key, make in parts:
        try:
            found[key] = make()
        except ValidationError as error:
            problems[key] = error.messages
    if problems:
        raise ValidationError(problems)
    return found


def serialized(parts: Iterable[tuple[_Key, Callable[[], Any]]]) -> dict[_Key, Any]:
    """Return the JSON value that each part is written as.

    Raises:
        ValidationError: some cannot be written; the messages are by part.
    """
    return collected((key, partial(_serialized, make)) for key, make in parts)


def write(field: AnyField, value: object) -> Any:
    """Return the JSON value that a field writes, which is known to be read again.

    Raises:
        ValidationError: the value does not fit the field.
    """
    raw = _serialized(partial(field.serialize, "value", {"value": value}))
    field.deserialize(raw)
    return raw


def _serialized(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (
        AttributeError,
        TypeError,
        ValueError,
    ) as error:  # what marshmallow's fields raise at a value of another type
        raise ValidationError(f"Cannot be written: {error}") from error
