"""The service manager: services by their interfaces, wherever they run."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.channels import LOCAL, ChannelManager
from gemstone_events.management.component import AbstractComponent, Component, ComponentStatus
from gemstone_events.management.descriptors import ComponentDescriptor, ServiceDescriptor, service_descriptor
from gemstone_events.management.health import CheckResult, Health, HealthCheckManager, HealthStatus
from gemstone_events.management.hosting import health_page
from gemstone_events.management.implementations import Implementations
from gemstone_events.management.injection import inject
from gemstone_events.management.proxies import make_proxy
from gemstone_events.management.registry import ComponentRegistry
from gemstone_events.management.remote_components import RemoteComponents
from gemstone_events.rpc.call_errors import LocalServiceException, ServiceUnreachableError
from gemstone_events.rpc.client.async_call import is_on_loop
from gemstone_events.rpc.health import HealthReport
from gemstone_events.rpc.http_handlers import GemstoneCustomHandler
from gemstone_events.rpc.methods import Method
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

T = TypeVar("T")

_REGISTRY_SECONDS = 10.0

_logger = logging.getLogger("gemstone_events.management")


class ServiceManager:
    """Returns services by their interfaces: those of this process as they are, others as proxies of the same type.

        manager = ServiceManager(PresenceComponentRegistry("amqp://localhost"), ChannelManager())
        orders = manager.get_service(OrderService)          # typed as OrderService
        receipt = await orders.place(Order(...))

    It may be used from all threads and event loops. It opens nothing before its first call, and is closed by
    ``async with`` (which also starts and stops its components), ``shutdown``, or ``with`` and ``close`` in a script.

    Args:
        component_registry: says where components are.
        channel_manager: makes the ways to them.
    """

    def __init__(self, component_registry: ComponentRegistry, channel_manager: ChannelManager | None = None) -> None:
        self.registry = component_registry
        self.channels = channel_manager or ChannelManager()
        self._implementations = Implementations()
        self._checks = HealthCheckManager()
        self._remote = RemoteComponents(self.registry, self.channels)
        self._proxies: dict[tuple[ServiceDescriptor[object], str], object] = {}
        self._running: list[Component] = []
        self._announced: list[ComponentDescriptor[object]] = []

    def get_service(self, service_type: Callable[..., T], preferred_channel: str = "") -> T:
        """Return a service. Nothing is looked up or called before the first call of one of its methods.

        Args:
            service_type: the interface, decorated with ``@service``; what is returned is typed as it.
            preferred_channel: the channel to be tried first, before the others; "local" for none but this process.

        Raises:
            ServiceConfigurationError: it is no interface, belongs to no component, or there is no such channel.
            LocalServiceException: the service shall be local, and is not.
        """
        descriptor = service_descriptor(cast(type, service_type))
        local = self._implementations.find(descriptor)
        if local is not None:
            return cast(T, local)
        if preferred_channel == LOCAL:
            raise LocalServiceException(f"the service {descriptor.name!r} is not implemented in this process")
        if preferred_channel and preferred_channel not in self.channels.names:
            known = ", ".join((*self.channels.names, LOCAL))
            raise ServiceConfigurationError(f"there is no channel {preferred_channel!r}: there are {known}")
        key = (descriptor, preferred_channel)
        if key not in self._proxies:
            begin = partial(self._remote.begin, descriptor.component, preferred_channel)
            self._proxies[key] = make_proxy(descriptor, begin)
        return cast(T, self._proxies[key])

    def register(self, *implementations: object) -> None:
        """Add implementations of components and services, which other parts of this process then get.

        Those of a component's services come with it; the services that they ask for (``inject_service``) are given to
        them, and the health checks that they hold count.

        Raises:
            ServiceConfigurationError: one is no implementation, or of something that is implemented already.
        """
        before = {id(each) for each in self._implementations.all}
        for implementation in implementations:
            self._implementations.add(implementation)
        for each in self._implementations.all:
            if id(each) not in before:
                inject(each, self)
                if not isinstance(each, Component):
                    self._checks.add(each)

    def add_health_checks(self, *owners: object) -> None:
        """Let the health checks of other objects count, too.

        Raises:
            ServiceConfigurationError: there is a check of the same name already.
        """
        for owner in owners:
            self._checks.add(owner)

    def inject(self, owner: object) -> None:
        """Give an object the services that its class asks for: ``inject_service``, ``ServiceInstanceProvider``.

        Raises:
            ServiceConfigurationError: it asks for what is no service.
        """
        inject(owner, self)

    # What a host asks for.

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
        """Return the pages that show the health of components (``@health``), as ``extra_handlers`` of the host."""
        return [
            (descriptor.health, health_page(component, self.registry))
            for descriptor, component in self._implementations.components.items()
            if descriptor.health
        ]

    @property
    def component_names(self) -> tuple[str, ...]:
        """The names of the components here, for ``Presence.components``."""
        return tuple(descriptor.name for descriptor in self._implementations.components)

    async def start_components(self) -> None:
        """Start the components: what they need is there before anybody calls.

        Raises:
            ServiceConfigurationError: a component runs already, or misses a service.
            Exception: what a component's ``startup`` raised, after those started before it were shut down.
        """
        self._implementations.check()
        try:
            for descriptor, component in self._implementations.components.items():
                if component.get_status() is ComponentStatus.RUNNING:
                    raise ServiceConfigurationError(f"the component {descriptor.name!r} runs already")
                self._running.append(component)
                await _finish(component.startup())
        except BaseException:
            await self.stop_components()
            raise

    async def announce(self, urls: Sequence[str] = (), port: int | None = None) -> None:
        """Register where the components are called, now that they can be. A registry that is away is no error.

        Args:
            urls: the host's, without credentials.
            port: that of the host's HTTP server.
        """
        for descriptor, component in self._implementations.components.items():
            if isinstance(component, AbstractComponent):
                component.urls = urls
            self._announced.append(descriptor)
            addresses = component.get_addresses(port)
            await self._ask_registry(partial(self.registry.register, descriptor, addresses))

    async def withdraw(self) -> None:
        """Take back what was registered, before calls are refused. Twice is harmless."""
        announced, self._announced = self._announced, []
        for descriptor in reversed(announced):
            await self._ask_registry(partial(self.registry.deregister, descriptor))

    async def stop_components(self) -> None:
        """Shut the components down, the last one first; each one is, even if another raises. Twice is harmless."""
        running, self._running = self._running, []
        for component in reversed(running):
            try:
                await _finish(component.shutdown())
            except Exception:
                _logger.exception("the component %s did not shut down well", type(component).__qualname__)

    async def aclose(self) -> None:
        """Close registry and connections; calls under way fail. Twice is harmless."""
        await self._ask_registry(self.registry.close)
        await self.channels.home.aclose()

    # The same in one step, for programs that are their own host.

    async def startup(self, urls: Sequence[str] = (), port: int | None = None) -> None:
        """Start the components and register where they are called: ``start_components``, then ``announce``."""
        await self.start_components()
        await self.announce(urls, port)

    async def shutdown(self) -> None:
        """Undo ``startup``, and close everything. Twice is harmless."""
        try:
            await self.withdraw()
            await self.stop_components()
        finally:
            await self.aclose()

    async def __aenter__(self) -> Self:
        await self.startup()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    def close(self) -> None:
        """Close registry and connections, from a thread or a script. Twice is harmless.

        Raises:
            LocalServiceException: this would block an event loop: ``await aclose()`` there.
        """
        if is_on_loop():
            raise LocalServiceException("close() would block the event loop: await aclose()")
        asyncio.run(self.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # How it is.

    async def get_health(self) -> Health:
        """Run the health checks of all components here, and all others that were added, at the same time."""
        components = self._implementations.components.items()
        found = await asyncio.gather(*(_health_of(*each) for each in components), self._checks.check())
        return Health([result for health in found for result in health.results])

    async def health(self) -> HealthReport:
        """Return the health for ``GET /health/ready``: not ok where something is in ERROR."""
        found = await self.get_health()
        return HealthReport(ok=found.status is not HealthStatus.ERROR, details={"health": found.to_dict()})

    def report(self) -> dict[str, JsonValue]:
        """Return what is here and what is known of elsewhere, for people; without credentials."""
        components: dict[str, JsonValue] = {}
        for descriptor, component in self._implementations.components.items():
            components[descriptor.name] = {
                "description": descriptor.description,
                "status": component.get_status().value,
                "services": [service.name for service in descriptor.services],
                "addresses": [mask(each.uri) for each in component.get_addresses(None)],
            }
        return {
            "components": components,
            "channels": list(self.channels.names),
            "remote": self._remote.report(),
        }

    async def _ask_registry(self, question: Callable[[], Coroutine[object, object, None]]) -> None:
        # On the loop where calls are made, to which a registry's own tasks and connections belong.
        deadline = time.monotonic() + _REGISTRY_SECONDS
        try:
            await self.channels.home.run(lambda wires: question(), deadline)
        except ServiceUnreachableError as error:
            _logger.warning("the registry of components cannot be used: %s", error)


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
