"""URL to transport or store, by scheme."""

from collections.abc import Callable
from typing import cast

from gemstone_events.schemes import load
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
    factory = cast(Callable[[str, TransportSettings], Transport], load(TRANSPORTS, "transport", url))
    return factory(url, settings)


def make_store(url: str) -> EventStore:
    """Return the store for ``url``, not yet opened.

    Raises:
        UnknownSchemeError: nothing installed answers to the URL's scheme.
        ServiceConfigurationError: the adapter cannot use the URL, or cannot be loaded itself.
    """
    factory = cast(Callable[[str], EventStore], load(STORES, "store", url))
    return factory(url)
