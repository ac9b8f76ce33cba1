"""Fields of values that hold others: arrays, objects, and what is one of several.

A value is written only as what is read as that value again: what would come back as something else is refused.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias, TypeVar

from marshmallow import Schema, ValidationError, fields

from gemstone_events.rpc.signatures.strict_fields import AnyField, Exact, Real, Text
from gemstone_events.rpc.signatures.type_hints import kind_of, shown

Messages: TypeAlias = "str | list[object] | dict[object, object]"

_MAX_NAMED = 12
_Key = TypeVar("_Key", bound=Hashable)


class Array(fields.List[Any]):
    """An array, read as a list, a set or a tuple.

    Args:
        inner: the field of its elements.
        kind: what is written, and nothing else.
        make: what makes the collection of them.
    """

    default_error_messages = {"unhashable": "Not a valid element of a set."}  # noqa: RUF012, as marshmallow declares it

    def __init__(self, inner: AnyField, kind: type[Iterable[Any]], make: type[Any], **options: Any) -> None:
        super().__init__(inner, **options)
        self.kind = kind
        self.make = make

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if value is None:
            return None
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, self.kind):
            raise self.make_error("invalid")  # a text can be iterated as well, and is no list
        parts = ((index, partial(self.inner._serialize, each, attr, obj)) for index, each in enumerate(value))
        return list(serialized(parts).values())

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> Any:
        elements = super()._deserialize(value, attr, data, **options)
        try:
            return self.make(elements)
        except TypeError as error:
            raise self.make_error("unhashable") from error


class Places(fields.Tuple):
    """An array with a field for each place, read as a tuple."""

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if value is not None and not isinstance(value, tuple):
            raise self.make_error("invalid")
        return super()._serialize(value, attr, obj, **options)


class Table(fields.Dict):
    """An object, its keys and values of one kind each."""

    default_error_messages = {"repeated": "Several keys mean the same."}  # noqa: RUF012, as marshmallow declares it

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if value is None:
            return None
        write_one = super()._serialize
        entries = serialized((key, partial(write_one, {key: each}, attr, obj)) for key, each in value.items())
        return {key: each for entry in entries.values() for key, each in entry.items()}

    def _deserialize(self, value: Any, attr: str | None, data: object, **options: object) -> Any:
        found: dict[object, object] = super()._deserialize(value, attr, data, **options)  # type: ignore[no-untyped-call]
        if len(found) < len(value):
            raise self.make_error("repeated")  # as "1" and "01" do, or one UUID with hyphens and without
        return found


class AnyOf(fields.Raw):
    """What fits the first of several fields that it fits at all.

    What others might be as well is tried after them, whatever their order: a date could be a datetime, an integer a
    float, a dataclass a dict, and a text may stand for many things.

    Args:
        candidates: the fields.
    """

    def __init__(self, candidates: Collection[AnyField], **options: Any) -> None:
        super().__init__(**options)
        self.candidates = sorted(candidates, key=_generality)

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        reasons: list[Messages] = []
        if value is None and self.allow_none:
            return None
        for candidate in self.candidates:
            try:
                raw = write(candidate, value)
            except ValidationError as error:
                reasons.append(error.messages)
            else:
                reader, read = self._read(raw)
                # Both may make the same of it; records that do not compare equal have but one reader.
                if reader is not candidate and not _is_same(read, candidate.deserialize(raw)):
                    raise ValidationError(f"Would be read as {read!r:.80}, a {type(read).__name__}.")
                return raw
        raise ValidationError(reasons)

    def _deserialize(self, value: Any, attr: str | None, data: object, **options: object) -> Any:
        return self._read(value)[1]

    def _read(self, value: object) -> tuple[AnyField, Any]:
        """Return the candidate that a value fits, and what that makes of it."""
        reasons: list[Messages] = []
        # A record that ignores unknown members would take what is another's.
        for candidate in sorted(self.candidates, key=lambda each: (_generality(each), _count_unknown(value, each))):
            try:
                return candidate, candidate.deserialize(value)
            except ValidationError as error:
                reasons.append(error.messages)
        raise ValidationError(reasons)


class Record(fields.Nested):
    """An object that is read as a dataclass, a NamedTuple or a TypedDict.

    Args:
        hint: one of these, with what its type variables stand for.
        schema_of: returns its schema, asked when it is first needed: a dataclass may hold itself.
    """

    def __init__(self, hint: Any, schema_of: Callable[[Any], Schema], **options: Any) -> None:
        super().__init__(lambda: schema_of(hint), **options)
        self.hint = hint

    @property
    def schema(self) -> Schema:
        """The record's schema, one for all fields."""
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
        kind = kind_of(self.hint)
        # Nothing is an instance of a TypedDict.
        if not isinstance(nested_obj, dict if issubclass(kind, dict) else kind):
            raise ValidationError(f"Not of the type {shown(kind)}.")
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


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other
