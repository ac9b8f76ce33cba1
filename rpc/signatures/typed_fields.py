"""From a type hint to the marshmallow field that reads it from JSON, checks it, and writes it.

=========================================  ==================================================================
hint                                       JSON
=========================================  ==================================================================
``str``, ``int``, ``float``, ``bool``      itself, strictly: no text for a number, no truth value for one either
``None``, ``X | None``                     null
``Any``, ``object``, ``JsonValue``         anything, unchecked
dataclass                                  an object; unknown members are refused, defaults may be left out
``Enum``                                   the value where all are texts or all are integers, else the name
``datetime``, ``date``, ``time``           a text, ISO 8601
``timedelta``                              a number of seconds
``UUID``, ``Decimal``                      a text
``list``, ``Sequence``, ``set``, ``tuple`` an array
``dict``, ``Mapping``                      an object
``A | B``                                  what fits first; a value that is a dataclass of the union, as that one
``Literal``                                one of the values, texts, integers, True, False and None
``Annotated[X, Range(min=1)]``             as X, with marshmallow's validators; or as the given marshmallow field
=========================================  ==================================================================

A ``NewType``, and an alias made by ``type X = ...``, is what it stands for. A dataclass must not be generic.

A dataclass's field may have marshmallow's ``validate``, ``data_key`` and ``metadata`` in its ``metadata``, or a
``marshmallow_field`` of its own. A ``ValueError`` from ``__post_init__`` refuses the value. A dataclass with a
marshmallow schema as its attribute ``Schema`` is read and written by that; the options of a class ``Meta`` inside it,
such as ``unknown = EXCLUDE``, are its schema's.
"""

import collections.abc
import dataclasses
import datetime
import inspect
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from copy import copy
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing, post_load, validate

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.signatures import strict_fields
from gemstone_events.rpc.signatures.strict_fields import AnyField, Options, serialized
from gemstone_events.rpc.signatures.type_hints import UnresolvedHint, behind, hints_of, is_anything, shown

_SIMPLE: Mapping[object, type[AnyField]] = {
    str: strict_fields.Text,
    int: strict_fields.Whole,
    float: strict_fields.Real,
    bool: strict_fields.Truth,
    None: strict_fields.Null,
    type(None): strict_fields.Null,
    datetime.datetime: fields.DateTime,
    datetime.date: strict_fields.Day,
    datetime.time: fields.Time,
    datetime.timedelta: strict_fields.Span,
    uuid.UUID: fields.UUID,
    Decimal: strict_fields.Exact,
}
_KEY_FIELDS = (fields.String, fields.UUID, fields.DateTime, fields.Date, fields.Time, strict_fields.Exact, fields.Enum)
_LISTS = (list, collections.abc.Sequence, collections.abc.Collection, collections.abc.Iterable)
_SETS = (set, collections.abc.Set, collections.abc.MutableSet)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_PASSED_ON = ("validate", "data_key", "metadata")


class TypeHintError(ServiceConfigurationError):
    """A type hint names nothing that can be read from JSON and written to it."""


def field_for(hint: object, **options: Any) -> AnyField:
    """Return the marshmallow field for a type hint.

    Args:
        hint: the hint, without text for names: see ``typing.get_type_hints``.
        options: keyword arguments for the field, as ``required`` or ``validate``.

    Raises:
        TypeHintError: it cannot be read from JSON; the message names what could be.
    """
    if is_anything(hint):
        return fields.Raw(**{**options, "allow_none": True})
    if isinstance(hint, collections.abc.Hashable) and hint in _SIMPLE:
        return _SIMPLE[hint](**options)
    if (meant := behind(hint)) is not hint:
        return field_for(meant, **options)
    if (origin := typing.get_origin(hint)) is not None:
        return _field_for_generic(hint, origin, options)
    if isinstance(hint, type):
        if issubclass(hint, Enum):
            return strict_fields.Member(hint, **options)
        if dataclasses.is_dataclass(hint):
            return strict_fields.Record(hint, schema_for, **options)
        if hint in (*_LISTS, *_SETS, *_MAPPINGS, tuple, frozenset):
            return _field_for_generic(hint, hint, options)
    raise TypeHintError(
        f"{shown(hint)} cannot be read from JSON: use str, int, float, bool, None, a dataclass, an Enum, datetime, "
        "date, time, timedelta, UUID, Decimal, or list, set, tuple, dict, Literal, Union and Annotated of these"
    )


def look_into(field: AnyField) -> None:
    """Make the schemas of all dataclasses in a field now, not when the first call comes.

    Raises:
        TypeHintError: a field of one cannot be read from JSON; the message names it.
    """
    pending, seen = [field], set[type]()
    while pending:
        match pending.pop():
            case strict_fields.Record() as record if record.kind not in seen:
                seen.add(record.kind)
                pending += record.schema.fields.values()
            case fields.List() as array:
                pending.append(array.inner)
            case fields.Tuple() as array:
                pending += array.tuple_fields
            case fields.Dict() as table if table.value_field is not None:
                pending.append(table.value_field)
            case strict_fields.AnyOf() as union:
                pending += union.candidates


