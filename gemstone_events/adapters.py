"""URL to transport or store, by scheme, through entry points: a third party's adapter is found like our own."""

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from gemstone_events.errors import ServiceConfigurationError, UnknownSchemeError
from gemstone_events.store.port import EventStore
from gemstone_events.transport import Transport, TransportSettings

TRANSPORTS = "gemstone_events.transports"
STORES = "gemstone_events.stores"


def make_transport(url: str, settings: TransportSettings) -> Transport:
    """Return the transport for ``url``, not yet opened.

    Raises:
        UnknownSchemeError: nothing installed answers to the URL's scheme.
        ServiceConfigurationError: the adapter cannot use the URL, or cannot be loaded itself.
    """
    factory = cast(Callable[[str, TransportSettings], Transport], _load(TRANSPORTS, "transport", url))
    return factory(url, settings)


def make_store(url: str) -> EventStore:
    """Return the store for ``url``, not yet opened.

    Raises:
        UnknownSchemeError: nothing installed answers to the URL's scheme.
        ServiceConfigurationError: the adapter cannot use the URL, or cannot be loaded itself.
    """
    factory = cast(Callable[[str], EventStore], _load(STORES, "store", url))
    return factory(url)


def schemes(group: str) -> dict[str, EntryPoint]:
    """Return what is installed for ``TRANSPORTS`` or ``STORES``, by URL scheme."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def mask(url: str) -> str:
    """Return a URL, or a text with URLs, that is fit to be shown: without passwords.

    Whatever stands between a colon and the last @ is taken for a password, because one that should have been escaped,
    such as ``p@ss/word``, must not be shown either.
    """
    return re.sub(r"(?<=://)([^:@/?#\s]*):(?:(?!://)\S)*@", r"\1:***@", url)


def _load(group: str, kind: str, url: str) -> object:
    point = _find(group, kind, url)
    try:
        found: object = point.load()
    except (ImportError, AttributeError) as error:
        raise ServiceConfigurationError(
            f"the {kind} for {point.name}: ({point.value}) cannot be loaded: {error}; install what it needs"
        ) from error
    return found


def _find(group: str, kind: str, url: str) -> EntryPoint:
    scheme = url.partition(":")[0]
    known = schemes(group)
    if ":" not in url or scheme not in known:
        raise UnknownSchemeError(
            f"no {kind} answers to {mask(url)!r}: installed are " + ", ".join(f"{name}:" for name in known)
        )
    return known[scheme]
