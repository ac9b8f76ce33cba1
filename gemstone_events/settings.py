"""What can be set of a service, and how values come from outside."""

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from gemstone_events.class_attributes import check_class_attributes
from gemstone_events.codec import MAX_BODY_BYTES
from gemstone_events.configuration import BaseConfigurator, Configurable, default_configurables, default_configurators
from gemstone_events.container import Container
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.logs import level_number
from gemstone_events.management.component import Component
from gemstone_events.management.implementations import check_components
from gemstone_events.management.registry import ComponentRegistry
from gemstone_events.names import check_name
from gemstone_events.plugins import BasePlugin
from gemstone_events.rpc.authentication.strategies import BaseValidationStrategy, HeaderValidationStrategy
from gemstone_events.rpc.discovery.cache import ServiceDiscoveryCache
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.wire import servable
from gemstone_events.rpc.wires.http.handlers import GemstoneCustomHandler
from gemstone_events.schema import SchemaLike
from gemstone_events.setting_kinds import check_kind, check_objects
from gemstone_events.store.port import EventStore
from gemstone_events.transport import Transport

_OBJECTS = ("configurators", "discovery_strategies", "modules", "plugins")
_STORE = ("open", "commit", "find_settled", "close")
_TRANSPORT = ("open", "publish", "subscribe", "close", "status")
_SECONDS = (
    "call_timeout",
    "failed_attempts_window",
    "inbox_retention",
    "service_registry_ping_interval",
    "shutdown_timeout",
)


