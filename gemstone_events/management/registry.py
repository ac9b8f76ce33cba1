"""Registries: where components are, and who is told when that changes."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit
from weakref import WeakSet

from gemstone_events.cancellation import end
from gemstone_events.errors import GemstoneError, ServiceConfigurationError
from gemstone_events.management.addresses import ChannelAddress, ChannelInstances, by_channel
from gemstone_events.management.channel import Channel
from gemstone_events.management.descriptors import ComponentDescriptor
from gemstone_events.management.health import HealthStatus
from gemstone_events.rpc.discovery.outage import Outage
from gemstone_events.schemes import mask

_HTTP_STATUS = {HealthStatus.OK: 200, HealthStatus.WARNING: 429, HealthStatus.ERROR: 500}

_logger = logging.getLogger("gemstone_events.management")


class ComponentRegistry(ABC):
    """Knows where components are called. The constructor opens nothing; all methods belong to one event loop.

    Attributes:
        own_channel: the name of the channel that is tried first where the caller prefers none; empty for no matter.
    """

    own_channel: str = ""

    def __init__(self) -> None:
        self._channels: WeakSet[Channel] = WeakSet()

    def __str__(self) -> str:
        """Return what is asked, for people, without credentials."""
        return f"the registry {type(self).__name__}"

    @abstractmethod
    async def register(self, descriptor: ComponentDescriptor[object], addresses: Sequence[ChannelAddress]) -> None:
        """Write down where this process serves a component, in place of what it wrote down before.

        Raises:
            ServiceUnreachableError: the registry cannot be used now.
            ServiceConfigurationError: an address cannot be written down.
        """

    @abstractmethod
    async def deregister(self, descriptor: ComponentDescriptor[object]) -> None:
        """Take back what this process wrote down of a component.

        Raises:
            ServiceUnreachableError: the registry cannot be used now.
        """

    @abstractmethod
    async def get_addresses(self, descriptor: ComponentDescriptor[object]) -> list[ChannelInstances]:
        """Return where all instances of a component are called now.

        Raises:
            ServiceUnreachableError: the registry cannot be used now.
        """

    def watch(self, channel: Channel) -> None:
        """Keep a channel informed: its ``set_address`` is called whenever the addresses of its component change."""
        self._channels.add(channel)

    def map_health(self, status: HealthStatus) -> int:
        """Return the status of HTTP that stands for a health: 200, 429 or 500."""
        return _HTTP_STATUS[status]

    async def close(self) -> None:
        """Let go of what was opened. Twice is harmless."""
        return

    def _watched(self) -> set[str]:
        return {channel.component for channel in self._channels}

    def _push(self, component: str, found: Iterable[ChannelInstances]) -> None:
        instances = {each.channel: each for each in found}
        for channel in list(self._channels):
            if channel.component == component:
                now = instances.get(channel.name, ChannelInstances(component, channel.name))
                if now.urls != channel.urls:
                    channel.set_address(now)


class LocalComponentRegistry(ComponentRegistry):
    """Knows the components of this process, and what it was told of others: for programs whose addresses are fixed."""

    def __init__(self) -> None:
        super().__init__()
        self._components: dict[str, list[ChannelInstances]] = {}

    def __str__(self) -> str:
        return "the registry of this process, which knows only what it was told"

    async def register(self, descriptor: ComponentDescriptor[object], addresses: Sequence[ChannelAddress]) -> None:
        """Remember all addresses of a component, in place of those known before."""
        self._components[descriptor.name] = by_channel(descriptor.name, addresses)
        self._push(descriptor.name, self._components[descriptor.name])

    async def deregister(self, descriptor: ComponentDescriptor[object]) -> None:
        """Forget a component."""
        self._components.pop(descriptor.name, None)
        self._push(descriptor.name, ())

    async def get_addresses(self, descriptor: ComponentDescriptor[object]) -> list[ChannelInstances]:
        """Return the addresses of a component."""
        return list(self._components.get(descriptor.name, ()))


class PollingRegistry(ComponentRegistry):
    """Looks again and again where watched components are: the base of registries outside this process.

    A subclass overrides ``_find``.

    Args:
        interval: seconds between two looks.
    """

    def __init__(self, interval: float) -> None:
        super().__init__()
        if not 0 < interval <= 3600:
            raise ServiceConfigurationError(f"the interval of a registry is 3600 seconds at most, and not {interval!r}")
        self._interval = interval
        self._poller: asyncio.Task[None] | None = None
        self._outage = Outage(
            _logger, "the registry of components cannot be used", "the registry of components can be used again"
        )

    async def get_addresses(self, descriptor: ComponentDescriptor[object]) -> list[ChannelInstances]:
        """Return where a component is called now, as far as that may be called."""
        return await self._find([descriptor.name])

    def watch(self, channel: Channel) -> None:
        """Keep a channel informed, at the latest an interval after a change."""
        super().watch(channel)
        if not _is_running(self._poller):
            self._poller = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Look no more. Twice is harmless."""
        await end(self._poller)
        self._poller = None

    @abstractmethod
    async def _find(self, components: Sequence[str]) -> list[ChannelInstances]:
        """Look where components are; raises ``ServiceUnreachableError``."""

    async def _wait(self) -> None:
        """Wait for the next look: an interval, or until a change is told of."""
        await asyncio.sleep(self._interval)

    async def _poll(self) -> None:
        while True:
            try:
                await self._wait()
                watched = list(self._watched())
                found = await self._find(watched) if watched else []
                for component in watched:
                    self._push(component, [each for each in found if each.component == component])
                self._outage.report("")
            except Exception as error:  # noqa: BLE001 - what was known stays true until something better is known
                told = str(error) if isinstance(error, GemstoneError) else f"{type(error).__name__}: {error}"
                self._outage.report(mask(told))
                await asyncio.sleep(self._interval)


def check_addresses(addresses: Iterable[ChannelAddress]) -> None:
    """Refuse addresses that nobody else may see.

    Raises:
        ServiceConfigurationError: one is no URL, or holds a password.
    """
    for address in addresses:
        try:
            urlsplit(address.uri)
        except ValueError as error:
            raise ServiceConfigurationError(f"the address {mask(address.uri)!r} is no URL: {error}") from None
        if mask(address.uri) != address.uri:
            raise ServiceConfigurationError(
                f"the address {mask(address.uri)} holds a password: register it without, whoever calls has his own"
            )


def _is_running(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()
