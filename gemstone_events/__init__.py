"""Event-sourced, pub/sub-centric messaging for Python services."""

from importlib.metadata import version

from gemstone_events.configuration import (
    BaseConfigurator,
    CommandLineConfigurator,
    Configurable,
    EnvironmentConfigurator,
    TomlConfigurator,
)
from gemstone_events.container import Container, Module
from gemstone_events.errors import GemstoneError, ServiceConfigurationError
from gemstone_events.event import Event
from gemstone_events.handlers import EVERY_INSTANCE, event_handler, exposed_method
from gemstone_events.plugins import BasePlugin
from gemstone_events.retry import RetryPolicy
from gemstone_events.rpc.errors import RpcError
from gemstone_events.rpc.http_handlers import GemstoneCustomHandler, TornadoJsonRpcHandler
from gemstone_events.service import MicroService
from gemstone_events.unit_of_work import UnitOfWork

__version__ = version("gemstone_events")

__all__ = [
    "EVERY_INSTANCE",
    "BaseConfigurator",
    "BasePlugin",
    "CommandLineConfigurator",
    "Configurable",
    "Container",
    "EnvironmentConfigurator",
    "Event",
    "GemstoneCustomHandler",
    "GemstoneError",
    "MicroService",
    "Module",
    "RetryPolicy",
    "RpcError",
    "ServiceConfigurationError",
    "TomlConfigurator",
    "TornadoJsonRpcHandler",
    "UnitOfWork",
    "event_handler",
    "exposed_method",
]
