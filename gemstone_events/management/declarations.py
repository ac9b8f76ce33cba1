"""The decorators of interfaces and implementations."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.descriptors import (
    DESCRIPTOR,
    IDEMPOTENT,
    IMPLEMENTATION,
    ComponentDescriptor,
    ServiceDescriptor,
    component_descriptor,
    implemented_services,
    own_descriptor,
)
from gemstone_events.management.substitution import check_substitute

Class = TypeVar("Class", bound=type)
Function = TypeVar("Function", bound=Callable[..., object])


def service(
    name: str = "", description: str = "", *, private: bool = False, scopes: Sequence[str] = ()
) -> Callable[[Class], Class]:
    """Declare a class to be the interface of a service: all its public methods may be called.

    Args:
        name: the service's name; by default the class's in snake_case.
        description: what it is for; by default the first line of the docstring.
        private: only callers that the hosting service lets in may call it.
        scopes: what a caller must have been granted, all of them; the service is then private.

    Raises:
        ServiceConfigurationError: it cannot be called from afar; the message says why.
    """
    _check_text(name, "service")
    if isinstance(scopes, str):
        raise ServiceConfigurationError(f"scopes is a list: write scopes=[{scopes!r}]")

    def declare(cls: Class) -> Class:
        descriptor: ServiceDescriptor[object] = ServiceDescriptor(
            None, cls, name=name, description=description, private=private, scopes=scopes
        )
        setattr(cls, DESCRIPTOR, descriptor)
        return cls

    return declare


def component(name: str = "", description: str = "", services: Sequence[type] = ()) -> Callable[[Class], Class]:
    """Declare a class to be the interface of a component, which bundles services.

    Args:
        name: the component's name; by default the class's in snake_case.
        description: what it is for; by default the first line of the docstring.
        services: the interfaces of its services. A service belongs to one component.

    Raises:
        ServiceConfigurationError: one of them is no service, or belongs to another component already.
    """
    _check_text(name, "component")

    def declare(cls: Class) -> Class:
        descriptor = ComponentDescriptor[object](cls, services, name=name, description=description)
        for each in descriptor.services:
            if each.component_descriptor is not None:
                raise ServiceConfigurationError(
                    f"the service {each.name!r} cannot belong to {descriptor.name!r}: "
                    f"it belongs to the component {each.component_descriptor.name!r}"
                )
        for each in descriptor.services:
            each.component_descriptor = descriptor
        setattr(cls, DESCRIPTOR, descriptor)
        return cls

    return declare


def health(endpoint: str = "") -> Callable[[Class], Class]:
    """Say where a component's health is shown. It stands above ``@component``.

    Args:
        endpoint: a path of the hosting service's HTTP, for example ``/shop/health``.

    Raises:
        ServiceConfigurationError: the class is no component, or the path no path.
    """
    if endpoint and not endpoint.startswith("/"):
        raise ServiceConfigurationError(f"the path of a component's health begins with '/', unlike {endpoint!r}")

    def declare(cls: Class) -> Class:
        component_descriptor(cls).health = endpoint
        return cls

    return declare


def implementation() -> Callable[[Class], Class]:
    """Declare a class to be the implementation of services, or of a component.

    Raises:
        ServiceConfigurationError: it derives from no declared interface, leaves methods out, has ``def`` for
            ``async def``, or a method cannot be called in every way in which its interface's can.
    """

    def declare(cls: Class) -> Class:
        services = implemented_services(cls)
        bases = [found for base in cls.__mro__ if (found := own_descriptor(base)) is not None]
        if not bases:
            raise ServiceConfigurationError(
                f"{cls.__qualname__} implements nothing: derive it from an interface with @service() or @component()"
            )
        missing = set(getattr(cls, "__abstractmethods__", ()))
        for each in services:
            missing |= {name for name in each.methods if getattr(cls, name) is getattr(each.type, name)}
        if missing:
            raise ServiceConfigurationError(f"{cls.__qualname__} does not implement {', '.join(sorted(missing))}")
        for each in services:
            for method in each.methods.values():
                check_substitute(cls, each.type, method)
        setattr(cls, IMPLEMENTATION, True)
        return cls

    return declare


def idempotent(function: Function) -> Function:
    """Declare of a method in an interface that calling it twice has the effect of calling it once.

    Whoever calls it may then call it again, at another address, where it is unknown whether it was carried out.
    """
    setattr(function, IDEMPOTENT, True)
    return function


def is_implementation(cls: type) -> bool:
    """Tell whether a class itself was declared with ``@implementation()``."""
    return bool(vars(cls).get(IMPLEMENTATION))


def _check_text(name: object, decorator: str) -> None:
    if not isinstance(name, str):
        raise ServiceConfigurationError(f"@{decorator} needs parentheses: write @{decorator}()")
