"""Interfaces, components and implementations: what is declared, and which declarations are refused."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial, wraps
from typing import Generic, TypeVar

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management import (
    AbstractComponent,
    Component,
    Service,
    component,
    health,
    idempotent,
    implementation,
    service,
)
from gemstone_events.management.declarations import is_implementation
from gemstone_events.management.descriptors import component_descriptor, service_descriptor, snake_case


@dataclass(frozen=True)
class Order:
    article: str
    placed: datetime | None = None


@service(description="Takes orders.")
class OrderService(Service, ABC):
    @abstractmethod
    async def place(self, order: Order) -> str:
        """Place an order."""

    @idempotent
    @abstractmethod
    def find(self, number: int) -> Order | None: ...


@service("stock")
class StockKeeper(ABC):
    """Counts what is there.

    And more.
    """

    @abstractmethod
    async def count(self, article: str) -> int: ...


@health("/shop/health")
@component(services=[OrderService, StockKeeper])
class ShopComponent(Component, ABC):
    """Sells."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("OrderService", "order_service"),
        ("HTTPServer", "http_server"),
        ("MyHTTPServer2Go", "my_http_server2_go"),
        ("A", "a"),
        ("already_snake", "already_snake"),
    ],
)
def test_a_class_name_becomes_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_a_service_is_described_by_its_interface() -> None:
    descriptor = service_descriptor(OrderService)

    assert (descriptor.name, descriptor.description) == ("order_service", "Takes orders.")
    assert descriptor.component is component_descriptor(ShopComponent)
    assert {m.wire_name: (m.is_async, m.is_idempotent, m.doc) for m in descriptor.methods.values()} == {
        "order_service.place": (True, False, "Place an order."),
        "order_service.find": (False, True, ""),
    }
    assert descriptor.methods["place"].types.dump((Order("pen"),), {}) == {"order": {"article": "pen", "placed": None}}


def test_a_name_and_the_first_line_of_the_docstring_describe_a_service() -> None:
    descriptor = service_descriptor(StockKeeper)
    assert (descriptor.name, descriptor.description) == ("stock", "Counts what is there.")


def test_a_component_is_described_by_its_interface_and_found_by_its_implementation() -> None:
    class Shop(AbstractComponent, ShopComponent): ...

    descriptor = component_descriptor(Shop)

    assert (descriptor.name, descriptor.description, descriptor.health) == ("shop_component", "Sells.", "/shop/health")
    assert [each.type for each in descriptor.services] == [OrderService, StockKeeper]
    assert descriptor.is_component()
    assert not descriptor.services[0].is_component()


def test_a_service_inherits_the_methods_of_its_bases() -> None:
    @service()
    class Wider(OrderService):
        @abstractmethod
        async def cancel(self, number: int) -> None: ...

    assert list(service_descriptor(Wider).methods) == ["place", "find", "cancel"]
    assert service_descriptor(Wider).methods["find"].wire_name == "wider.find"


def test_an_interface_may_derive_from_a_generic_one() -> None:
    kept = TypeVar("kept")

    class Repository(ABC, Generic[kept]):
        @abstractmethod
        async def get(self, number: int) -> kept | None: ...

        @abstractmethod
        async def put(self, *items: kept) -> None: ...

    class Archive(Repository[kept]):
        @abstractmethod
        async def all(self) -> list[kept]: ...

    @service()
    class Orders(Archive[Order], Service):
        pass

    methods = service_descriptor(Orders).methods
    assert methods["get"].types.load_result({"article": "pen"}) == Order("pen")
    assert methods["put"].types.load([{"article": "pen"}]) == ((Order("pen"),), {})
    assert methods["all"].types.dump_result([Order("pen")]) == [{"article": "pen", "placed": None}]


def test_scopes_make_a_service_private() -> None:
    @service(scopes=["admin"])
    class Admin:
        async def wipe(self) -> None: ...

    assert service_descriptor(Admin).private
    assert service_descriptor(Admin).scopes == ("admin",)


