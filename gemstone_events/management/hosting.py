"""Hosting: components here, started, announced, watched and stopped; and how their services are called."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial

from gemstone_events import strict_json
from gemstone_events.cancellation import end
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.component import AbstractComponent, Component, ComponentStatus
from gemstone_events.management.descriptors import ComponentDescriptor
from gemstone_events.management.health import CheckResult, Health, HealthCheckManager, HealthStatus
from gemstone_events.management.implementations import Implementations
from gemstone_events.management.presence_registry import PresenceComponentRegistry
from gemstone_events.management.registry import ComponentRegistry, LocalComponentRegistry
from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.methods import Method
from gemstone_events.rpc.wires.http.handlers import GemstoneCustomHandler
from gemstone_events.rpc.wires.http.health import HealthReport

_FRESH_SECONDS = 5.0

_logger = logging.getLogger("gemstone_events.management")


class ComponentHost:
    """The components of one process, for the service that hosts them; ``ServiceManager.host``.

    A host exposes ``methods()``, calls ``start`` before anybody can call it, ``announce`` when it can be called,
    ``withdraw`` before it drains and ``stop`` after that. All methods belong to one event loop.

    Args:
        implementations: what is here.
        registry: tells which status of HTTP stands for a health.
        checks: health checks of others than components.
        ask_registry: asks the registry something, where and when it can be asked.
    """

    def __init__(
        self,
        implementations: Implementations,
        registry: ComponentRegistry,
        checks: HealthCheckManager,
        ask_registry: Callable[[Callable[[], Coroutine[object, object, None]]], Awaitable[None]],
    ) -> None:
        self._implementations = implementations
        self._registry = registry
        self._checks = checks
        self._ask_registry = ask_registry
        self._running: list[Component] = []
        self._announced: list[ComponentDescriptor[object]] = []
        self._found = Health()
        self._found_at: float | None = None
        self._checking: asyncio.Task[Health] | None = None

    @property
    def component_names(self) -> tuple[str, ...]:
        """The names of the components, for ``Presence.components``."""
        return tuple(descriptor.name for descriptor in self._implementations.components)

    def methods(self, *, private: bool = False) -> list[Method]:
        """Return the methods of the components' services, to be exposed.

        Args:
            private: all of them are for callers only whom the host lets in.

        Raises:
            ServiceConfigurationError: a component misses a service.
        """
        self._implementations.check()
        return list(self._implementations.methods(private=private))

    def health_pages(self) -> list[tuple[str, type[GemstoneCustomHandler]]]:
        """Return the pages that show the health of components (``@health``), as ``extra_handlers`` has them."""
        return [
            (descriptor.health, _health_page(component, self._registry))
            for descriptor, component in self._implementations.components.items()
            if descriptor.health
        ]

    async def start(self) -> None:
        """Start the components: what they need is there before anybody calls.

        Raises:
            ServiceConfigurationError: a component runs already, or misses a service.
            Exception: what a component's ``startup`` raised, after all that were started were shut down.
        """
        self._implementations.check()
        for descriptor, component in self._implementations.components.items():
            if component.get_status() is ComponentStatus.RUNNING:
                raise ServiceConfigurationError(f"the component {descriptor.name!r} runs already")
        try:
            for component in self._implementations.components.values():
                self._running.append(component)
                await _finish(component.startup())
        except BaseException:
            await self.stop()
            raise

    async def announce(self, urls: Sequence[str] = (), port: int | None = None) -> None:
        """Register where the components are called, now that they can be. A registry that is away is no error.

        Args:
            urls: the host's, without credentials.
            port: that of the host's HTTP server.
        """
        registering: list[Awaitable[None]] = []
        for descriptor, component in self._implementations.components.items():
            if isinstance(component, AbstractComponent):
                component.urls = urls
            self._announced.append(descriptor)
            addresses = component.get_addresses(port)
            registering.append(self._ask_registry(partial(self._registry.register, descriptor, addresses)))
        await asyncio.gather(*registering)

    async def withdraw(self) -> None:
        """Take back what was registered. Twice is harmless."""
        announced, self._announced = self._announced, []
        await asyncio.gather(*(self._ask_registry(partial(self._registry.deregister, each)) for each in announced))

    async def stop(self) -> None:
        """Shut the components down, the last one first; each one is, even if another raises. Twice is harmless."""
        await end(self._checking)
        self._checking = None
        self._checks.cancel()
        running, self._running = self._running, []
        for component in reversed(running):
            try:
                await _finish(component.shutdown())
            except Exception:
                _logger.exception("the component %s did not shut down well", type(component).__qualname__)

    async def get_health(self) -> Health:
        """Run the health checks of all components here, and all others that were added, at the same time."""
        components = self._implementations.components.items()
        found = await asyncio.gather(*(_health_of(*each) for each in components), self._checks.check())
        self._found = Health([result for health in found for result in health.results])
        self._found_at = time.monotonic()
        return self._found

    def known_health(self) -> Health:
        """Return what the checks found when they last ran, whoever asked then; nothing is waited for.

        Where that is more than 5 seconds ago, they run again in the background, for whoever asks next.
        """
        is_fresh = self._found_at is not None and time.monotonic() - self._found_at < _FRESH_SECONDS
        if not is_fresh and (self._checking is None or self._checking.done()):
            self._checking = asyncio.create_task(self.get_health())
        return self._found

    async def health(self) -> HealthReport:
        """Return the health for ``GET /health/ready``: not ok where something is in ERROR."""
        found = await self.get_health()
        details = {"health": found.to_dict()} if found.results else {}
        return HealthReport(ok=found.status is not HealthStatus.ERROR, details=details)


def default_registry(
    brokers: Sequence[str], namespace: str = "gemstone", allow: AllowList | None = None
) -> ComponentRegistry:
    """Return the registry of a service that names none: the presence of services on its first broker or bus.

    Args:
        brokers: URLs of the brokers and buses by which the service is called, with credentials.
        namespace: the service's.
        allow: which addresses off these brokers may be called; by default HTTP on this machine.
    """
    if not brokers:
        return LocalComponentRegistry()
    return PresenceComponentRegistry(brokers[0], namespace, brokers=brokers[1:], allow=allow)


class ComponentHealthHandler(GemstoneCustomHandler):
    """Shows the health of one component: 200, 429 or 500 for OK, WARNING and ERROR, and what the checks found."""

    component: Component
    registry: ComponentRegistry

    async def get(self) -> None:
        """Run the component's health checks, and answer with what they found."""
        health = await self.component.get_health()
        self.set_status(self.registry.map_health(health.status))
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(strict_json.dumps(health.to_dict()))


def _health_page(component: Component, registry: ComponentRegistry) -> type[GemstoneCustomHandler]:
    """Return the handler that shows a component's health."""
    return type("ComponentHealthHandler", (ComponentHealthHandler,), {"component": component, "registry": registry})


async def _finish(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result


async def _health_of(descriptor: ComponentDescriptor[object], component: Component) -> Health:
    try:
        found = await component.get_health()
    except Exception as error:
        _logger.exception("the health of the component %r cannot be told", descriptor.name)
        return Health([CheckResult(descriptor.name, HealthStatus.ERROR, f"it raised {type(error).__name__}")])
    status = component.get_status()
    if status is ComponentStatus.RUNNING:
        return found
    return Health([*found.results, CheckResult(descriptor.name, HealthStatus.ERROR, f"it is {status.value}")])
