"""Settings that cannot work are refused when a service is made, with what to write instead."""

from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from gemstone_events import BasePlugin, MicroService, ServiceConfigurationError
from gemstone_events.adapters import make_transport
from gemstone_events.configuration import Configurable
from gemstone_events.management import AbstractComponent, Component, Service, component, implementation, service
from gemstone_events.transport import TransportSettings


@service()
class OrderService(Service, ABC):
    @abstractmethod
    async def place(self, article: str) -> str: ...


@component(services=[OrderService])
class OrderComponent(Component, ABC):
    """Takes orders."""


@implementation()
class Orders(OrderService):
    async def place(self, article: str) -> str:
        return article


@implementation()
class LocalOrders(AbstractComponent, OrderComponent):
    """Takes orders here."""


class RabbitMqEventTransport:
    """What a program written for gemstone has."""

    def start_accepting_events(self) -> None:
        """Begin."""


class Shop(MicroService):
    name = "shop"


def test_components_are_taken_from_a_list() -> None:
    assert len(Shop(components=[LocalOrders(Orders())]).components) == 1


@pytest.mark.parametrize(
    ("components", "advice"),
    [
        ([Orders()], r"Orders is none: give the implementation .* components=\[MyComponent\(Orders\(\.\.\.\)\)\]"),
        ([LocalOrders], r"not the class LocalOrders: write LocalOrders\(\.\.\.\)"),
        (LocalOrders(Orders()), r"components is a list: write components=\[LocalOrders\(\.\.\.\)\]"),
        (None, "components is a list of components, and not None"),
    ],
)
def test_what_is_no_list_of_components_is_refused(components: object, advice: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=advice):
        Shop(components=components)


@pytest.mark.parametrize("transport", [RabbitMqEventTransport(), RabbitMqEventTransport, 5672, None])
def test_what_is_no_transport_is_refused_with_a_url_to_write(transport: object) -> None:
    with pytest.raises(ServiceConfigurationError, match=r'which is no transport .* "amqp://user:password@host/vhost"'):
        Shop(event_transports=[transport])


def test_a_transport_made_by_hand_is_taken() -> None:
    transport = make_transport("memory://settings", TransportSettings())
    assert Shop(event_transports=[transport]).event_transports == [transport]


class Stamp(BasePlugin):
    name = "stamp"


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("port", "80", "port cannot be '80': it is a whole number or None"),
        ("port", True, "port cannot be True"),
        ("endpoint", None, "endpoint cannot be None: it is a text"),
        ("call_timeout", "5", "call_timeout cannot be '5': it is a number"),
        ("allow_unauthenticated", "no", "allow_unauthenticated cannot be 'no': it is True or False"),
        ("allowed_hosts", "shop.example", r"allowed_hosts is a list: write \['shop.example'\]"),
        ("event_transports", "amqp://me:secret@host", r"write \['amqp://me:\*\*\*@host'\]"),
        ("plugins", Stamp(), "plugins cannot be <.*>: it is a list"),
        ("plugins", [Stamp], r"plugins holds objects, and not the class Stamp: write Stamp\(\.\.\.\)"),
        ("modules", (each for each in ()), "modules cannot be <generator"),
        ("event_schemas", [], "event_schemas cannot be .*: it is a dict"),
        ("data_dir", 5, "data_dir cannot be 5: it is a text or a path"),
        ("static_dirs", ("/a", "folder"), "static_dirs holds pairs, .* and not '/a'"),
        ("extra_handlers", ["/a"], "extra_handlers holds pairs"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_the_kind_that_it_is(setting: str, value: object, advice: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=advice):
        Shop(**{setting: value})
    with pytest.raises(ServiceConfigurationError, match=advice):
        type("Other", (Shop,), {setting: value})()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("port", None),
        ("call_timeout", 5),
        ("data_dir", Path("here")),
        ("allowed_hosts", {"shop.example"}),
        ("rpc_transports", ()),
        ("event_schemas", {}),
        ("static_dirs", [["/a", "folder"]]),
    ],
)
def test_a_value_of_its_kind_is_taken(setting: str, value: object) -> None:
    assert getattr(Shop(**{setting: value}), setting) == value


def test_a_periodic_task_may_be_a_function_whose_arguments_python_cannot_tell() -> None:
    cache: dict[str, int] = {}
    assert Shop(periodic_tasks=[(cache.clear, 60)]).periodic_tasks == [(cache.clear, 60)]


@pytest.mark.parametrize(
    ("setting", "value", "advice"),
    [
        ("configurables", 5, "configurables cannot be 5: it is a list or None"),
        ("configurables", [Configurable], "configurables holds Configurable objects, and not <class"),
        (
            "event_store",
            Path("shop.db"),
            r"event_store holds PosixPath, .*: write its URL instead, such as \"sqlite://",
        ),
        (
            "rpc_transports",
            [Path("bus.db")],
            r"rpc_transports cannot hold PosixPath\('bus.db'\): it is a list of texts",
        ),
        ("allowed_hosts", [5], "allowed_hosts cannot hold 5: it is a list of texts"),
    ],
)
def test_what_would_fail_at_the_start_is_refused_before(setting: str, value: object, advice: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=advice):
        Shop(**{setting: value})


def test_brokers_may_be_given_as_any_collection() -> None:
    assert Shop(rpc_transports={"memory://bus": 1}.keys()).service_manager
