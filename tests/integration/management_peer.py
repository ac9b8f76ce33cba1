"""An interface, and a process of its own that implements it, for the tests that call it from elsewhere.

python management_peer.py SERVICE NUMBER [--transport URL] [--http] [--redis URL] [--namespace NAME]
"""

import argparse
import asyncio
import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from gemstone_events import MicroService
from gemstone_events.management import (
    AbstractComponent,
    Component,
    Service,
    component,
    health,
    health_check,
    idempotent,
    implementation,
    service,
)
from gemstone_events.management.redis_registry import RedisComponentRegistry
from gemstone_events.rpc.errors import RpcError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Line:
    article: str
    count: int = 1
    price: Decimal = Decimal("1.00")


@dataclass(frozen=True)
class Order:
    id: UUID
    placed: datetime
    lines: list[Line]
    colour: Colour | None = None
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    order: Order
    total: Decimal
    by: int


class SoldOut(RpcError):
    code, message = 1001, "Sold out"


@service()
class OrderService(Service, ABC):
    """Takes orders."""

    @abstractmethod
    async def place(self, order: Order) -> Receipt:
        """Place an order."""

    @abstractmethod
    def total(self, lines: Sequence[Line]) -> Decimal:
        """Sum up."""

    @idempotent
    @abstractmethod
    async def who(self, delay: float = 0.0) -> int:
        """Tell which instance this is."""

    @abstractmethod
    async def who_once(self, delay: float = 0.0) -> int:
        """Tell it, but not twice."""

    @abstractmethod
    async def fail(self, article: str) -> None:
        """Be sold out."""


@health("/shop/health")
@component(services=[OrderService])
class ShopComponent(Component, ABC):
    """A shop."""


@implementation()
class Orders(OrderService):
    """What runs in the peer."""

    def __init__(self, number: int) -> None:
        self.number = number

    async def place(self, order: Order) -> Receipt:
        return Receipt(order, self.total(order.lines), self.number)

    def total(self, lines: Sequence[Line]) -> Decimal:
        return sum((line.price * line.count for line in lines), Decimal(0))

    async def who(self, delay: float = 0.0) -> int:
        print(f"asked {self.number}", flush=True)
        await asyncio.sleep(delay)
        return self.number

    async def who_once(self, delay: float = 0.0) -> int:
        return await self.who(delay)

    async def fail(self, article: str) -> None:
        raise SoldOut(data={"article": article})


@implementation()
class Shop(AbstractComponent, ShopComponent):
    """The component in the peer."""

    @health_check()
    async def open(self) -> None:
        """Always."""


async def main(options: argparse.Namespace) -> None:
    """Host the component until the process is killed."""
    registry = RedisComponentRegistry(options.redis, 1.0, namespace=options.namespace) if options.redis else None
    peer = MicroService(
        name=options.service,
        namespace=options.namespace,
        port=0 if options.http else None,
        event_transports=[],
        rpc_transports=[options.transport] if options.transport else [],
        event_store="memory:",
        components=[Shop(Orders(options.number))],
        component_registry=registry,
    )
    async with peer:
        print(f"serving {' '.join(peer.urls)}", flush=True)
        await peer.wait_stopped()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("service")
    parser.add_argument("number", type=int)
    parser.add_argument("--transport")
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--redis")
    parser.add_argument("--namespace", default="gemstone")
    asyncio.run(main(parser.parse_args()))
