"""Containers: parts of a service in classes of their own."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from tornado.ioloop import IOLoop

from gemstone_events.emission import Emission
from gemstone_events.errors import ServiceNotRunningError, UnitOfWorkError
from gemstone_events.handlers import EventHandler, declared_handlers, declared_methods
from gemstone_events.strict_json import JsonValue
from gemstone_events.unit_of_work import UnitOfWork, current_unit_of_work


class Host(Protocol):
    """What a container asks of its service."""

    def get_executor(self) -> ThreadPoolExecutor:
        """Return the service's threads."""

    def get_io_loop(self) -> IOLoop:
        """Return the service's loop."""

    def emit_event(self, event_name: str, event_body: JsonValue, *, broadcast: bool = True) -> Emission:
        """Emit an event."""


class Container:
    """Holds exposed methods and event handlers of a service. List instances in ``MicroService.modules``."""

    _host: Host | None = None

    @property
    def microservice(self) -> Host:
        """The service that this container belongs to.

        Raises:
            ServiceNotRunningError: it belongs to none yet.
        """
        if self._host is None:
            raise ServiceNotRunningError(f"{type(self).__name__} is in the modules of no service yet")
        return self._host

    def set_microservice(self, microservice: Host) -> None:
        """Called by the service that lists this container."""
        self._host = microservice

    @property
    def unit_of_work(self) -> UnitOfWork:
        """The unit of work that the running handler, method or periodic task belongs to.

        Raises:
            UnitOfWorkError: nothing of the kind is running here.
        """
        unit = current_unit_of_work()
        if unit is None:
            raise UnitOfWorkError("there is a unit of work only inside a handler, an exposed method or a periodic task")
        return unit

    def get_exposed_methods(self) -> Mapping[str, Callable[..., object]]:
        """Return the exposed methods by their names on the wire."""
        return {options.name or name: function for name, function, options in declared_methods(self)}

    def get_event_handlers(self) -> Mapping[str, Sequence[EventHandler]]:
        """Return the event handlers by event name or pattern."""
        found: dict[str, list[EventHandler]] = {}
        for handler in declared_handlers(self):
            found.setdefault(handler.options.pattern, []).append(handler)
        return found

    def get_executor(self) -> ThreadPoolExecutor:
        """Return the service's threads, where blocking work runs."""
        return self.microservice.get_executor()

    def get_io_loop(self) -> IOLoop:
        """Return the service's loop."""
        return self.microservice.get_io_loop()

    def emit_event(self, event_name: str, event_body: JsonValue, *, broadcast: bool = True) -> Emission:
        """Emit an event as the service does; see ``MicroService.emit_event``."""
        return self.microservice.emit_event(event_name, event_body, broadcast=broadcast)


Module = Container
"""The name that gemstone 0.10 announced for ``Container``."""
