"""Classes whose instances are objects in JSON: dataclasses, NamedTuples and TypedDicts."""

import dataclasses
import inspect
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing, post_load

from gemstone_events.rpc.signatures.compound_fields import serialized
from gemstone_events.rpc.signatures.strict_fields import AnyField, Options
from gemstone_events.rpc.signatures.type_hints import TypeHintError, hints_of, is_typed_dict, kind_of, shown

_PASSED_ON = ("validate", "data_key", "metadata")
_QUALIFIERS = (typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", None))


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a record.

    Attributes:
        name: its name.
        hint: its type hint.
        options: keyword arguments for its field.
        field: its field, where its author has given one.
    """

    name: str
    hint: object
    options: Options
    field: AnyField | None = None


class RecordSchema(Schema):
    """Loads a record. It stays out of marshmallow's registry, where schemas of one name get mixed up."""

    class Meta:
        """Options of marshmallow."""

        register = False

    kind: type

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Write a record; what is wrong with it is told by member."""
        if self.many if many is None else many:
            return [self.dump(each, many=False) for each in obj]
        self._check_nothing_gets_lost(obj)
        accessor = dict.get if is_typed_dict(self.kind) else getattr
        written = serialized(
            (member.data_key or name, partial(member.serialize, name, obj, accessor))
            for name, member in self.dump_fields.items()
        )
        return {name: value for name, value in written.items() if value is not missing}

    def _check_nothing_gets_lost(self, record: Any) -> None:
        if is_typed_dict(self.kind):
            unknown = [name for name in record if name not in self.fields]
            if unknown:
                raise ValidationError({name: [self.error_messages["unknown"]] for name in unknown})
        elif type(record) is not self.kind:
            own, wanted = shown(type(record)), shown(self.kind)
            raise ValidationError(
                f"Not of the type {wanted} itself: what only {own} has would get lost; the hint may be {wanted} | {own}."
            )

    @post_load
    def _make_record(self, members: Mapping[str, object], **options: object) -> object:
        try:
            return self.kind(**members)
        except ValueError as error:
            raise ValidationError(str(error)) from error


def members_of(hint: Any) -> Iterator[Member]:
    """Yield the members of a dataclass, a NamedTuple or a TypedDict, in order.

    Args:
        hint: the class, or a generic dataclass with its arguments.

    Raises:
        UnresolvedHint: a hint names what is not there at run time.
        TypeHintError: it cannot be made of its members.
    """
    kind, hints = kind_of(hint), hints_of(hint)
    if dataclasses.is_dataclass(kind):
        yield from _of_dataclass(kind, hints)
    elif is_typed_dict(kind):
        yield from _of_typed_dict(kind, hints)
    else:
        yield from _of_named_tuple(kind, hints)


def _of_dataclass(kind: type, hints: Mapping[str, object]) -> Iterator[Member]:
    if inspect.isabstract(kind):
        raise TypeHintError(f"{shown(kind)} is abstract: name the classes that derive from it, as in A | B")
    known = [field for field in dataclasses.fields(typing.cast(Any, kind)) if field.init]
    names = {field.name for field in known}
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in names and parameter.default is parameter.empty:
            raise TypeHintError(f"{shown(kind)} cannot be read from JSON: {name!r} is no field of it, but required")
    for field in known:
        options: Options = {name: field.metadata[name] for name in _PASSED_ON if name in field.metadata}
        if field.default is not dataclasses.MISSING:
            options |= {"load_default": field.default, "allow_none": field.default is None}
        elif field.default_factory is dataclasses.MISSING:
            options["required"] = True
        given = field.metadata.get("marshmallow_field")
        yield Member(field.name, hints[field.name], options, given if isinstance(given, fields.Field) else None)


def _of_named_tuple(kind: Any, hints: Mapping[str, object]) -> Iterator[Member]:
    for name in kind._fields:
        options: Options = {"required": True}
        if name in kind._field_defaults:
            default = kind._field_defaults[name]
            options = {"load_default": default, "allow_none": default is None}
        yield Member(name, hints.get(name, object), options)


def _of_typed_dict(kind: Any, hints: Mapping[str, object]) -> Iterator[Member]:
    for name, hint in hints.items():
        if "." in name:
            raise TypeHintError(f"the member {name!r} of {shown(kind)} cannot be read: its name has a dot")
        # Written as text, they are unknown to the class itself.
        plain, qualifiers = _without_qualifiers(hint)
        is_required = typing.NotRequired not in qualifiers and (
            typing.Required in qualifiers or name in kind.__required_keys__
        )
        yield Member(name, plain, {"required": is_required})


def _without_qualifiers(hint: Any) -> tuple[object, set[object]]:
    """Return a hint without ``Required``, ``NotRequired`` and ``ReadOnly``, and which of these it had."""
    origin = typing.get_origin(hint)
    if origin in _QUALIFIERS and origin is not None:
        plain, found = _without_qualifiers(typing.get_args(hint)[0])
        return plain, {origin, *found}
    if origin is typing.Annotated:
        plain, found = _without_qualifiers(typing.get_args(hint)[0])
        return hint.copy_with((plain,)), found
    return hint, set()
