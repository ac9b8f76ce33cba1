"""What is declared of services and components. It is kept on the decorated class, and shared by nobody else."""

import inspect
import re
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.names import check_name
from gemstone_events.rpc.methods import check_method_name
from gemstone_events.rpc.signatures.type_hints import arguments_of
from gemstone_events.rpc.signatures.typed_parameters import TypedFunction, typed_function

T = TypeVar("T")

DESCRIPTOR = "__gemstone_descriptor__"
IMPLEMENTATION = "__gemstone_implementation__"
IDEMPOTENT = "__gemstone_idempotent__"

_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Service:
    """Marks interfaces of services. Deriving from it is not needed, ``@service`` is."""


@dataclass(frozen=True, slots=True)
class MethodDescriptor:
    """One method of a service.

    Attributes:
        name: the function's name.
        wire_name: what it is called in JSON-RPC: ``<service>.<method>``.
        types: how its parameters and its result look in JSON.
        is_async: it is declared with ``async def``.
        is_idempotent: it may be called again where nobody knows whether it was carried out.
        doc: what it does.
    """

    name: str
    wire_name: str
    types: TypedFunction
    is_async: bool
    is_idempotent: bool
    doc: str


class BaseDescriptor(Generic[T]):
    """What is declared of a service or a component.

    Args:
        type: the decorated interface.
        name: its name; empty for the class's in snake_case.
        description: what it is for.
    """

    def __init__(self, type: type[T], name: str = "", description: str = "") -> None:
        self.type = type
        self.name = check_name("name of a service or component", name or snake_case(type.__name__))
        self.description = description or _first_line(type)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def is_component(self) -> bool:
        """Whether it describes a component."""
        return False


class ServiceDescriptor(BaseDescriptor[T]):
    """What is declared of a service.

    Args:
        component_descriptor: the component that it belongs to; ``@component`` sets it.
        service_type: the decorated interface.
        name, description: see ``BaseDescriptor``.
        private: only callers that the hosting service lets in may call it.
        scopes: what a caller must have been granted, all of them; the service is then private.
    """

    def __init__(
        self,
        component_descriptor: "ComponentDescriptor[object] | None",
        service_type: type[T],
        *,
        name: str = "",
        description: str = "",
        private: bool = False,
        scopes: Sequence[str] = (),
    ) -> None:
        super().__init__(service_type, name, description)
        self.component_descriptor = component_descriptor
        self.private = private or bool(scopes)
        self.scopes = tuple(scopes)
        self._functions = dict(_functions(service_type))
        for function in self._functions:
            check_method_name(f"{self.name}.{function}")

    @cached_property
    def methods(self) -> Mapping[str, MethodDescriptor]:
        """Its methods by name.

        Raises:
            ServiceConfigurationError: a type hint cannot be resolved, or cannot be read from JSON.
        """
        return {name: self._describe(name, function) for name, function in self._functions.items()}

    @property
    def component(self) -> "ComponentDescriptor[object]":
        """The component that it belongs to.

        Raises:
            ServiceConfigurationError: it belongs to none.
        """
        if self.component_descriptor is None:
            raise ServiceConfigurationError(
                f"the service {self.type.__qualname__} belongs to no component: list it in "
                f"@component(services=[{self.type.__name__}]), and import the module that does"
            )
        return self.component_descriptor

    def _describe(self, name: str, function: Callable[..., object]) -> MethodDescriptor:
        wire_name = f"{self.name}.{name}"
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[1:]
        owner = next(base for base in self.type.__mro__ if name in vars(base))
        meanings = arguments_of(self.type).get(owner, {})  # of a base such as Repository[Order]
        types = typed_function(wire_name, function, signature.replace(parameters=own), always=True, meanings=meanings)
        assert types is not None
        doc = inspect.getdoc(function) or ""
        is_idempotent = bool(getattr(function, IDEMPOTENT, False))
        return MethodDescriptor(name, wire_name, types, inspect.iscoroutinefunction(function), is_idempotent, doc)


