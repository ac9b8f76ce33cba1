"""Finding adapters by the scheme of a URL, through entry points: a third party's is found like our own."""

import re
from importlib.metadata import EntryPoint, entry_points

from gemstone_events.errors import ServiceConfigurationError, UnknownSchemeError


def load(group: str, kind: str, url: str) -> object:
    """Return what the entry point for the scheme of ``url`` names; ``kind`` says what that is, for people.

    Raises:
        UnknownSchemeError: nothing installed answers to the URL's scheme.
        ServiceConfigurationError: it cannot be loaded.
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
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def scheme_of(url: str) -> str:
    """Return what stands before the first colon."""
    return url.partition(":")[0]


def mask(url: str) -> str:
    """Return a URL, or a text with URLs, that is fit to be shown: without passwords.

    Whatever stands between a colon and the last @ is taken for a password, because one that should have been escaped,
    such as ``p@ss/word``, must not be shown either.
    """
    return re.sub(r"(?<=://)([^:@/?#\s]*):(?:(?!://)\S)*@", r"\1:***@", url)


def _find(group: str, kind: str, url: str) -> EntryPoint:
    known = schemes(group)
    if ":" not in url or scheme_of(url) not in known:
        raise UnknownSchemeError(
            f"no {kind} answers to {mask(url)!r}: installed are " + ", ".join(f"{name}:" for name in known)
        )
    return known[scheme_of(url)]
