"""Discovery over the broker or bus itself: whoever serves calls there answers when it is asked."""

from collections.abc import Sequence

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.names import check_name
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.discovery.wires_here import WiresHere
from gemstone_events.rpc.presence import Presence, is_pattern
from gemstone_events.rpc.wire import CLIENTS, ClientSettings, service_url
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import mask, scheme_of, schemes

_HTTP = ("http", "https")


class BrokerDiscoveryStrategy(BaseDiscoveryStrategy):
    """Finds services on a broker or bus by asking all that serve calls there; there is no registry to run.

    It finds only who is there at this moment, and returns URLs on this same broker with the credentials of ``url``, so
    that nothing which others say can lead elsewhere.

    Args:
        url: the broker's or bus's: ``amqp://...``, ``sqlite:///...`` or ``memory://...``.
        namespace: that of the services.
        patience: seconds to wait for answers.
        wires: connections to use; without them it opens its own, one set for each event loop.

    Raises:
        ServiceConfigurationError: the URL is not a broker's, or the namespace is no name.
    """

    def __init__(
        self, url: str, namespace: str = "gemstone", *, patience: float = 0.5, wires: WirePool | None = None
    ) -> None:
        if not isinstance(url, str) or scheme_of(url) in _HTTP or scheme_of(url) not in schemes(CLIENTS) or "#" in url:
            raise ServiceConfigurationError(
                f"services cannot be found on {mask(str(url))!r}: give the URL of a broker or bus, without a service's name; "
                "an HTTP registry is for HttpDiscoveryStrategy"
            )
        self.url = url
        self._patience = patience
        self._wires = WiresHere(ClientSettings(namespace=check_name("namespace", namespace)), wires)

    def __str__(self) -> str:
        return f"broker {mask(self.url)}"

    def ping(self, name: str, location: str, **kwargs: object) -> None:
        """Do nothing: who serves calls on a broker answers there by himself."""

    async def locate(self, name: str) -> list[str]:
        """Return one URL on the broker for each service that matches; its instances share the calls.

        Raises:
            ServiceUnreachableError: the broker cannot be reached.
            ServiceConfigurationError: the URL cannot be used.
        """
        # All instances of one service have one URL here: where no pattern is asked for, the first answer will do.
        found = await self._find(name, all_of_them=is_pattern(name))
        return [service_url(self.url, service) for service in sorted({presence.service for presence in found})]

    async def instances(self, pattern: str) -> Sequence[Presence]:
        """Return the running instances that match.

        Raises:
            ServiceUnreachableError: the broker cannot be reached.
            ServiceConfigurationError: the URL cannot be used.
        """
        return await self._find(pattern, all_of_them=True)

    async def close(self) -> None:
        """Close the connections that it opened on this loop. Twice is harmless."""
        await self._wires.close()

    async def _find(self, pattern: str, *, all_of_them: bool) -> Sequence[Presence]:
        wire = self._wires.pool().wire_for(self.url)
        found = await wire.find(self.url, pattern, self._patience, all_of_them=all_of_them)
        return [presence for presence in found if presence.matches(pattern)]