class ComponentDescriptor(BaseDescriptor[T]):
    """What is declared of a component.

    Args:
        component_type: the decorated interface.
        service_types: the interfaces of its services.
        name, description: see ``BaseDescriptor``.

    Attributes:
        services: the descriptors of its services.
        health: the path of HTTP at which the component's health is shown; empty for none. ``@health`` sets it.
    """

    def __init__(
        self, component_type: type[T], service_types: Sequence[type], *, name: str = "", description: str = ""
    ) -> None:
        super().__init__(component_type, name, description)
        self.services = [service_descriptor(service_type) for service_type in service_types]
        self.health = ""
        names = [service.name for service in self.services]
        if len(set(names)) < len(names):
            raise ServiceConfigurationError(f"the component {self.name!r} has two services of one name: {names}")

    def is_component(self) -> bool:
        """Whether it describes a component."""
        return True


def own_descriptor(cls: type) -> BaseDescriptor[object] | None:
    """Return what is declared of a class itself, its bases aside."""
    found = vars(cls).get(DESCRIPTOR)
    return found if isinstance(found, BaseDescriptor) else None


def service_descriptor(cls: type) -> ServiceDescriptor[object]:
    """Return the descriptor of a service's interface.

    Raises:
        ServiceConfigurationError: the class is none.
    """
    found = own_descriptor(cls) if isinstance(cls, type) else None
    if not isinstance(found, ServiceDescriptor):
        raise ServiceConfigurationError(f"{_shown(cls)} is no interface of a service: decorate it with @service()")
    return found


def component_descriptor(cls: type) -> ComponentDescriptor[object]:
    """Return the descriptor of a component, given its interface or its implementation.

    Raises:
        ServiceConfigurationError: the class is neither.
    """
    for base in cls.__mro__:
        if isinstance(found := own_descriptor(base), ComponentDescriptor):
            return found
    raise ServiceConfigurationError(
        f"{_shown(cls)} is no component: decorate its interface with @component(services=[...])"
    )


def implemented_services(cls: type) -> list[ServiceDescriptor[object]]:
    """Return the descriptors of all interfaces of services that a class derives from."""
    return [found for base in cls.__mro__ if isinstance(found := own_descriptor(base), ServiceDescriptor)]


def snake_case(name: str) -> str:
    """Return a class's name in snake_case: ``HTTPOrderService2`` becomes ``http_order_service2``."""
    return _WORD_BEGINS.sub("_", name).lower()


def _functions(interface: type) -> list[tuple[str, Callable[..., object]]]:
    """Return the methods of an interface, in the order of their declaration, its bases' first."""
    found: dict[str, Callable[..., object]] = {}
    for base in reversed(interface.__mro__):
        if base in (object, ABC, Service, Generic):
            continue
        for name, value in vars(base).items():
            if name.startswith("_"):
                if getattr(value, "__isabstractmethod__", False):
                    raise ServiceConfigurationError(
                        f"{_shown(interface)}.{name} is abstract and private: whoever calls from afar cannot have it"
                    )
            elif inspect.isfunction(value):
                _check_function(interface, name, value)
                found[name] = value
            elif isinstance(value, property | staticmethod | classmethod):
                raise ServiceConfigurationError(
                    f"{_shown(interface)}.{name} is no plain method: an interface of a service has only such"
                )
    if not found:
        raise ServiceConfigurationError(f"{_shown(interface)} has no methods: declare those that others may call")
    return list(found.items())


def _check_function(interface: type, name: str, function: Callable[..., object]) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ServiceConfigurationError(f"{_shown(interface)}.{name} is a generator: return a list instead")
    if not inspect.signature(function).parameters:
        raise ServiceConfigurationError(f"{_shown(interface)}.{name} has no parameter 'self'")


def _first_line(cls: type) -> str:
    return (inspect.cleandoc(cls.__doc__ or "").splitlines() or [""])[0]


def _shown(cls: object) -> str:
    return cls.__qualname__ if isinstance(cls, type) else repr(cls)
