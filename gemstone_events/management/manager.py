"""The service manager: services by their interfaces, wherever they run."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.channels import LOCAL, ChannelManager
from gemstone_events.management.component import Component
from gemstone_events.management.descriptors import ServiceDescriptor, service_descriptor
from gemstone_events.management.health import HealthCheckManager
from gemstone_events.management.hosting import ComponentHost
from gemstone_events.management.implementations import Implementations
from gemstone_events.management.injection import inject
from gemstone_events.management.proxies import make_proxy
from gemstone_events.management.registry import ComponentRegistry
from gemstone_events.management.remote_components import RemoteComponents
from gemstone_events.rpc.call_errors import LocalServiceException, ServiceUnreachableError
from gemstone_events.rpc.client.async_call import is_on_loop
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

    Attributes:
        host: what a service needs that hosts the components here.
    """

    def __init__(self, component_registry: ComponentRegistry, channel_manager: ChannelManager | None = None) -> None:
        self.registry = component_registry
        self.channels = channel_manager or ChannelManager()
        self._implementations = Implementations()
        self._checks = HealthCheckManager()
        self.host = ComponentHost(self._implementations, self.registry, self._checks, self._ask_registry)
        self._remote = RemoteComponents(self.registry, self.channels)
        self._proxies: dict[tuple[ServiceDescriptor[object], str], object] = {}

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

    async def aclose(self) -> None:
        """Close registry and connections; calls under way fail. Twice is harmless."""
        try:
            await self._ask_registry(self._let_go)
        finally:
            await self.channels.home.aclose()

    async def startup(self, urls: Sequence[str] = (), port: int | None = None) -> None:
        """Start the components here and register where they are called, for a program that is their host.

        Args:
            urls: the host's, without credentials.
            port: that of its HTTP server.
        """
        await self.host.start()
        await self.host.announce(urls, port)

    async def shutdown(self) -> None:
        """Undo ``startup``, and close everything. Twice is harmless."""
        try:
            await self.host.withdraw()
            await self.host.stop()
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

    async def _let_go(self) -> None:
        try:
            await self._remote.close()
        finally:
            await self.registry.close()

    async def _ask_registry(self, question: Callable[[], Coroutine[object, object, None]]) -> None:
        """Ask the registry something; that it is away is no error."""
        # On the loop where calls are made, to which a registry's own tasks and connections belong.
        deadline = time.monotonic() + _REGISTRY_SECONDS
        try:
            async with asyncio.timeout(_REGISTRY_SECONDS):
                await self.channels.home.run(lambda wires: question(), deadline)
        except ServiceUnreachableError as error:
            _logger.warning("the registry of components cannot be used: %s", error)
        except TimeoutError:
            _logger.warning("the registry of components cannot be used: no answer within %.0f s", _REGISTRY_SECONDS)
