"""Settings that cannot work are refused when a service is made, with what to write instead."""

from abc import ABC, abstractmethod

import pytest

from gemstone_events import MicroService, ServiceConfigurationError
from gemstone_events.adapters import make_transport
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
