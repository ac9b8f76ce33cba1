"""A registry without a registry: services say on the broker or bus itself which components they host."""

from collections.abc import Iterable, Sequence

from gemstone_events.management.addresses import (
    ChannelAddress,
    ChannelInstances,
    TrustedAddresses,
    addresses_of,
    by_channel,
    channel_of,
)
from gemstone_events.management.descriptors import ComponentDescriptor
from gemstone_events.management.registry import PollingRegistry
from gemstone_events.names import check_name
from gemstone_events.rpc.allow_list import AllowList, is_on_this_machine
from gemstone_events.rpc.discovery.broker_strategy import BrokerDiscoveryStrategy
from gemstone_events.rpc.discovery.own_brokers import absolute
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import service_url


class PresenceComponentRegistry(PollingRegistry):
    """Finds components by asking all services on a broker or bus which of them they host.

    There is nothing to register: the service that hosts a component tells it itself, for as long as it runs. Addresses
    on this same broker come first, and are called with the credentials of ``broker_url``; others only if they are allowed.

    Args:
        broker_url: ``amqp://...``, ``sqlite:///...`` or ``memory://...``, without a service's name.
        namespace: that of the services.
        interval: seconds between two looks at what is watched.
        patience: seconds to wait for services to answer.
        brokers: URLs of other brokers and buses of the caller, addresses on which are allowed, too.
        allow: the other addresses that may be called; by default HTTP on this machine.

    Raises:
        ServiceConfigurationError: the URL or the namespace cannot be used.
    """

    def __init__(
        self,
        broker_url: str,
        namespace: str = "gemstone",
        *,
        interval: float = 5.0,
        patience: float = 0.5,
        brokers: Iterable[str] = (),
        allow: AllowList | None = None,
    ) -> None:
        super().__init__(interval)
        self._namespace = check_name("namespace", namespace)
        self._is_local = is_on_this_machine(broker_url)
        self._services = BrokerDiscoveryStrategy(broker_url, namespace, patience=patience)
        self.own_channel = channel_of(broker_url)
        self._trusted = TrustedAddresses([broker_url, *brokers], allow)

    def __str__(self) -> str:
        return f"{self._services} (namespace {self._namespace!r})"

    async def register(self, descriptor: ComponentDescriptor[object], addresses: Sequence[ChannelAddress]) -> None:
        """Do nothing: the hosting service tells it by itself."""

    async def deregister(self, descriptor: ComponentDescriptor[object]) -> None:
        """Do nothing: a service that stops is asked no more."""

    async def close(self) -> None:
        """Look no more, and disconnect. Twice is harmless."""
        await super().close()
        await self._services.close()

    async def _find(self, components: Sequence[str]) -> list[ChannelInstances]:
        presences = await self._services.instances("*")
        return [instances for each in components for instances in self._instances_of(each, presences)]

    def _instances_of(self, component: str, presences: Sequence[Presence]) -> list[ChannelInstances]:
        urls: list[str] = []
        for presence in presences:
            if component in presence.components:
                # Who answers on a broker is called there, whatever the broker's address is where he runs.
                urls.append(service_url(self._services.url, presence.service))
                urls.extend(url for url in presence.urls if absolute(url) == url)
        return by_channel(component, self._trusted.choose(addresses_of(urls), is_local=self._is_local))