def _declare_without_parentheses() -> None:
    service(OrderService)  # type: ignore[arg-type]


def _declare_nothing() -> None:
    @service()
    class Nothing: ...


def _declare_a_property() -> None:
    @service()
    class Proper:
        @property
        def price(self) -> int:
            return 1


def _declare_a_private_abstract_method() -> None:
    @service()
    class Secret(ABC):
        @abstractmethod
        async def _hidden(self) -> None: ...


def _declare_a_generator() -> None:
    @service()
    class Many:
        def all(self) -> object:
            yield 1


def _declare_a_bad_name() -> None:
    @service("my service")
    class Bad:
        async def go(self) -> None: ...


def _declare_a_name_that_no_method_can_begin_with() -> None:
    @service("my-service")
    class Bad:
        async def go(self) -> None: ...


def _declare_a_service_twice() -> None:
    @component(services=[OrderService])
    class Other(Component, ABC): ...


def _declare_a_component_of_no_service() -> None:
    @component(services=[Order])
    class Other(Component, ABC): ...


def _declare_a_bad_path() -> None:
    health("shop")


def _declare_health_of_no_component() -> None:
    health("/shop")(Order)


def _declare_scopes_that_are_text() -> None:
    service(scopes="admin")


def _implement_nothing() -> None:
    @implementation()
    class Plain: ...


def _implement_half() -> None:
    @implementation()
    class Half(OrderService):
        async def place(self, order: Order) -> str:
            return ""