@lru_cache(maxsize=1024)
def schema_for(kind: type) -> Schema:
    """Return the marshmallow schema of a dataclass; it loads instances.

    Raises:
        TypeHintError: a field of it cannot be read from JSON; the message names it.
    """
    own = getattr(kind, "Schema", None)
    if isinstance(own, type) and issubclass(own, Schema):
        return own()
    try:
        hints = hints_of(kind)
    except UnresolvedHint as error:
        raise TypeHintError(f"a type hint of {shown(kind)}: {error}") from None
    members: Options = {
        field.name: _field_of(kind, field, hints[field.name]) for field in dataclasses.fields(kind) if field.init
    }
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in members and parameter.default is parameter.empty:
            raise TypeHintError(f"{shown(kind)} cannot be read from JSON: {name!r} is no field of it, but required")
    members = {"_kind": kind, "__doc__": kind.__doc__, **members}
    if isinstance(meta := getattr(kind, "Meta", None), type):
        members["Meta"] = type("Meta", (meta, _RecordSchema.Meta), {})
    made: type[Schema] = type(kind.__name__, (_RecordSchema,), members)
    return made()


class _RecordSchema(Schema):
    """Loads a dataclass. It stays out of marshmallow's registry, where schemas of one name get mixed up."""

    class Meta:
        register = False

    _kind: type

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Write a dataclass; what is wrong with it is told by member."""
        if self.many if many is None else many:
            return [self.dump(each, many=False) for each in obj]
        written = serialized(
            (member.data_key or name, partial(member.serialize, name, obj)) for name, member in self.dump_fields.items()
        )
        return {name: value for name, value in written.items() if value is not missing}

    @post_load
    def _make_record(self, members: Mapping[str, object], **options: object) -> object:
        try:
            return self._kind(**members)
        except ValueError as error:
            raise ValidationError(str(error)) from error


def _field_of(kind: type, field: "dataclasses.Field[Any]", hint: object) -> AnyField:
    given = field.metadata.get("marshmallow_field")
    if isinstance(given, fields.Field):
        return given
    options: Options = {name: field.metadata[name] for name in _PASSED_ON if name in field.metadata}
    if field.default is not dataclasses.MISSING:
        options |= {"load_default": field.default, "allow_none": False}
    elif field.default_factory is dataclasses.MISSING:
        options["required"] = True
    try:
        return field_for(hint, **options)
    except TypeHintError as error:
        raise TypeHintError(f"the field {field.name!r} of {shown(kind)}: {error}") from None


def _field_for_generic(hint: object, origin: object, options: Options) -> AnyField:
    arguments = typing.get_args(hint)
    if origin is typing.Annotated:
        return _field_for_annotated(arguments[0], arguments[1:], options)
    if origin in (typing.Union, types.UnionType):
        return _field_for_union(arguments, options)
    if origin is typing.Final:
        return field_for(arguments[0], **options)
    if origin is typing.Literal:
        if any(isinstance(value, Enum | bytes) for value in arguments):
            raise TypeHintError(f"{shown(hint)} cannot be read from JSON: write texts, integers, True, False and None")
        return strict_fields.OneOf(arguments, **options)
    if origin in _LISTS:
        return strict_fields.Array(field_for(*arguments or (object,)), list, **options)
    if origin in _SETS:
        return strict_fields.Array(field_for(*arguments or (object,)), set, **options)
    if origin is frozenset:
        return strict_fields.Array(field_for(*arguments or (object,)), frozenset, **options)
    if origin is tuple:
        is_bare = hint in (tuple, typing.Tuple)  # noqa: UP006 - tuple[()] has no arguments either, and is empty
        if is_bare or (len(arguments) == 2 and arguments[1] is Ellipsis):
            return strict_fields.Array(field_for(*arguments[:1] or (object,)), tuple, **options)
        return fields.Tuple([field_for(argument) for argument in arguments], **options)
    if origin in _MAPPINGS:
        key, value = arguments or (str, object)
        return strict_fields.Table(keys=_key_field_for(key), values=field_for(value), **options)
    instead = (
        "a dataclass that is not generic"
        if dataclasses.is_dataclass(origin)
        else "list, set, tuple, dict or a dataclass"
    )
    raise TypeHintError(f"{shown(hint)} cannot be read from JSON: use {instead} instead")


def _key_field_for(hint: object) -> AnyField:
    """Return the field of an object's keys, which are texts in JSON."""
    if is_anything(hint):
        return strict_fields.Text()
    if hint is int:
        return strict_fields.WholeKey()
    field = field_for(hint)
    if isinstance(field, strict_fields.Member) and field.by_value and isinstance(field.field, strict_fields.Whole):
        raise TypeHintError(f"{shown(hint)} cannot be the key of a JSON object: its values are integers")
    if not isinstance(field, _KEY_FIELDS) or field.allow_none:
        raise TypeHintError(
            f"{shown(hint)} cannot be the key of a JSON object: use str, int, UUID, or an Enum of texts"
        )
    return field


def _field_for_union(members: Sequence[object], options: Options) -> AnyField:
    others = [member for member in members if member not in (None, type(None))]
    if len(others) < len(members):
        options = {**options, "allow_none": True}
    if len(others) == 1:
        return field_for(others[0], **options)
    others.sort(key=lambda member: member is datetime.datetime)  # which takes a date for midnight
    return strict_fields.AnyOf([field_for(member) for member in others], **options)


def _field_for_annotated(hint: object, extras: Sequence[object], options: Options) -> AnyField:
    validators = [extra for extra in extras if isinstance(extra, validate.Validator)]
    for extra in extras:
        if isinstance(extra, fields.Field):
            field = copy(extra)
            field.required, field.allow_none = (
                options.get("required", False),
                options.get("allow_none", extra.allow_none),
            )
            return field
    if validators:
        more = options.get("validate", ())
        options = {**options, "validate": [*validators, *(more if isinstance(more, list | tuple) else [more])]}
    return field_for(hint, **options)
