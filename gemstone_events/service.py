"""The service: what an author subclasses, and the one place where all parts meet."""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from tornado.ioloop import IOLoop
from tornado.platform.asyncio import BaseAsyncIOLoop

from gemstone_events import runner
from gemstone_events.adapters import make_store, make_transport
from gemstone_events.calling import Calling
from gemstone_events.container import Container
from gemstone_events.emission import Emission, Emitter
from gemstone_events.errors import (
    GemstoneError,
    PluginDoesNotExistError,
    ServiceConfigurationError,
    ServiceNotRunningError,
)
from gemstone_events.event import new_id
from gemstone_events.event_description import EmittedNames, EventDescription, asyncapi_document
from gemstone_events.execution import Threads
from gemstone_events.exposure import Exposure
from gemstone_events.handlers import EventHandler, declared_handlers
from gemstone_events.logs import setup_logging
from gemstone_events.management.channels import ChannelManager
from gemstone_events.management.hosting import default_registry
from gemstone_events.management.manager import ServiceManager
from gemstone_events.messaging import Messaging
from gemstone_events.names import check_pattern
from gemstone_events.plugins import BasePlugin
from gemstone_events.rpc.allow_list import LOOPBACK_HTTP, AllowList
from gemstone_events.rpc.description.openrpc import info_of
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.rpc.wires.http.application import RpcApplication
from gemstone_events.rpc.wires.http.health import HealthReport
from gemstone_events.running import Running
from gemstone_events.schema import instance
from gemstone_events.settings import Settings
from gemstone_events.store.port import Changes, EventStore
from gemstone_events.strict_json import JsonValue
from gemstone_events.subscribing.planning import plan_subscriptions
from gemstone_events.subscribing.subscription_plan import SubscriptionPlan
from gemstone_events.transport import Transport, TransportSettings
from gemstone_events.unit_of_work import current_unit_of_work
from gemstone_events.unit_runner import UnitRunner


