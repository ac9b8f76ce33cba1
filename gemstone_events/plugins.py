"""Plugins: what can be added to any service without touching its class."""

from typing import Protocol

from gemstone_events.errors import MissingPluginNameError


class MethodRequest(Protocol):
    """What a plugin sees of a call."""

    @property
    def method(self) -> str:
        """The method's name on the wire."""

    @property
    def params(self) -> object:
        """The arguments, a list or a dict."""

    @property
    def id(self) -> object:
        """The request's id; None in a notification."""


class BasePlugin:
    """The base of plugins. Every hook may be ``def`` (short: it runs on the event loop) or left out.

    Attributes:
        name: what ``MicroService.get_plugin`` finds it by; required.
    """

    name: str | None = None

    def __init__(self) -> None:
        if not self.name:
            raise MissingPluginNameError(f"the plugin {type(self).__name__} needs a class attribute name")
        self.microservice: object | None = None

    def set_microservice(self, microservice: object) -> None:
        """Called once with the service before anything else."""
        self.microservice = microservice

    def on_service_start(self) -> None:
        """Called when the service starts, before its own ``on_service_start``."""

    def on_service_stop(self) -> None:
        """Called when the service has drained, before it lets go of its store and transports."""

    def on_method_call(self, jsonrpc_request: MethodRequest) -> None:
        """Called for every call that may be made, batch items and notifications among them."""

    def on_internal_error(self, exc_instance: BaseException) -> None:
        """Called with the exception that a method failed with unexpectedly."""
