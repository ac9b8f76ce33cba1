"""From a type hint to the marshmallow field that reads it from JSON, checks it, and writes it.

=========================================  ==================================================================
hint                                       JSON
=========================================  ==================================================================
``str``, ``int``, ``float``, ``bool``      itself, strictly: no text for a number, no truth value for one either
``None``, ``X | None``                     null
``Any``, ``object``, ``JsonValue``         anything, unchecked
dataclass, ``NamedTuple``                  an object; unknown members are refused, defaults may be left out
``TypedDict``                              an object; unknown members are refused; what is not required may be missing
``Enum``                                   the value where all are texts or all are integers, else the name
``datetime``, ``date``, ``time``           a text, ISO 8601
``timedelta``                              a number of seconds
``UUID``, ``Decimal``                      a text
``list``, ``Sequence``, ``set``, ``tuple`` an array
``dict``, ``Mapping``                      an object
``A | B``                                  what fits first; what would be read as something else is not written
``Literal``                                one of the values, texts, integers, True, False and None
``Annotated[X, Range(min=1)]``             as X, with marshmallow's validators; or as the given marshmallow field
=========================================  ==================================================================

A ``NewType``, an alias made by ``type X = ...``, and a type variable with a bound or constraints are what they stand
for. A generic dataclass has its arguments: ``Page[Order]``; ``Self`` is the class in which it stands. Of the hints for
arrays that name no class to make, all but those of sets are read as lists. What is written has to be of the hint's own
type: a dataclass that derives from it has members that would get lost. What holds no less is written as well: any
sequence for another, any set for another, an integer for a ``Decimal``.

A dataclass's field may have marshmallow's ``validate``, ``data_key`` and ``metadata`` in its ``metadata``, or a
``marshmallow_field`` of its own. A ``ValueError`` from ``__post_init__`` refuses the value. A dataclass with a
marshmallow schema as its attribute ``Schema`` is read and written by that; the options of a class ``Meta`` inside it,
such as ``unknown = EXCLUDE``, are its schema's.
"""

import collections.abc
import dataclasses
import datetime
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from copy import copy
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import combinations
from typing import Any, ForwardRef, TypeVar, get_args, get_origin

from marshmallow import Schema, fields, validate

from gemstone_events.rpc.signatures import strict_fields
from gemstone_events.rpc.signatures.compound_fields import Array, Places, Record, Table
from gemstone_events.rpc.signatures.records import Member, RecordSchema, members_of
from gemstone_events.rpc.signatures.strict_fields import AnyField, Options
from gemstone_events.rpc.signatures.type_hints import (
    TypeHintError,
    UnresolvedHint,
    behind,
    is_anything,
    is_record,
    is_typed_dict,
    kind_of,
    shown,
    title,
)
from gemstone_events.rpc.signatures.unions import AnyOf

_SIMPLE: Mapping[object, type[AnyField]] = {
    str: strict_fields.Text,
    int: strict_fields.Whole,
    float: strict_fields.Real,
    bool: strict_fields.Truth,
    None: strict_fields.Null,
    type(None): strict_fields.Null,
    datetime.datetime: strict_fields.Moment,
    datetime.date: strict_fields.Day,
    datetime.time: strict_fields.Hour,
    datetime.timedelta: strict_fields.Span,
    uuid.UUID: strict_fields.Unique,
    Decimal: strict_fields.Exact,
}
_KEY_FIELDS = (fields.String, fields.UUID, fields.DateTime, fields.Date, fields.Time, strict_fields.Exact, fields.Enum)
_LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
_SETS = (set, collections.abc.Set, collections.abc.MutableSet)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_MAX_GENERICS = 100


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
    if (hint is None or isinstance(hint, type)) and hint in _SIMPLE:
        return _SIMPLE[hint](**options)
    if (meant := behind(hint)) is not hint:
        return field_for(meant, **options)
    if (origin := get_origin(hint)) is not None:
        return _field_for_generic(hint, origin, options)
    if isinstance(hint, type):
        if issubclass(hint, Enum):
            return strict_fields.Member(hint, **options)
        if is_record(hint):
            return Record(hint, schema_for, **options)
        if hint in (*_LISTS, *_SETS, *_MAPPINGS, tuple, frozenset):
            return _field_for_generic(hint, hint, options)
    if isinstance(hint, TypeVar):
        raise TypeHintError(
            f"{shown(hint)} may be anything: say what it is where it is used, as in Page[int], or give it a bound"
        )
    if isinstance(hint, str | ForwardRef):  # of an alias, which has no names of a module
        raise TypeHintError(f"{hint!r} is a text in an alias, which names nothing there: write it without quotes")
    raise TypeHintError(
        f"{shown(hint)} cannot be read from JSON: use str, int, float, bool, None, a dataclass, a TypedDict, a "
        "NamedTuple, an Enum, datetime, date, time, timedelta, UUID, Decimal, or list, set, tuple, dict, Literal, "
        "Union and Annotated of these"
    )