def _implement_in_another_colour() -> None:
    @implementation()
    class Blocking(StockKeeper):
        def count(self, article: str) -> int:  # type: ignore[override]
            return 1


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (_declare_without_parentheses, r"write @service\(\)"),
        (_declare_nothing, "has no methods"),
        (_declare_a_property, "price is no plain method"),
        (_declare_a_private_abstract_method, "_hidden is abstract and private"),
        (_declare_a_generator, "all is a generator"),
        (_declare_a_bad_name, "'my service' is not a valid name"),
        (_declare_a_name_that_no_method_can_begin_with, "'my-service.go' is not valid"),
        (_declare_a_service_twice, "'order_service' cannot belong to 'other': it belongs to .*'shop_component'"),
        (_declare_a_component_of_no_service, r"Order is no interface of a service: decorate it with @service\(\)"),
        (_declare_a_bad_path, "begins with '/'"),
        (_declare_health_of_no_component, "Order is no component"),
        (_declare_scopes_that_are_text, r"write scopes=\['admin'\]"),
        (_implement_nothing, "Plain implements nothing"),
        (_implement_half, "Half does not implement find"),
        (_implement_in_another_colour, "Blocking.count has to be 'async def', as in its interface"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_declared(declare: Callable[[], None], message: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=message):
        declare()


@service()
class Warehouse(ABC):
    @abstractmethod
    async def reserve(self, article: str, count: int, *, urgent: bool = False) -> str: ...


@service()
class Drawer(ABC):
    @abstractmethod
    async def put(self, thing: str, /, label: str = "", *more: str, **notes: str) -> str: ...


def _logged(function: Callable[..., object]) -> Callable[..., object]:
    """Hand on all arguments, and one of its own, as decorators do."""

    @wraps(function)
    async def call(*args: object, **kwargs: object) -> object:
        return await function(*args, "session", **kwargs)  # type: ignore[misc]

    return call


async def _same(self: object, article: str, count: int, *, urgent: bool = False) -> str: ...


async def _optional_more(
    self: object, article: str, count: int, colour: str = "", *, urgent: bool = False, day: int = 0
) -> str: ...


async def _all_optional(this: object, article: str = "", count: int = 1, urgent: bool = False) -> str: ...


async def _anything(*args: object, **kwargs: object) -> str: ...


async def _with_a_session(self: object, session: object, article: str, count: int, *, urgent: bool = False) -> str: ...


async def _renamed(self: object, article: str, number: int, *, urgent: bool = False) -> str: ...


async def _swapped(self: object, count: int, article: str, *, urgent: bool = False) -> str: ...


async def _demanding(self: object, article: str, count: int, *, urgent: bool) -> str: ...


async def _longer(self: object, article: str, count: int, colour: str, *, urgent: bool = False) -> str: ...


async def _shorter(self: object, article: str, count: int) -> str: ...


async def _by_name_only(self: object, *, article: str, count: int, urgent: bool = False) -> str: ...


async def _by_position_only(self: object, article: str, count: int, /, *, urgent: bool = False) -> str: ...


async def _renamed_by_position(self: object, what: str, label: str = "", *others: str, **remarks: str) -> str: ...


async def _one_more_by_position(self: object, thing: str, label: str = "", **notes: str) -> str: ...


async def _no_more_by_name(self: object, thing: str, label: str = "", *more: str) -> str: ...


@pytest.mark.parametrize(
    ("interface", "name", "method"),
    [
        (Warehouse, "reserve", _same),
        (Warehouse, "reserve", _optional_more),
        (Warehouse, "reserve", _all_optional),
        (Warehouse, "reserve", _anything),
        (Warehouse, "reserve", staticmethod(partial(_same, None))),
        (Warehouse, "reserve", classmethod(_same)),
        (Warehouse, "reserve", _logged(_with_a_session)),
        (Drawer, "put", _renamed_by_position),
    ],
)
def test_a_method_that_takes_all_calls_of_its_interface_implements_it(
    interface: type, name: str, method: Callable[..., object]
) -> None:
    assert is_implementation(implementation()(type("Own", (interface,), {name: method})))


@pytest.mark.parametrize(
    ("interface", "name", "method", "message"),
    [
        (
            Warehouse,
            "reserve",
            _renamed,
            r"Own\.reserve\(article, number, .*\) cannot stand for Warehouse\.reserve\(article, count, .*\): .* 'number'; give",
        ),
        (Warehouse, "reserve", _swapped, r"reserve\(count, article, .*: 'count' has another place"),
        (Warehouse, "reserve", _demanding, "missing a required .*argument: 'urgent'"),
        (Warehouse, "reserve", _longer, "missing a required argument: 'colour'"),
        (Warehouse, "reserve", _shorter, "unexpected keyword argument 'urgent'"),
        (Warehouse, "reserve", _by_name_only, "too many positional arguments"),
        (Warehouse, "reserve", _by_position_only, "'article"),
        (Warehouse, "reserve", 5, r"Own\.reserve has to be a method"),
        (Drawer, "put", _one_more_by_position, "too many positional arguments"),
        (Drawer, "put", _no_more_by_name, "unexpected keyword argument 'any_notes'"),
    ],
)
def test_a_method_that_some_caller_of_its_interface_cannot_call_is_refused(
    interface: type, name: str, method: object, message: str
) -> None:
    with pytest.raises(ServiceConfigurationError, match=message):
        implementation()(type("Own", (interface,), {name: method}))


def test_a_failed_component_leaves_its_services_alone() -> None:
    @service()
    class Free:
        async def go(self) -> None: ...

    with pytest.raises(ServiceConfigurationError):
        component("mixed", services=[Free, OrderService])(type("Mixed", (), {}))
    assert service_descriptor(Free).component_descriptor is None


def test_a_service_without_a_component_says_how_to_get_one() -> None:
    @service()
    class Lonely:
        async def go(self) -> None: ...

    with pytest.raises(ServiceConfigurationError, match=r"list it in @component\(services=\[Lonely\]\)"):
        _ = service_descriptor(Lonely).component


def test_an_implementation_is_not_inherited() -> None:
    @implementation()
    class Stock(StockKeeper):
        async def count(self, article: str) -> int:
            return 1

    class Derived(Stock): ...

    assert is_implementation(Stock)
    assert not is_implementation(Derived)