class Settings:
    """The settings of a service: class attributes, overridden by keyword arguments and by ``configure``.

    Args:
        settings: values for class attributes of the same names.

    Raises:
        ServiceConfigurationError: a setting does not exist or cannot have its value, or a class attribute is a misspelt
            setting.

    Attributes:
        name: required; the group of the service's handlers and the source of its events.
        version: the version of what the service offers, for its descriptions.
        host: the address that HTTP listens on.
        port: the port of HTTP; 0 for any free one, None for no HTTP.
        endpoint: the path of JSON-RPC.
        accessible_at: the URL under which others reach the service; by default made of host, port and endpoint.
        template_dir: where ``extra_handlers`` find their templates.
        static_dirs: pairs of a URL and the folder whose files it serves.
        extra_handlers: pairs of a URL and a ``GemstoneCustomHandler``.
        plugins: ``BasePlugin`` instances.
        modules: ``Container`` instances that belong to the service.
        components: ``Component`` instances whose services this service hosts; see ``gemstone_events.management``.
        component_registry: where components are registered and looked up; None for the presence of services on the
            first broker or bus by which this one is called.
        periodic_tasks: pairs of a function and the seconds between its runs; each run is a unit of work.
        event_transports: URLs or transports that every emitted event goes to; None for the embedded bus in
            ``data_dir``, an empty list for none.
        rpc_transports: URLs of brokers and buses by which the service is called, besides HTTP; None for those of
            ``event_transports`` that can, an empty list for none.
        event_store: a URL or a store; None for a SQLite file in ``data_dir`` named like the service.
        event_schemas: marshmallow schemas by event name or pattern; a body emitted under it must pass.
        data_dir: the folder of the embedded bus and store.
        namespace: prefixes every name on the broker, to keep environments apart.
        max_body: the longest body of an event or a request, in bytes.
        max_parallel_blocking_tasks: how many threads run ``def`` handlers, methods and periodic tasks.
        max_concurrent_calls: how many calls run at once; further ones wait with the broker, or are refused by HTTP.
        call_timeout: seconds that a call of an exposed method may take.
        shutdown_timeout: seconds for stopping, all in all; four fifths of them for what runs when it is told to stop.
        inbox_retention: seconds for which a handled event is remembered, so that its redelivery has no effect, and
            the answer to a call with an idempotency key, for its repetitions.
        allow_unauthenticated: listen beyond loopback even though ``authenticate_request`` is not overridden.
        require_authentication: all methods are private, those that every service has too, and HTTP refuses strangers
            before their request's body is read.
        validation_strategies: where the token may stand that ``api_token_is_valid`` is asked about; the first one found
            counts. A request in which one is found, or with the header ``Authorization``, is an attempt that can fail.
        failed_attempts: how many attempts of a peer may fail within ``failed_attempts_window`` before he is refused
            without being asked; 0 for no limit.
        failed_attempts_window: seconds; he is refused as long.
        discovery_strategies: where services are found by name, and this one is announced, besides the brokers and
            buses by which it is called itself: those need no strategy.
        service_registry_urls: registries, each a service with ``ping(name, url)`` and ``locate_service(name)``.
        service_registry_token: what the registries demand of those who announce themselves.
        service_registry_ping_interval: seconds between announcements.
        remote_service_cache: remembers what was found; None for a cache of its own, ``DummyCache()`` for none.
        discovery_allow: which addresses found may be called, besides HTTP on this machine and services on its own
            brokers: ``http://10.0.0.0/8:*``, ``https://billing.example:443``.
        allowed_hosts: host names that requests may be addressed to, besides the service's own.
        allowed_origins: web origins whose pages may call the service, for example ``https://shop.example``; the
            questions of their browsers (CORS) are answered.
        legacy_envelope: answer as old gemstone clients expect: both ``result`` and ``error``.
        use_statistics: expose the method ``statistics``.
        skip_configuration: ``start`` does not run the configurators.
        configurables: what may be set from outside; None for all settings.
        configurators: where values come from, the strongest last; None for file, environment and command line.
        log_level: the level that ``start`` and ``gemstone run`` log from.
    """

    name: str | None = None
    version: str = "0.0.0"
    host: str = "127.0.0.1"
    port: int | None = 8000
    endpoint: str = "/api"
    accessible_at: str | None = None
    template_dir: str | Path = "."
    static_dirs: Sequence[tuple[str, str]] = ()
    extra_handlers: Sequence[tuple[str, type[GemstoneCustomHandler]]] = ()
    plugins: Sequence[BasePlugin] = ()
    modules: Sequence[Container] = ()
    components: Sequence[Component] = ()
    component_registry: ComponentRegistry | None = None
    periodic_tasks: Sequence[tuple[Callable[..., object], float]] = ()
    event_transports: Sequence[str | Transport] | None = None
    rpc_transports: Sequence[str] | None = None
    event_store: str | EventStore | None = None
    event_schemas: Mapping[str, SchemaLike] = MappingProxyType({})
    data_dir: str | Path = ".gemstone"
    namespace: str = "gemstone"
    max_body: int = MAX_BODY_BYTES
    max_parallel_blocking_tasks: int = max(4, os.cpu_count() or 1)
    max_concurrent_calls: int = 256
    call_timeout: float = 30.0
    shutdown_timeout: float = 30.0
    inbox_retention: float = 30 * 24 * 3600.0
    allow_unauthenticated: bool = False
    require_authentication: bool = False
    validation_strategies: Sequence[BaseValidationStrategy] = (HeaderValidationStrategy(),)
    failed_attempts: int = 10
    failed_attempts_window: float = 60.0
    discovery_strategies: Sequence[BaseDiscoveryStrategy] = ()
    service_registry_urls: Sequence[str] = ()
    service_registry_token: str | None = None
    service_registry_ping_interval: float = 30.0
    remote_service_cache: ServiceDiscoveryCache | None = None
    discovery_allow: Sequence[str] = ()
    allowed_hosts: Sequence[str] = ()
    allowed_origins: Sequence[str] = ()
    legacy_envelope: bool = False
    use_statistics: bool = False
    skip_configuration: bool = False
    configurables: Sequence[Configurable] | None = None
    configurators: Sequence[BaseConfigurator] | None = None
    log_level: str = "info"

    def __init__(self, **settings: object) -> None:
        for setting, value in settings.items():
            if setting not in Settings.__annotations__:
                known = ", ".join(Settings.__annotations__)
                raise ServiceConfigurationError(f"{type(self).__name__} has no setting {setting!r}; there are {known}")
            setattr(self, setting, value)
        own = _names_of(self.configurables)
        check_class_attributes(type(self), Settings, [*Settings.__annotations__, *own])
        _check(self)

    @property
    def service_name(self) -> str:
        """The service's name, which is known to be set."""
        assert self.name is not None
        return self.name

    def configure(self) -> None:
        """Run the configurators now and take the values that they find.

        Raises:
            ServiceConfigurationError: a value cannot be used.
        """
        configurables = default_configurables() if self.configurables is None else self.configurables
        configurators = default_configurators() if self.configurators is None else self.configurators
        for configurator in configurators:
            configurator.service_name = self.service_name
            for configurable in configurables:
                configurator.register_configurable(configurable)
            configurator.load()
        for configurable in configurables:
            for configurator in configurators:
                value = configurator.get(configurable.name)
                if value is not None:
                    configurable.set_value(value)
                    setattr(self, configurable.name, configurable.get_final_value())
        _check(self)

    def get_current_configuration(self) -> dict[str, object]:
        """Return the settings that may come from outside, with their present values."""
        configurables = default_configurables() if self.configurables is None else self.configurables
        return {configurable.name: getattr(self, configurable.name) for configurable in configurables}

    @property
    def transport_urls(self) -> Sequence[str | Transport]:
        """What events go through: the transports that are set, or the embedded bus."""
        if self.event_transports is None:
            return [_sqlite_url(Path(self.data_dir) / "bus.db")]
        return self.event_transports

    @property
    def broker_urls(self) -> Sequence[str]:
        """The brokers and buses by which the service is called: those that are set, or those of its events that can."""
        return servable(self.transport_urls) if self.rpc_transports is None else list(self.rpc_transports)

    def url_at(self, port: int | None) -> str | None:
        """Return the URL under which others reach HTTP on a port; None where there is no HTTP."""
        if self.accessible_at is not None or port is None:
            return self.accessible_at
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}{self.endpoint}"

    @property
    def store_url(self) -> str | EventStore:
        """Where the service keeps its log: the store that is set, or a SQLite file of its own."""
        if self.event_store is None:
            return _sqlite_url(Path(self.data_dir) / f"{self.service_name}.db")
        return self.event_store


