"""Type hints as they are at run time: names resolved, and looked into."""

import collections.abc
import dataclasses
import datetime
import inspect
import sys
import typing
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any

from gemstone_events.strict_json import JsonValue

_RICH = (Enum, datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID, Decimal)
_OF_JSON_VALUE: Mapping[str, object] = {"Sequence": collections.abc.Sequence, "Mapping": collections.abc.Mapping}


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
    raise UnresolvedHint(f"{hint!r} cannot be resolved: {reason}") from None


def namespace_of(function: Callable[..., object]) -> Mapping[str, object]:
    """Return the global names that a function's hints are written with."""
    plain = inspect.unwrap(function.func if isinstance(function, partial) else function)
    found = getattr(plain, "__globals__", None) or getattr(type(plain).__call__, "__globals__", None)
    return found if isinstance(found, dict) else {}


def hints_of(kind: type) -> dict[str, object]:
    """Return the hints of a class's attributes, its bases' too, resolved.

    Raises:
        UnresolvedHint: a name is not there at run time.
    """
    found: dict[str, object] = {}
    for base in reversed(kind.__mro__):
        namespace = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        for name, hint in inspect.get_annotations(base).items():
            found[name] = resolve(hint, namespace, {base.__name__: base})
    return found


def is_anything(hint: object) -> bool:
    """Tell whether a hint leaves open what a value is."""
    return hint is Any or hint is object or hint is inspect.Parameter.empty or hint == JsonValue


def is_rich(hint: object) -> bool:
    """Tell whether a hint, or anything in its brackets, is more than JSON has: a dataclass, an Enum, a datetime..."""
    return any(isinstance(part, type) and _is_rich_type(part) for part in _parts(hint))


def behind(hint: object) -> object:
    """Return what a ``NewType``, or an alias made by ``type X = ...``, stands for; any other hint is returned itself."""
    while (found := getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)) is not None:
        hint = found
    return hint


def shown(hint: object) -> str:
    """Return a hint for people."""
    return hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _is_rich_type(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or (not typing.get_args(kind) and issubclass(kind, _RICH))


def _parts(hint: object) -> Iterator[object]:
    """Yield a hint and all that is inside it; an alias made by ``type X = ...`` may be inside itself."""
    pending, seen = [hint], set[int]()
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        found = behind(part)
        yield found
        pending += [typing.get_origin(found), *typing.get_args(found)]
