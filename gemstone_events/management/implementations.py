"""The implementations in this process: components, their services, and how these are called from outside."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.component import Component
from gemstone_events.management.declarations import is_implementation
from gemstone_events.management.descriptors import (
    ComponentDescriptor,
    ServiceDescriptor,
    component_descriptor,
    implemented_services,
)
from gemstone_events.rpc.methods import Method

K = TypeVar("K")
V = TypeVar("V")


def check_components(components: object) -> None:
    """Check what a service is given as its ``components``.

    Raises:
        ServiceConfigurationError: it is no list, or holds something else than components.
    """
    if isinstance(components, Component):
        raise ServiceConfigurationError(f"components is a list: write components=[{type(components).__name__}(...)]")
    if not isinstance(components, Iterable):
        raise ServiceConfigurationError(f"components is a list of components, and not {components!r}")
    for each in components:
        if isinstance(each, type):
            raise ServiceConfigurationError(
                f"components holds instances, and not the class {each.__name__}: write {each.__name__}(...)"
            )
        if not isinstance(each, Component):
            what = type(each).__name__
            raise ServiceConfigurationError(
                f"components holds components, and {what} is none: give the implementation of a service to its "
                f"component, as in components=[MyComponent({what}(...))], whose class derives from AbstractComponent"
            )


class Implementations:
    """Holds the instances that implement services and components, each once."""

    def __init__(self) -> None:
        self._services: dict[ServiceDescriptor[object], object] = {}
        self._components: dict[ComponentDescriptor[object], Component] = {}

    def add(self, instance: object) -> None:
        """Add the implementation of services, or of a component together with those of its services.

        Raises:
            ServiceConfigurationError: its class is not declared with ``@implementation()``, it implements nothing, or
                something of it is implemented already.
        """
        kind = type(instance)
        if not is_implementation(kind):
            raise ServiceConfigurationError(
                f"{kind.__qualname__} is no implementation: decorate it with @implementation()"
            )
        if isinstance(instance, Component):
            descriptor = component_descriptor(kind)
            self._take(self._components, descriptor, instance)
            for each in instance.get_services():
                if not isinstance(each, Component):
                    self.add(each)
        for service in implemented_services(kind):
            self._take(self._services, service, instance)

    def check(self) -> None:
        """Check that each component has all its services.

        Raises:
            ServiceConfigurationError: it misses one; the message names it.
        """
        for descriptor in self._components:
            for service in descriptor.services:
                if service not in self._services:
                    raise ServiceConfigurationError(
                        f"the component {descriptor.name!r} has no implementation of {service.type.__qualname__}: "
                        "give it to the component's constructor"
                    )

    def find(self, descriptor: ServiceDescriptor[object]) -> object | None:
        """Return the implementation of a service, if it is here."""
        return self._services.get(descriptor)

    @property
    def components(self) -> dict[ComponentDescriptor[object], Component]:
        """The components, in the order in which they were added."""
        return dict(self._components)

    @property
    def all(self) -> Sequence[object]:
        """Every instance once."""
        unique = {id(each): each for each in (*self._components.values(), *self._services.values())}
        return list(unique.values())

    def methods(self, *, private: bool) -> Iterator[Method]:
        """Yield the methods of all services that belong to a component here, as JSON-RPC exposes them."""
        for component in self._components:
            for service in component.services:
                yield from _methods(service, self._services[service], private=private)

    def _take(self, table: dict[K, V], descriptor: K, instance: V) -> None:
        first = table.setdefault(descriptor, instance)
        if first is not instance:
            raise ServiceConfigurationError(
                f"{descriptor} is implemented twice: by {type(first).__qualname__} and {type(instance).__qualname__}"
            )


def _methods(service: ServiceDescriptor[object], instance: object, *, private: bool) -> Iterator[Method]:
    for method in service.methods.values():
        function: Callable[..., object] = getattr(instance, method.name)
        yield Method(
            method.wire_name,
            function,
            private=private or service.private,
            scopes=service.scopes,
            idempotent=method.is_idempotent,
            doc=method.doc or inspect.getdoc(function),
            types=method.types,
        )
