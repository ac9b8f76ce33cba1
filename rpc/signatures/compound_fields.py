"""Fields of values that hold others: arrays and objects.

A value is written only as what is read as that value again: what would come back as something else is refused.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, TypeVar

from marshmallow import Schema, ValidationError, fields

from gemstone_events.rpc.signatures.strict_fields import EXACTLY, AnyField, wrong_type
from gemstone_events.rpc.signatures.type_hints import is_record, kind_of

_MAX_NAMED = 12
_MAX_PROBLEMS = 100
_Key = TypeVar("_Key", bound=Hashable)


class Array(fields.List[Any]):
    """An array, read as a list, a set or a tuple.

    Args:
        inner: the field of its elements.
        kind: what is written; for a sequence any other one, and for a set any other set, which hold no less.
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
        _check_elements(value, self.kind)
        parts = ((index, partial(self.inner._serialize, each, attr, obj)) for index, each in enumerate(value))
        return list(serialized(parts).values())

    def _deserialize(self, value: object, attr: str | None, data: object, **options: object) -> Any:
        if not isinstance(value, list | tuple):
            raise self.make_error("invalid")
        elements = collected((index, partial(self.inner.deserialize, each)) for index, each in enumerate(value))
        try:
            return self.make(elements.values())
        except TypeError as error:
            raise self.make_error("unhashable") from error


class Places(fields.Tuple):
    """An array with a field for each place, read as a tuple."""

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if value is not None:
            _check_elements(value, tuple)
        return super()._serialize(value, attr, obj, **options)


class Table(fields.Dict):
    """An object, its keys and values of one kind each."""

    default_error_messages = {"repeated": "Several keys mean the same."}  # noqa: RUF012, as marshmallow declares it

    def _serialize(self, value: Any, attr: str | None, obj: object, **options: object) -> Any:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise wrong_type(value, dict)
        write_one = super()._serialize
        entries = serialized((key, partial(write_one, {key: each}, attr, obj)) for key, each in value.items())
        return {key: each for entry in entries.values() for key, each in entry.items()}

    def _deserialize(self, value: Any, attr: str | None, data: object, **options: object) -> Any:
        if not isinstance(value, Mapping):
            raise self.make_error("invalid")
        found = dict(collected((key, partial(self._read, key, each)) for key, each in value.items()).values())
        if len(found) < len(value):
            raise self.make_error("repeated")  # as "1" and "01" do, or one UUID with hyphens and without
        return found

    def _read(self, key: object, value: object) -> tuple[Any, Any]:
        assert self.key_field is not None
        assert self.value_field is not None
        read = collected(
            [("key", partial(self.key_field.deserialize, key)), ("value", partial(self.value_field.deserialize, value))]
        )
        return read["key"], read["value"]


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
            raise wrong_type(nested_obj, kind)
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
        ValidationError: some come to nothing; the messages are by part, and end with the hundredth.
    """
    found: dict[_Key, Any] = {}
    problems: dict[_Key, Any] = {}
    for key, make in parts:
        try:
            found[key] = make()
        except ValidationError as error:
            problems[key] = error.messages
            if len(problems) == _MAX_PROBLEMS:
                break
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

    What can be iterated only once, such as a generator, is written as a list. It must not be inside another value: what
    is one of several would find it empty.

    Raises:
        ValidationError: the value does not fit the field.
    """
    value = list(value) if isinstance(value, Iterator) else value
    try:
        return written(field, value)
    except RecursionError:
        raise ValidationError("Nested too deeply: perhaps it holds itself.") from None


def written(field: AnyField, value: object) -> Any:
    """Return what ``write`` does, for a value inside another one."""
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


def _check_elements(value: object, kind: type) -> None:
    """Refuse what is no such collection; a text can be iterated as well, and is none."""
    if isinstance(value, Iterator):
        raise ValidationError("Can be iterated only once: make a list of it.")
    taken: type | tuple[type, ...] = kind
    if not EXACTLY.get() and issubclass(kind, Sequence | AbstractSet):
        taken = (Sequence, MappingView) if issubclass(kind, Sequence) else AbstractSet
    # A NamedTuple has more than its elements, and may be one of the alternatives.
    is_other = is_record(type(value)) and (kind is not tuple or EXACTLY.get())
    if isinstance(value, str | bytes | Mapping) or is_other or not isinstance(value, taken):
        raise wrong_type(value, kind)
