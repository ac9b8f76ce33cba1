"""The wires by which one service is called, besides HTTP: started, watched and drained together."""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from gemstone_events.rpc.wire import SERVERS, Answer, ServerSettings, ServerWire
from gemstone_events.schemes import load


def make_servers(urls: Sequence[str], settings: ServerSettings) -> list[ServerWire]:
    """Return a server's side of a wire for each URL of a broker or bus, not yet started.

    Raises:
        UnknownSchemeError: no wire answers to a URL's scheme.
        ServiceConfigurationError: the wire cannot use the URL, or cannot be loaded itself.
    """
    make = Callable[[str, ServerSettings], ServerWire]
    return [cast(make, load(SERVERS, "way to be called", url))(url, settings) for url in urls]


class Serving:
    """What a service is called by.

    Args:
        servers: one for each broker or bus.
    """

    def __init__(self, servers: Sequence[ServerWire]) -> None:
        self._servers = servers

    @property
    def addresses(self) -> list[str]:
        """The service's URLs, without credentials."""
        return [server.address for server in self._servers]

    async def start(self, answer: Answer) -> None:
        """Begin to serve on all of them.

        Raises:
            ServiceConfigurationError: one of them refuses.
        """
        for server in self._servers:
            await server.start(answer)

    async def stop(self, timeout: float) -> None:
        """Take no more calls, and finish those that were begun, for ``timeout`` seconds at most."""
        await asyncio.gather(*(server.stop(timeout) for server in self._servers))

    async def close(self) -> None:
        """Disconnect. Twice is harmless."""
        await asyncio.gather(*(server.close() for server in self._servers))

    def trouble(self) -> dict[str, str]:
        """Return what keeps calls from coming in, by address; empty when all is well."""
        return {
            f"calls by {server.address}": status.detail or "not served"
            for server in self._servers
            if not (status := server.status()).serving
        }
