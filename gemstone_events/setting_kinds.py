"""Whether the value of a setting is of the kind that its annotation says: a number, a list, a text."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Union, get_args, get_origin

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.schemes import mask

_NAMES: Mapping[object, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    Sequence: "a list",
    Mapping: "a dict",
    NoneType: "None",
}


def check_kind(name: str, value: object, hint: object) -> None:
    """Check a setting's value by the setting's annotation; one that allows for other classes than Python's is not judged.

    Raises:
        ServiceConfigurationError: it is of another kind.
    """
    hints = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [get_origin(each) or each for each in hints]
    if not all(kind in _NAMES for kind in kinds):
        return
    if Sequence in kinds and isinstance(value, str):
        raise ServiceConfigurationError(f"{name} is a list: write [{mask(value)!r}]")
    if not any(_is(kind, value) for kind in kinds):
        wanted = " or ".join(_NAMES[kind] for kind in kinds)
        raise ServiceConfigurationError(f"{name} cannot be {mask(repr(value))}: it is {wanted}")
    if Sequence[str] in hints and isinstance(value, Collection):
        for each in value:
            if not isinstance(each, str):
                raise ServiceConfigurationError(f"{name} cannot hold {mask(repr(each))}: it is a list of texts")


def check_objects(name: str, values: Iterable[object]) -> None:
    """Check that a list holds objects.

    Raises:
        ServiceConfigurationError: it holds a class.
    """
    for each in values:
        if isinstance(each, type):
            raise ServiceConfigurationError(
                f"{name} holds objects, and not the class {each.__name__}: write {each.__name__}(...)"
            )


def _is(kind: object, value: object) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, int | float)
    if kind is Sequence:
        return isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping)
    return isinstance(value, kind) if isinstance(kind, type) else False
