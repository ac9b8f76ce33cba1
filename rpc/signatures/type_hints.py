"""Type hints as they are at run time: names resolved, and looked into."""

import collections.abc
import dataclasses
import datetime
import inspect
import re
import sys
import types
import typing
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from functools import partial, reduce
from operator import or_
from typing import Any, TypeVar

from marshmallow import fields, validate

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.strict_json import JsonValue

_DATES = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
_RICH = (Enum, *_DATES, uuid.UUID, Decimal, tuple, collections.abc.Set)
_MAX_PARTS = 1000
_OF_JSON_VALUE: Mapping[str, object] = {"Sequence": collections.abc.Sequence, "Mapping": collections.abc.Mapping}


class TypeHintError(ServiceConfigurationError):
    """A type hint names nothing that can be read from JSON and written to it."""


class UnresolvedHint(NameError):
    """A hint names something that is not there at run time."""


def resolve(hint: object, namespace: Mapping[str, object], local: Mapping[str, object]) -> object:
    """Return a hint in which every name written as text is replaced by what it names.

    ``JsonValue`` becomes ``object``: it says nothing that the wire does not know already.

    Raises:
        UnresolvedHint: a name is not there at run time.
    """
    if is_anything(hint):
        return object
    # A class, for only there ClassVar and Final may stand.
    holder = type("", (), {"__annotations__": {"hint": hint}})
    local = {**local, "JsonValue": object}
    for more in ({}, _OF_JSON_VALUE):  # a hint such as dict[str, JsonValue] names them in its author's module
        try:
            return typing.get_type_hints(holder, dict(namespace), {**more, **local}, include_extras=True)["hint"]
        except NameError as error:
            reason = error
    raise UnresolvedHint(f"{hint!r} cannot be resolved: {reason}: define it at the top of its module") from None


def namespace_of(function: Callable[..., object]) -> Mapping[str, object]:
    """Return the global names that a function's hints are written with."""
    plain = inspect.unwrap(function.func if isinstance(function, partial) else function)
    found = getattr(plain, "__globals__", None) or getattr(type(plain).__call__, "__globals__", None)
    return found if isinstance(found, dict) else {}


def hints_of(hint: Any) -> dict[str, object]:
    """Return the hints of a class's attributes, its bases' too, resolved; type variables are what they stand for.

    Args:
        hint: a class, or a generic one with its arguments: ``Page[Order]``.

    Raises:
        UnresolvedHint: a name is not there at run time.
    """
    found: dict[str, object] = {}
    known = arguments_of(hint)
    for base in reversed(kind_of(hint).__mro__):
        namespace = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        meanings = {**known.get(base, {}), typing.Self: hint}
        own: dict[str, object] = {each.__name__: each for each in getattr(base, "__parameters__", ())}
        for name, each in inspect.get_annotations(base).items():
            found[name] = substituted(resolve(each, namespace, {**own, base.__name__: base}), meanings)
    return found


def arguments_of(hint: Any) -> dict[type, dict[Any, object]]:
    """Return what the type variables of a class and of its bases stand for, by class."""
    kind: Any = kind_of(hint)
    if not isinstance(kind, type):
        return {}  # NamedTuple and TypedDict, which stand among bases, are functions
    own = dict(zip(getattr(kind, "__parameters__", ()), typing.get_args(hint), strict=False))
    found: dict[type, dict[Any, object]] = {kind: own}
    for base in vars(kind).get("__orig_bases__", kind.__bases__):
        found.update(arguments_of(substituted(base, own)))
    return found


def kind_of(hint: Any) -> type:
    """Return a class, without what stands in its brackets."""
    kind: type = typing.get_origin(hint) or hint
    return kind


def substituted(hint: Any, meanings: Mapping[Any, object]) -> Any:
    """Return a hint in which type variables, and ``Self``, are replaced by what they stand for."""
    if isinstance(hint, TypeVar) or hint is typing.Self:
        return meanings.get(hint, hint)
    arguments, origin = typing.get_args(hint), typing.get_origin(hint)
    is_annotated = origin is typing.Annotated  # what follows the hint in its brackets are values
    inner = tuple(substituted(each, meanings) for each in (arguments[:1] if is_annotated else arguments))
    if origin is typing.Literal or all(new is old for new, old in zip(inner, arguments, strict=False)):
        return hint
    if origin is types.UnionType:
        return reduce(or_, inner)
    return hint.copy_with(inner) if hasattr(hint, "copy_with") else types.GenericAlias(origin, inner)


def is_anything(hint: object) -> bool:
    """Tell whether a hint leaves open what a value is."""
    return hint is Any or hint is object or hint is inspect.Parameter.empty or hint == JsonValue


def is_rich(hint: object) -> bool:
    """Tell whether a hint, or anything in its brackets, is more than JSON has: a dataclass, an Enum, a tuple..."""
    return any(_is_rich_part(part) for part in _parts(hint))


def is_record(kind: object) -> bool:
    """Tell whether a class is a dataclass, a NamedTuple or a TypedDict, whose instances are objects in JSON."""
    if not isinstance(kind, type):
        return False
    is_named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return dataclasses.is_dataclass(kind) or is_named_tuple or is_typed_dict(kind)


def is_typed_dict(kind: type) -> bool:
    """Tell whether a class is a TypedDict, that of ``typing_extensions`` too, which ``typing`` does not know."""
    return dict in kind.__mro__ and hasattr(kind, "__total__")


def behind(hint: Any) -> Any:
    """Return what a ``NewType``, a type variable, or an alias made by ``type X = ...`` stands for.

    Any other hint is returned itself, as is a type variable that may be anything.
    """
    if isinstance(hint, TypeVar):
        return reduce(or_, hint.__constraints__) if hint.__constraints__ else hint.__bound__ or hint
    alias = typing.get_origin(hint)
    if hasattr(alias, "__value__"):
        return substituted(alias.__value__, dict(zip(alias.__type_params__, typing.get_args(hint), strict=False)))
    return getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None) or hint


def shown(hint: object) -> str:
    """Return a hint for people."""
    return hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def title(hint: object) -> str:
    """Return a hint as a name: ``Page[Order]`` is PageOrder."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, typing.Annotated, typing.Literal):
        parts = [title(each) for each in typing.get_args(hint)]
    else:
        named = str(getattr(origin or hint, "__name__", hint))
        parts = [named[:1].upper() + named[1:], *map(title, typing.get_args(hint))]
    return "".join(re.sub(r"\W", "", part) for part in parts)


def _is_rich_part(part: object) -> bool:
    if isinstance(part, fields.Field | validate.Validator) or part is typing.Literal:
        return True
    is_class = isinstance(part, type) and not typing.get_args(part)
    return is_class and (is_record(part) or issubclass(typing.cast(type, part), _RICH))


def _parts(hint: object) -> Iterator[object]:
    """Yield a hint and all that is inside it; an alias made by ``type X = ...`` may be inside itself."""
    pending, seen = [hint], dict[int, object]()
    while pending and len(seen) < _MAX_PARTS:
        part = pending.pop()
        if id(part) not in seen:
            seen[id(part)] = part
            yield part
            pending += [behind(part), typing.get_origin(part), *typing.get_args(part)]
