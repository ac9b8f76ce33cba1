"""Components: bundles of services that are started, watched and stopped together."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence

from gemstone_events.management.addresses import ChannelAddress, addresses_of
from gemstone_events.management.descriptors import Service
from gemstone_events.management.health import Health, HealthCheckManager


class ComponentStatus(enum.Enum):
    """Where a component is in its life."""

    VIRGIN = "virgin"
    """Just made."""
    RUNNING = "running"
    """Started and registered."""
    STOPPED = "stopped"
    """Shut down."""


class Component(Service, ABC):
    """What a component can do. Implementations derive from ``AbstractComponent``, which does most of it."""

    @abstractmethod
    def startup(self) -> Awaitable[None] | None:
        """Called once, before any of its services is called; may be ``async def``."""

    @abstractmethod
    def shutdown(self) -> Awaitable[None] | None:
        """Called once, when none of its services is called any more; may be ``async def``."""

    @abstractmethod
    def get_addresses(self, port: int | None) -> list[ChannelAddress]:
        """Return where its services are called.

        Args:
            port: the port of the HTTP server that hosts it; None where there is none.
        """

    @abstractmethod
    def get_status(self) -> ComponentStatus:
        """Return where it is in its life."""

    @abstractmethod
    async def get_health(self) -> Health:
        """Run its health checks."""

    def get_services(self) -> Sequence[object]:
        """Return the implementations of its services; those that it implements itself need not be among them."""
        return ()


class AbstractComponent(Component):
    """A component with the usual behaviour.

    A subclass that overrides ``startup`` or ``shutdown`` calls this class's. Its methods with ``@health_check()`` are
    its health; a subclass with an ``__init__`` of its own calls this one.

    Args:
        services: the implementations of its services.

    Attributes:
        urls: where its host is called; the host sets them before it asks for addresses.
    """

    urls: Sequence[str] = ()

    def __init__(self, *services: object) -> None:
        self._services = services
        self._status = ComponentStatus.VIRGIN
        self._checks = HealthCheckManager([self])

    def startup(self) -> Awaitable[None] | None:
        """Take notice that it runs."""
        self._status = ComponentStatus.RUNNING
        return None

    def shutdown(self) -> Awaitable[None] | None:
        """Take notice that it is stopped."""
        self._status = ComponentStatus.STOPPED
        self._checks.cancel()
        return None

    def get_addresses(self, port: int | None) -> list[ChannelAddress]:
        """Return an address for each URL of its host; without a host, HTTP on this machine."""
        if self.urls or port is None:
            return addresses_of(self.urls)
        return [ChannelAddress("http", f"http://127.0.0.1:{port}/api")]

    def get_status(self) -> ComponentStatus:
        """Return where it is in its life."""
        return self._status

    async def get_health(self) -> Health:
        """Run its own health checks."""
        return await self._checks.check()

    def get_services(self) -> Sequence[object]:
        """Return the implementations that it was made with."""
        return self._services