class MicroService(Settings, Container):
    """A service: its class attributes are its settings (see ``Settings``), its decorated functions what it does.

    It runs by ``start()``, which blocks, by ``await serve()``, or as ``async with service:``.

    Args:
        io_loop: the loop that ``start`` runs on, to share one between the services of a process.
        settings: values for settings of the same names.

    Raises:
        ServiceConfigurationError: something is declared wrongly; the message says what, and how to mend it.
    """

    def __init__(self, io_loop: IOLoop | None = None, **settings: object) -> None:
        super().__init__(**settings)
        self.instance_id = new_id()
        self._io_loop = io_loop
        self._plugins: dict[str, BasePlugin] = {}
        self._own_threads: Threads | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exposure: Exposure | None = None
        self._current_run: Running | None = None
        self._manager: ServiceManager | None = None
        self._units = UnitRunner(self._open_store, lambda: self._threads)
        self._stop_requested = asyncio.Event()
        self._event_schemas = {check_pattern(pattern): instance(each) for pattern, each in self.event_schemas.items()}
        self._emitter = Emitter(self.service_name, self._event_schemas, self.max_body)
        self._emitted = EmittedNames()
        self._event_description = EventDescription(self._describe_events, self._emitted, self._transport_addresses)
        for plugin in self.plugins:
            self.register_plugin(plugin)
        for module in self.modules:
            module.set_microservice(self)

    # To be overridden.

    def on_service_start(self) -> object:
        """Called in a unit of work, before anything is handled; may be ``async def``. The place to create tables."""

    def on_service_stop(self) -> object:
        """Called in a unit of work, when everything has drained; may be ``async def``."""

    def get_logger(self) -> logging.Logger:
        """Return the logger of this service."""
        return logging.getLogger(f"gemstone_events.{self.service_name}")

    def authenticate_request(self, handler: RpcHandler) -> object:
        """Say who calls a private method: a true value lets the call pass; may be ``async def``.

        A method with scopes takes callers who have them all: return a ``Principal``, or another object with
        ``scopes``. It is asked once for each body, also for one that holds many calls.

        By default ``api_token_is_valid`` is asked about the token that ``validation_strategies`` find.

        Args:
            handler: the request's ``RpcHandler``, with its headers and cookies. Where ``require_authentication`` is
                set, the body of an HTTP request has not come yet.
        """
        tokens = (strategy.extract_api_token(handler) for strategy in self.validation_strategies)
        token = next((token for token in tokens if token is not None), None)
        return False if token is None else self.api_token_is_valid(token)

    def api_token_is_valid(self, api_token: str) -> object:
        """Say whose token it is, as ``authenticate_request`` does; may be ``async def``. By default it is nobody's.

        Compare it in constant time: a ``TokenTable`` does.
        """
        return False

    # Running.

    def start(self) -> None:
        """Configure from file, environment and command line, and run until SIGTERM or SIGINT. This blocks.

        Raises:
            SystemExit: with the message of the ``GemstoneError`` that kept the service from starting.
        """
        if "_stop_requested" not in vars(self):
            raise SystemExit(f"{type(self).__name__} cannot run: its __init__ does not call super().__init__()")
        try:
            if not self.skip_configuration:
                self.configure()
            setup_logging(self.log_level)
            runner.run([self], _asyncio_loop_of(self._io_loop))
        except GemstoneError as error:
            raise SystemExit(f"{self.service_name} cannot run: {error}") from error

    async def serve(self) -> None:
        """Run until ``stop`` is called or the caller is cancelled; drain either way."""
        async with self:
            await self._stop_requested.wait()

    def stop(self) -> None:
        """Make ``serve`` and ``start`` return, once everything has drained. It may be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_requested.set)

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise ServiceConfigurationError(f"the service {self.service_name!r} runs already")
        self._check_modules()
        self._loop = asyncio.get_running_loop()
        self._stop_requested = asyncio.Event()
        try:
            await self._begin()
        except BaseException:
            await self._end()
            raise
        return self

    def _check_modules(self) -> None:
        for module in self.modules:
            other = module.microservice
            if other is not self and isinstance(other, MicroService) and other._loop is not None:
                raise ServiceConfigurationError(
                    f"the module {module!r} belongs to the running service {other.service_name!r}: make another"
                )
            module.set_microservice(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    async def _begin(self) -> None:
        exposure = self._exposure = self._expose()
        plans = self.check_declarations()
        logger = self.get_logger()
        messaging = Messaging(
            make_store(self.store_url) if isinstance(self.store_url, str) else self.store_url,
            self._make_transports(),
            plans,
            self._threads,
            self.instance_id,
            logger,
            max_body=self.max_body,
            inbox_retention=self.inbox_retention,
        )
        application = None if self.port is None else self._application(exposure)
        manager = self.service_manager
        calling = Calling(self, self.instance_id, exposure, application, manager.host, messaging.trouble, logger)
        running = Running(
            self,
            self._plugins,
            self._units,
            messaging,
            calling,
            manager,
            logger,
            shutdown_timeout=self.shutdown_timeout,
        )
        await running.open()
        self._current_run = running
        await running.begin(self.periodic_tasks)
        exposure.warn_of_unreachable_methods(logger, authenticates=self._authenticates)

    async def _end(self) -> None:
        try:
            if self._current_run is not None:
                await self._current_run.end()
        finally:
            self._current_run = self._exposure = self._loop = None
            self._threads.executor.shutdown(wait=False, cancel_futures=True)
            self._own_threads = None

    # Events.

    def emit_event(
        self,
        event_name: str,
        event_body: JsonValue,
        *,
        broadcast: bool = True,
        event_id: str | None = None,
        partition_key: str | None = None,
    ) -> Emission:
        """Emit an event on all transports.

        Inside a handler, an exposed method or a periodic task it joins the unit of work: it is stored, and later
        published, if and only if that ends well, and there is nothing to await. Elsewhere on the service's loop,
        ``await`` returns when it is stored. In a plain thread the call blocks until it is stored.

        Args:
            event_name: words joined by dots, for example ``order.placed``.
            event_body: any JSON value; it is encoded before this returns.
            broadcast: True for one copy to every subscribed group; False for the work queue of this name, from which
                exactly one subscriber takes it, now or later.
            event_id: an id of your own, unique in the log, to make emitting itself repeatable.
            partition_key: events with equal keys belong together.

        Raises:
            InvalidNameError, InvalidEventError, SchemaError: the event may not be emitted.
            ServiceNotRunningError: the service is not started.
            StoreError: it could not be stored (raised where it is awaited).
        """
        running = self._require_running()
        unit = current_unit_of_work()
        if unit is not None and (unit.store is not running.messaging.store or unit.is_complete):
            unit = None
        event, message = self._emitter.prepare(
            event_name, event_body, broadcast=broadcast, unit=unit, event_id=event_id, partition_key=partition_key
        )
        self._emitted.add(event_name)
        if unit is not None:
            unit.emit(message)
            return Emission(event)
        return Emission(event, running.commit(Changes(emitted=[message])))

    # Other services.

    def get_service(self, name: str, **settings: Any) -> Any:
        """Return a ``RemoteService`` for a running service; on an event loop it is to be awaited.

        It is looked for on the brokers and buses by which this service is called itself, and with
        ``discovery_strategies`` and ``service_registry_urls``. Of several addresses one is picked at random; those that
        could not be reached lately are left out, and a call that was surely not carried out at one goes to the next.
        Calls use the service's own connections and end with it.

        Args:
            name: of a service, or a glob pattern such as ``orders.*``.
            settings: for the ``RemoteService``: ``timeout``, ``authentication``, ``retry``, ``headers``.

        Raises:
            ServiceNotLocatedError: there is none that may be called (a ``ServiceNotFoundError`` and a ``ValueError``).
            ServiceConfigurationError: there is nobody to ask.
            ServiceNotRunningError: this service is not started.
        """
        return self._require_running().calling.neighbours.get_service(name, **settings)

    # What authors may call.

    def get_executor(self) -> ThreadPoolExecutor:
        """Return the service's threads, where ``def`` handlers and methods run."""
        return self._threads.executor

    def get_io_loop(self) -> IOLoop:
        """Return the loop that the service runs on, or will run on when started from here."""
        return self._io_loop or IOLoop.current()

    def start_thread(
        self, target: Callable[..., object], args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
    ) -> threading.Thread:
        """Run a function in a daemon thread of its own, and return the thread."""
        thread = threading.Thread(target=target, args=tuple(args), kwargs=dict(kwargs or {}), daemon=True)
        thread.start()
        return thread

    def register_plugin(self, plugin: BasePlugin) -> None:
        """Add a plugin to this service; it takes part in everything that happens from now on.

        Raises:
            ServiceConfigurationError: there is one of that name already.
        """
        name = str(plugin.name)
        if name in self._plugins:
            raise ServiceConfigurationError(f"two plugins of {self.service_name!r} are named {name!r}")
        plugin.set_microservice(self)
        self._plugins[name] = plugin

    def get_plugin(self, name: str) -> BasePlugin:
        """Return the plugin of that name.

        Raises:
            PluginDoesNotExistError: there is none.
        """
        if name not in self._plugins:
            raise PluginDoesNotExistError(f"{self.service_name!r} has no plugin {name!r}")
        return self._plugins[name]

    def get_service_specs(self, *, with_private: bool = True) -> dict[str, object]:
        """Return what the service is and does, for people and clients, with private methods or without."""
        return {
            "name": self.service_name,
            "host": self.host,
            "port": self.bound_port,
            "accessible_at": self.url,
            "urls": self.urls,
            "max_parallel_blocking_tasks": self.max_parallel_blocking_tasks,
            "methods": {
                method.name: method.doc for method in self._exposed.methods if with_private or not method.private
            },
            "event_transports": self._transport_addresses(),
            "events_handled": sorted({handler.options.pattern for handler in self._declared_handlers}),
        }

    @property
    def store(self) -> EventStore:
        """The service's store: its log, inbox and dead letters.

        Raises:
            ServiceNotRunningError: it is open only while the service runs.
        """
        return self._require_running().messaging.store

    @property
    def bound_port(self) -> int | None:
        """The port that HTTP really listens on; the setting while it does not."""
        return self.port if self._current_run is None else self._current_run.calling.port

    @property
    def url(self) -> str | None:
        """The URL under which others reach the service; None where it has no HTTP."""
        return self.url_at(self.bound_port)

    @property
    def service_manager(self) -> ServiceManager:
        """The services of components, here and elsewhere, by their interfaces."""
        if self._manager is None:
            allow = AllowList([*LOOPBACK_HTTP, *self.discovery_allow])
            registry = self.component_registry or default_registry(self.broker_urls, self.namespace, allow)
            manager = ServiceManager(registry, ChannelManager(namespace=self.namespace))
            manager.register(*self.components)
            for container in self._containers:
                manager.inject(container)
            self._manager = manager
        return self._manager

    @property
    def description(self) -> str:
        """One line for people: what runs where."""
        running = self._require_running()
        events = ", ".join(transport.address for transport in running.messaging.transports) or "no transport"
        calls = ", ".join(running.calling.addresses) or "none"
        return (
            f"{self.service_name} is ready: {self.url or 'no HTTP'}; calls: {calls}; events: {events}; "
            f"store: {running.messaging.store.address}"
        )

    @property
    def urls(self) -> list[str]:
        """Every URL under which the service can be called, without credentials; HTTP first."""
        if self._current_run is not None:
            return self._current_run.calling.urls
        return [url for url in [self.url] if url]

    def check_declarations(self) -> Sequence[SubscriptionPlan]:
        """Check handlers, methods and address as the start does, and return what will be subscribed to.

        Raises:
            ServiceConfigurationError: something is declared wrongly.
        """
        self._exposed.check_access(authenticates=self._authenticates)
        return plan_subscriptions(self._declared_handlers, self.service_name, self.instance_id)

    def make_tornado_app(self) -> RpcApplication:
        """Return the Tornado application: JSON-RPC at ``endpoint``, health, ``extra_handlers`` and static files.

        It can be tested without ``start``; what a method emits needs the service to run.
        """
        return self._application(self._exposed)

    def openrpc_document(self, *, with_private: bool = True) -> dict[str, JsonValue]:
        """Return the OpenRPC document of the service's methods, with private ones or without."""
        return self._exposed.self_description.document(with_private=with_private)

    def asyncapi_document(self) -> dict[str, JsonValue]:
        """Return the AsyncAPI document of the events that the service handles, and of those it is known to emit."""
        return self._event_description.document()

    async def wait_stopped(self) -> None:
        """Return when ``stop`` was called."""
        await self._stop_requested.wait()

    # Inside.

    @property
    def _containers(self) -> Sequence[Container]:
        return [self, *self.modules]

    @property
    def _declared_handlers(self) -> list[EventHandler]:
        return [handler for container in self._containers for handler in declared_handlers(container)]

    @property
    def _exposed(self) -> Exposure:
        return self._exposure or self._expose()

    def _expose(self) -> Exposure:
        return Exposure(
            self,
            self._containers,
            self.get_service_specs,
            self.service_manager.host.methods(private=self.require_authentication),
            self._plugins,
            self._units.run,
            self.authenticate_request,
            self._open_store,
            lambda: self.urls,
            by_token=type(self).authenticate_request is MicroService.authenticate_request,
        )

    def _describe_events(self, emitted: Sequence[str], servers: Sequence[str]) -> dict[str, JsonValue]:
        return asyncapi_document(
            info_of(self, self.service_name, self.version),
            self._declared_handlers,
            self._event_schemas,
            emitted=emitted,
            servers=servers,
            namespace=self.namespace,
        )

    def _transport_addresses(self) -> list[str]:
        transports = self._make_transports() if self._current_run is None else self._current_run.messaging.transports
        return [transport.address for transport in transports]

    @property
    def _authenticates(self) -> bool:
        own, default = type(self), MicroService
        return (
            own.authenticate_request is not default.authenticate_request
            or own.api_token_is_valid is not default.api_token_is_valid
        )

    def _make_transports(self) -> list[Transport]:
        settings = TransportSettings(namespace=self.namespace, client=self.service_name)
        return [make_transport(t, settings) if isinstance(t, str) else t for t in self.transport_urls]

    def _application(self, exposure: Exposure) -> RpcApplication:
        return exposure.application(
            self, self._readiness, self.asyncapi_document, self.service_manager.host.health_pages()
        )

    async def _readiness(self) -> HealthReport:
        running = self._current_run
        if running is None:
            return HealthReport(False, {"service": self.service_name})
        trouble = {**running.messaging.trouble(), **running.calling.trouble()}
        components = await self.service_manager.host.health()
        ready = not trouble and components.ok
        own = {"status": "ok" if ready else "degraded", "service": self.service_name, "trouble": trouble}
        return HealthReport(ready, {**own, **components.details})

    def _open_store(self) -> EventStore | None:
        return None if self._current_run is None else self._current_run.messaging.store

    def _require_running(self) -> Running:
        if self._current_run is None:
            raise ServiceNotRunningError(
                f"the service {self.service_name!r} is not running: call start(), await serve() or use async with"
            )
        return self._current_run

    @property
    def _threads(self) -> Threads:
        if self._own_threads is None:
            self._own_threads = Threads(self.max_parallel_blocking_tasks, f"{self.service_name}-blocking")
        return self._own_threads


def _asyncio_loop_of(io_loop: IOLoop | None) -> asyncio.AbstractEventLoop | None:
    return io_loop.asyncio_loop if isinstance(io_loop, BaseAsyncIOLoop) else None