def _names_of(configurables: Sequence[Configurable] | None) -> list[str]:
    check_kind("configurables", configurables, Settings.__annotations__["configurables"])
    for each in configurables or ():
        if not isinstance(each, Configurable):
            raise ServiceConfigurationError(f"configurables holds Configurable objects, and not {each!r}")
    return [each.name for each in configurables or ()]


def _check(settings: Settings) -> None:
    if settings.name is None:
        raise ServiceConfigurationError(
            f"No name defined for the microservice: set the class attribute name of {type(settings).__name__}"
        )
    check_name("service name", settings.name)
    check_components(settings.components)
    for name, hint in Settings.__annotations__.items():
        check_kind(name, getattr(settings, name), hint)
    for name in _OBJECTS:
        check_objects(name, getattr(settings, name) or ())
    if settings.port is not None and not 0 <= settings.port <= 65535:
        raise ServiceConfigurationError(f"port cannot be {settings.port!r}: a number from 0 to 65535, or None")
    for name in ("static_dirs", "extra_handlers"):
        for entry in getattr(settings, name):
            if not isinstance(entry, tuple | list) or len(entry) != 2:
                raise ServiceConfigurationError(f"{name} holds pairs, the first of which is a URL, and not {entry!r}")
    for entry in settings.periodic_tasks:
        _check_periodic_task(entry)
    if not settings.endpoint.startswith("/"):
        raise ServiceConfigurationError(f"endpoint {settings.endpoint!r} must begin with '/'")
    for transport in settings.event_transports or ():
        _check_adapter("event_transports", transport, "transport", _TRANSPORT, "amqp://user:password@host/vhost")
    if settings.event_store is not None:
        _check_adapter("event_store", settings.event_store, "store", _STORE, "sqlite:///folder/shop.db")
    addresses = [transport for transport in settings.event_transports or () if isinstance(transport, str)]
    if len(set(addresses)) < len(addresses):
        raise ServiceConfigurationError("event_transports names one transport twice: everything would go there twice")
    check_name("namespace", settings.namespace)
    level_number(settings.log_level)
    if settings.failed_attempts < 0:
        raise ServiceConfigurationError(f"failed_attempts must be 0 or more, not {settings.failed_attempts!r}")
    for name in _SECONDS:
        seconds = getattr(settings, name)
        if not 0 < seconds < math.inf:
            raise ServiceConfigurationError(f"{name} must be more than 0 seconds, and finite, not {seconds!r}")
    for name in ("max_body", "max_concurrent_calls", "max_parallel_blocking_tasks"):
        number = getattr(settings, name)
        if number < 1:
            raise ServiceConfigurationError(f"{name} must be at least 1, not {number!r}")


def _check_adapter(setting: str, adapter: object, what: str, methods: Sequence[str], url: str) -> None:
    missing = [name for name in methods if inspect.getattr_static(adapter, name, None) is None]
    if missing and not isinstance(adapter, str):
        raise ServiceConfigurationError(
            f"{setting} holds {type(adapter).__name__}, which is no {what} (it has no {', '.join(missing)}): "
            f'write its URL instead, such as "{url}"'
        )


def _check_periodic_task(entry: object) -> None:
    match entry:
        case (function, int() | float() as seconds) if callable(function) and seconds > 0:
            try:
                inspect.signature(function).bind()
            except TypeError as error:
                raise ServiceConfigurationError(
                    f"the periodic task {function!r} cannot be called without arguments: {error}; a method of the "
                    "service goes into periodic_tasks in __init__, as (self.tick, 60), or bind arguments with partial"
                ) from None
            except ValueError:
                pass  # written in C, as the ``clear`` of a dict: nothing is known of its arguments
        case _:
            raise ServiceConfigurationError(f"periodic_tasks holds pairs of a function and seconds, not {entry!r}")


def _sqlite_url(path: Path) -> str:
    # sqlite:///relative and sqlite:////absolute, as in SQLAlchemy.
    return f"sqlite:///{path}"
