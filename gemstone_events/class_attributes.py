"""Class attributes of a service that were meant to be settings and are none: misspelt, or of gemstone, its predecessor."""

from collections.abc import Collection, Iterable
from itertools import takewhile

from gemstone_events.errors import ServiceConfigurationError

_FORMERLY = {
    "_remote_service_cache": "the setting remote_service_cache",
    "service_registry_cache": "the setting remote_service_cache",
    "before_method_call": "on_method_call of a plugin",
    "after_method_call": "on_method_call of a plugin, or a decorator of the methods themselves",
    "on_failed_method_call": "on_internal_error of a plugin",
}
_LETTERS_PER_SLIP = 6


def check_class_attributes(service: type, settings: type, known: Collection[str]) -> None:
    """Refuse class attributes that would have no effect, although they were meant to have one.

    Constants and helpers of the author's own pass, as long as their names are no near miss: methods, descriptors, private
    names, plurals (``ports``), and whatever a base declares that is no service. None may take the place of what the
    service itself is made of, though: its private names, and its public ones where a value stands for a method.

    Args:
        service: the class of the service.
        settings: the base of services, which declares the settings.
        known: the names of all settings, the author's own among them.

    Raises:
        ServiceConfigurationError: there is such an attribute; the message names it, and what to write instead.
    """
    ours = {name for base in service.__mro__ if _is_ours(base) for name in vars(base)}
    others = [base for base in service.__mro__ if not _is_ours(base)]
    mixed_in = {name for base in others if not issubclass(base, settings) for name in vars(base)}
    for base in others:
        if issubclass(base, settings):
            for name, value in vars(base).items():
                if not (name.startswith("__") or name in known or name in mixed_in):
                    _check(f"{base.__qualname__}.{name}", name, value, ours, known)


def _check(what: str, name: str, value: object, ours: Collection[str], known: Collection[str]) -> None:
    if name in _FORMERLY:
        raise ServiceConfigurationError(f"{what} is of gemstone, and has no effect: use {_FORMERLY[name]}")
    is_private, is_data = name.startswith("_"), not callable(value) and not hasattr(type(value), "__get__")
    if name in ours and (is_private or is_data):
        raise ServiceConfigurationError(f"{what} hides what every service has by that name: give it another")
    if is_data and not is_private and (meant := next((each for each in known if _is_slip(name, each)), None)):
        raise ServiceConfigurationError(
            f"{what} is no setting; did you mean {meant}? "
            f"An attribute of your own needs a name that is less alike, such as my_{name}"
        )


def _is_ours(base: type) -> bool:
    return base.__module__.startswith("gemstone_events.")


def _is_slip(name: str, setting: str) -> bool:
    """Tell whether a name was meant to be a setting's: two letters are swapped, or one in six at most is missing or added.

    One letter may stand for others. A word that is another does not count, however alike the names are in all:
    ``event_stream`` is no ``event_store``, and ``poll_timeout`` no ``call_timeout``.
    """
    start = _count_same(name, setting)
    end = _count_same(reversed(name[start:]), reversed(setting[start:]))
    wrong, right = name[start : len(name) - end], setting[start : len(setting) - end]
    if len(wrong) == 2 and wrong == right[::-1]:
        return True
    fewer, more = sorted((len(wrong), len(right)))
    return fewer <= 1 and more <= len(setting) // _LETTERS_PER_SLIP and name != f"{setting}s"


def _count_same(one: Iterable[str], other: Iterable[str]) -> int:
    """Return how many letters at their beginnings are the same."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
