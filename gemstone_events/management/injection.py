"""Services handed to whoever needs them."""

import inspect
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar, overload

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_errors import LocalServiceException
from gemstone_events.rpc.signatures.type_hints import UnresolvedHint, namespace_of, resolve

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., object])

_INJECTED = "__gemstone_injected__"


class Services(Protocol):
    """Where services come from: a ``ServiceManager``."""

    def get_service(self, service_type: Callable[..., T], preferred_channel: str = "") -> T:
        """Return a service by its interface."""


class ServiceInstanceProvider(Generic[T]):
    """A class attribute that is a service:

        class Checkout(MicroService):
            orders = ServiceInstanceProvider(OrderService)

    ``ServiceManager.inject`` sets it; a ``MicroService`` and what a manager registers are injected by themselves.

    Args:
        clazz: the service's interface.
        preferred_channel: see ``ServiceManager.get_service``.
    """

    def __init__(self, clazz: Callable[..., T], preferred_channel: str = "") -> None:
        self.clazz = clazz
        self.preferred_channel = preferred_channel
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> "ServiceInstanceProvider[T]": ...

    @overload
    def __get__(self, owner: object, kind: type) -> T: ...

    def __get__(self, owner: object, kind: type) -> "ServiceInstanceProvider[T] | T":
        if owner is None:
            return self
        raise LocalServiceException(
            f"{kind.__qualname__}.{self._name} is not there yet: it comes with ServiceManager.inject or register"
        )

    def create(self, services: Services) -> T:
        """Return the service."""
        return services.get_service(self.clazz, self.preferred_channel)


def inject_service(preferred_channel: str = "") -> Callable[[Function], Function]:
    """Declare of a method that it takes a service, whose interface is the type hint of its one parameter:

        @inject_service()
        def set_orders(self, orders: OrderService) -> None:
            self._orders = orders

    Args:
        preferred_channel: see ``ServiceManager.get_service``.
    """
    if callable(preferred_channel):
        raise ServiceConfigurationError("@inject_service needs parentheses: write @inject_service()")

    def declare(function: Function) -> Function:
        setattr(function, _INJECTED, preferred_channel)
        return function

    return declare


def inject(owner: object, services: Services) -> None:
    """Give an object the services that its class asks for.

    Raises:
        ServiceConfigurationError: it asks for what is no service.
    """
    for name, value in _members(type(owner)):
        if isinstance(value, ServiceInstanceProvider):
            if not hasattr(owner, "__dict__"):
                raise ServiceConfigurationError(
                    f"{type(owner).__qualname__} has __slots__, where {name} finds no place"
                )
            vars(owner)[name] = value.create(services)
        elif isinstance(preferred := getattr(value, _INJECTED, None), str):
            bound = getattr(owner, name)
            bound(services.get_service(_interface(bound), preferred))


def _interface(function: Callable[..., object]) -> Callable[..., object]:
    parameters = list(inspect.signature(function).parameters.values())
    name = getattr(function, "__qualname__", str(function))
    if len(parameters) != 1:
        raise ServiceConfigurationError(f"{name} takes one parameter besides self: the service")
    try:
        hint = resolve(parameters[0].annotation, namespace_of(function), {})
    except UnresolvedHint as error:
        raise ServiceConfigurationError(f"{name}: {error}") from None
    if not isinstance(hint, type):
        raise ServiceConfigurationError(f"{name}: annotate the parameter with the service's interface")
    return hint


def _members(kind: type) -> Iterator[tuple[str, object]]:
    found: dict[str, object] = {}
    for base in reversed(kind.__mro__):
        found.update(vars(base))
    yield from found.items()
