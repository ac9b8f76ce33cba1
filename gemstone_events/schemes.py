"""Finding adapters by the scheme of a URL, through entry points: a third party's is found like our own."""

import re
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points

from gemstone_events.errors import ServiceConfigurationError, UnknownSchemeError
from gemstone_events.urls import check_visible


def load(group: str, kind: str, url: str) -> object:
    """Return what the entry point for the scheme of ``url`` names; ``kind`` says what that is, for people.

    Raises:
        UnknownSchemeError: nothing installed answers to the URL's scheme.
        ServiceConfigurationError: it cannot be loaded, or the URL holds what cannot be seen.
    """
    point = _find(group, kind, url)
    try:
        found: object = point.load()
    except (ImportError, AttributeError) as error:
        raise ServiceConfigurationError(
            f"the {kind} for {point.name}: ({point.value}) cannot be loaded: {error}; install what it needs"
        ) from error
    return found


def schemes(group: str) -> dict[str, EntryPoint]:
    """Return what is installed in a group of entry points, by URL scheme."""
    select = _installed(tuple(sys.path))
    return {point.name: point for point in sorted(select(group=group), key=lambda point: point.name)}


def scheme_of(url: str) -> str:
    """Return what stands before the first colon."""
    return url.partition(":")[0]


def mask(url: str) -> str:
    """Return a URL, or a text with URLs, that is fit to be shown: without passwords.

    Whatever stands between a colon and the last @ is taken for a password, because one that should have been escaped,
    such as ``p@ss/word``, must not be shown either.
    """
    return re.sub(r"(?<=://)([^:@/?#\s]*):(?:(?!://)\S)*@", r"\1:***@", url)


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> Callable[..., EntryPoints]:
    """Return what selects from all entry points. A start asks many times, and a search reads files of all that is installed.

    Args:
        path: where Python looks for it; another path is searched anew.
    """
    return entry_points().select


def _find(group: str, kind: str, url: str) -> EntryPoint:
    try:
        check_visible(url)
    except ValueError as error:
        raise ServiceConfigurationError(f"the URL of a {kind} cannot be used: {error}") from None
    known = schemes(group)
    if ":" not in url or scheme_of(url) not in known:
        raise UnknownSchemeError(
            f"no {kind} answers to {mask(url)!r}: installed are " + ", ".join(f"{name}:" for name in known)
        )
    return known[scheme_of(url)]