def look_into(field: AnyField) -> None:
    """Make the schemas of all dataclasses in a field now, not when the first call comes.

    Raises:
        TypeHintError: a field of one cannot be read from JSON; the message names it.
    """
    pending, seen = [field], set[object]()
    while pending:
        match pending.pop():
            case Record() as record if record.hint not in seen:
                seen.add(record.hint)
                if len([hint for hint in seen if get_args(hint)]) > _MAX_GENERICS:
                    raise TypeHintError(f"{shown(kind_of(record.hint))} holds itself with ever other arguments")
                pending += record.schema.fields.values()
            case fields.List() as array:
                pending.append(array.inner)
            case fields.Tuple() as array:
                pending += array.tuple_fields
            case fields.Dict() as table if table.value_field is not None:
                pending.append(table.value_field)
            case AnyOf() as union:
                for one, other in combinations(union.candidates, 2):
                    _tell_apart(one, other)
                pending += union.candidates


def _tell_apart(one: AnyField, other: AnyField) -> None:
    """Refuse two alternatives, of one of which JSON keeps nothing that the other does not have."""
    match one, other:
        case (strict_fields.Span(), strict_fields.Real()) | (strict_fields.Real(), strict_fields.Span()):
            alike = "timedelta and float are both numbers"
        case (Array() | Places(), Array() | Places()) if _made_of(one) is not _made_of(other):
            alike = f"{_made_of(one).__name__} and {_made_of(other).__name__} are both arrays"
        case (Record(), Record()) if not is_typed_dict(kind_of(one.hint)) and _plain(one) == _plain(other) != {}:
            alike = f"{shown(one.hint)} and {shown(other.hint)} have the same members"
        case _:
            return
    raise TypeHintError(f"{alike} in JSON, and cannot be told apart: take one of them, or a dataclass with a Literal")


def _made_of(array: AnyField) -> type[Any]:
    return array.make if isinstance(array, Array) else tuple


def _plain(record: Record) -> Mapping[str, type[AnyField]]:
    """Return the kinds of a record's members by name; nothing where one might tell it from others."""
    members = {field.data_key or name: field for name, field in record.schema.fields.items()}
    is_plain = all(type(field) in _SIMPLE.values() and not field.validators for field in members.values())
    return {name: type(field) for name, field in members.items()} if is_plain else {}


@lru_cache(maxsize=1024)
def schema_for(hint: Any) -> Schema:
    """Return the marshmallow schema of a dataclass, a NamedTuple or a TypedDict; it loads instances.

    Args:
        hint: the class, or a generic dataclass with its arguments: ``Page[Order]``.

    Raises:
        TypeHintError: a member of it cannot be read from JSON; the message names it.
    """
    kind = kind_of(hint)
    own = getattr(kind, "Schema", None)
    if isinstance(own, type) and issubclass(own, Schema):
        return own()
    try:
        members = {member.name: _field_of(hint, member) for member in members_of(hint)}
    except UnresolvedHint as error:
        raise TypeHintError(f"a type hint of {shown(hint)}: {error}") from None
    attributes: dict[str, object] = {"__doc__": kind.__doc__, **members}
    if isinstance(meta := getattr(kind, "Meta", None), type):
        attributes["Meta"] = type("Meta", (meta, RecordSchema.Meta), {})
    made: type[RecordSchema] = type(title(hint) if get_args(hint) else kind.__name__, (RecordSchema,), attributes)
    made.kind = kind  # not among the attributes, where a member may have this name
    return made()


def _field_of(hint: object, member: Member) -> AnyField:
    if member.field is not None:
        return member.field
    try:
        return field_for(member.hint, **member.options)
    except TypeHintError as error:
        raise TypeHintError(f"the field {member.name!r} of {shown(hint)}: {error}") from None


def _field_for_generic(hint: object, origin: Any, options: Options) -> AnyField:
    arguments = get_args(hint)
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
        return Array(field_for(*arguments or (object,)), origin, list, **options)
    if origin in _SETS:
        return Array(field_for(*arguments or (object,)), origin, set, **options)
    if origin is frozenset:
        return Array(field_for(*arguments or (object,)), origin, frozenset, **options)
    if origin is tuple:
        is_bare = hint in (tuple, typing.Tuple)  # noqa: UP006 - tuple[()] has no arguments either, and is empty
        if is_bare or (len(arguments) == 2 and arguments[1] is Ellipsis):
            return Array(field_for(*arguments[:1] or (object,)), origin, tuple, **options)
        return Places([field_for(argument) for argument in arguments], **options)
    if origin in _MAPPINGS:
        key, value = arguments or (str, object)
        return Table(keys=_key_field_for(key), values=field_for(value), **options)
    if dataclasses.is_dataclass(origin):
        return Record(hint, schema_for, **options)
    instead = "a generic dataclass" if is_record(origin) else "list, set, tuple, dict or a dataclass"
    raise TypeHintError(f"{shown(hint)} cannot be read from JSON: use {instead} instead")


def _key_field_for(hint: object) -> AnyField:
    """Return the field of an object's keys, which are texts in JSON."""
    if is_anything(hint):
        return strict_fields.Text()
    field = field_for(hint)
    if type(field) is strict_fields.Whole and not field.allow_none:
        return strict_fields.WholeKey(validate=field.validators)
    if isinstance(field, strict_fields.Member) and field.by_value and isinstance(field.field, strict_fields.Whole):
        raise TypeHintError(f"{shown(hint)} cannot be the key of a JSON object: its values are integers; use int")
    is_text = isinstance(field, strict_fields.OneOf) and all(isinstance(value, str) for value in field.values)
    if not (is_text or isinstance(field, _KEY_FIELDS)) or field.allow_none:
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
    return AnyOf([field_for(member) for member in others], **options)


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
