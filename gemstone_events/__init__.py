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
from gemstone_events.rpc.authentication.credentials import BearerToken, CookieToken, HeaderToken, HmacKey
from gemstone_events.rpc.authentication.hmac_keys import HmacKeys
from gemstone_events.rpc.authentication.principal import Principal
from gemstone_events.rpc.authentication.strategies import (
    BaseValidationStrategy,
    BasicCookieStrategy,
    BearerTokenStrategy,
    HeaderValidationStrategy,
)
from gemstone_events.rpc.authentication.token_table import TokenTable
from gemstone_events.rpc.call_errors import (
    AccessDeniedError,
    CalledServiceError,
    CallTimeoutError,
    DeadlineExceededError,
    InternalErrorError,
    InterruptedCallError,
    InvalidAnswerError,
    InvalidParamsError,
    LocalServiceException,
    MethodNotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    RemoteServiceError,
    RemoteServiceException,
    RequestRefusedError,
    ServiceCommunicationException,
    ServiceException,
    ServiceNotFoundError,
    ServiceUnreachableError,
    UnknownError,
)
from gemstone_events.rpc.client.async_call import AsyncMethodCall
from gemstone_events.rpc.client.completion import as_completed, first_completed, make_callbacks
from gemstone_events.rpc.client.remote_service import RemoteClient, RemoteService, get_remote_service_instance_for_url
from gemstone_events.rpc.client.requests import MethodCall, Notification
from gemstone_events.rpc.client.results import BatchResult, Result
from gemstone_events.rpc.errors import RpcError
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.rpc.wires.http.handlers import GemstoneCustomHandler, TornadoJsonRpcHandler
from gemstone_events.service import MicroService
from gemstone_events.unit_of_work import UnitOfWork

__version__ = version("gemstone_events")

__all__ = [
    "EVERY_INSTANCE",
    "AccessDeniedError",
    "AsyncMethodCall",
    "BaseConfigurator",
    "BasePlugin",
    "BaseValidationStrategy",
    "BasicCookieStrategy",
    "BatchResult",
    "BearerToken",
    "BearerTokenStrategy",
    "CallTimeoutError",
    "CalledServiceError",
    "CommandLineConfigurator",
    "Configurable",
    "Container",
    "CookieToken",
    "DeadlineExceededError",
    "EnvironmentConfigurator",
    "Event",
    "GemstoneCustomHandler",
    "GemstoneError",
    "HeaderToken",
    "HeaderValidationStrategy",
    "HmacKey",
    "HmacKeys",
    "InternalErrorError",
    "InterruptedCallError",
    "InvalidAnswerError",
    "InvalidParamsError",
    "LocalServiceException",
    "MethodCall",
    "MethodNotFoundError",
    "MicroService",
    "Module",
    "Notification",
    "OutcomeUnknownError",
    "OverloadedError",
    "Principal",
    "RemoteClient",
    "RemoteService",
    "RemoteServiceError",
    "RemoteServiceException",
    "RequestRefusedError",
    "Result",
    "RetryPolicy",
    "RpcError",
    "RpcHandler",
    "ServiceCommunicationException",
    "ServiceConfigurationError",
    "ServiceException",
    "ServiceNotFoundError",
    "ServiceUnreachableError",
    "TokenTable",
    "TomlConfigurator",
    "TornadoJsonRpcHandler",
    "UnitOfWork",
    "UnknownError",
    "as_completed",
    "event_handler",
    "exposed_method",
    "first_completed",
    "get_remote_service_instance_for_url",
    "make_callbacks",
]
