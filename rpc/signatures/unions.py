"""Fields of what is one of several: ``A | B``."""

from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from marshmallow import ValidationError, fields

from gemstone_events.rpc.signatures.compound_fields import Record, Table, written
from gemstone_events.rpc.signatures.strict_fields import EXACTLY, AnyField, Exact, OneOf, Real, Text

_Messages: TypeAlias = "str | list[object] | dict[object, object]"
_Outcome: TypeAlias = "tuple[object, Any, ValidationError | None]"

_MAX_MESSAGES = 100
_KNOWN: ContextVar[dict[object, _Outcome] | None] = ContextVar("_KNOWN", default=None)


class _OtherReading(ValidationError):
    """A value fits one alternative, and would be read as another."""


class AnyOf(fields.Raw):
    """What fits the first of several fields that it fits at all.

    What others might be as well is tried after them, whatever their order: a date could be a datetime, an integer a
    float, a dataclass a dict, and a text may stand for many things. What has the very type of one of them is written
    as that; only then may a tuple be a list.

    Args:
        candidates: the fields.
    """

    def __init__(self, candidates: Collection[AnyField], **options: Any) -> None:
        super().__init__(**options)
        self.candidates = sorted(candidates, key=_generality)

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if value is None and self.allow_none:
            return None
        try:
            return _once(self._write_exactly, value)
        except ValidationError as error:
            if EXACTLY.get() or isinstance(error, _OtherReading):
                raise
            return _once(self._write, value)

    def _deserialize(self, value: Any, attr: str | None, data: object, **options: object) -> Any:
        return _once(self._read, value)[1]

    def _write_exactly(self, value: object) -> Any:
        token = EXACTLY.set(True)
        try:
            return self._write(value)
        finally:
            EXACTLY.reset(token)

    def _write(self, value: object) -> Any:
        reasons: list[_Messages] = []
        for candidate in self.candidates:
            try:
                raw = written(candidate, value)
            except ValidationError as error:
                reasons.append(error.messages)
            else:
                reader, read = _once(self._read, raw)
                # Both may make the same of it; records that do not compare equal have but one reader.
                if reader is not candidate and not _is_same(read, candidate.deserialize(raw)):
                    raise _OtherReading(f"Would be read as {read!r:.80}, a {type(read).__name__}.")
                return raw
        raise _refusal(reasons)

    def _read(self, value: object) -> tuple[AnyField, Any]:
        """Return the candidate that a value fits, and what that makes of it."""
        reasons: list[_Messages] = []
        others: list[_Messages] = []
        # A record that ignores unknown members would take what is another's.
        for candidate in sorted(self.candidates, key=lambda each: (_generality(each), _count_unknown(value, each))):
            try:
                return candidate, candidate.deserialize(value)
            except ValidationError as error:
                (others if _is_of_another(candidate, error.messages) else reasons).append(error.messages)
        raise _refusal(reasons or others)


def _once(make: Callable[[Any], Any], value: object) -> Any:
    """Return what comes of a value, which is found out once while the outermost alternative is read or written.

    Where alternatives hold alternatives, each value would else be tried again for all those that may be around it: its
    depth would be the exponent of the time.
    """
    if isinstance(value, str | int | float):  # which costs nothing
        return make(value)
    known = _KNOWN.get()
    if known is None:
        token = _KNOWN.set({})
        try:
            return make(value)
        finally:
            _KNOWN.reset(token)
    key = make, id(value)
    if key not in known:
        try:
            known[key] = value, make(value), None  # the value too: no other may get its id
        except ValidationError as error:
            known[key] = value, None, error
    _, found, refusal = known[key]
    if refusal is not None:
        raise type(refusal)(refusal.messages)
    return found


def _refusal(reasons: list[_Messages]) -> ValidationError:
    """Return why no alternative fits, as long as that can be read: it doubles with every level."""
    if len(reasons) == 1:
        return ValidationError(reasons[0])
    pending: list[object] = [reasons]
    for _ in range(_MAX_MESSAGES):
        if not pending:
            return ValidationError(reasons)
        part = pending.pop()
        pending += part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ()
    return ValidationError("None of the alternatives fits.")


def _generality(field: AnyField) -> int:
    """Return how late a field is tried: 0 where nothing else is read from what it writes."""
    if isinstance(field, AnyOf):
        return max(map(_generality, field.candidates))
    if type(field) is fields.Raw:
        return 4
    if isinstance(field, Text | Exact):
        return 3 if isinstance(field, Text) else 2
    return 1 if isinstance(field, Real | Table | fields.DateTime) else 0


def _count_unknown(value: object, field: AnyField) -> int:
    """Return how many members of an object a record does not know."""
    if not isinstance(field, Record) or not isinstance(value, Mapping):
        return 0
    known = {member.data_key or name for name, member in field.schema.load_fields.items()}
    return len(value.keys() - known)


def _is_of_another(field: AnyField, messages: _Messages) -> bool:
    """Tell whether an object was refused by a record because its ``Literal`` says that it is another one."""
    if not isinstance(field, Record) or not isinstance(messages, dict):
        return False
    members = field.schema.load_fields.items()
    return any(isinstance(member, OneOf) and (member.data_key or name) in messages for name, member in members)


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other
