"""Typed services: an interface, a component that implements it in one service, and a proxy for it in another."""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Decimal

from gemstone_events import MicroService, exposed_method
from gemstone_events.management import (
    AbstractComponent,
    Component,
    Service,
    ServiceInstanceProvider,
    component,
    idempotent,
    implementation,
    service,
)
from gemstone_events.rpc.call_errors import InvalidParamsError
from gemstone_events.rpc.client.remote_service import RemoteService

BUS = "memory://example"  # between processes: sqlite:///bus.db, amqp://host/vhost; the rest stays the same


@dataclass(frozen=True)
class Line:
    article: str
    count: int
    price: Decimal


@dataclass(frozen=True)
class Quote:
    lines: list[Line]
    total: Decimal


# What both sides know: an interface, and the component that it belongs to.


@service()
class Prices(Service, ABC):
    @idempotent  # it may be asked again elsewhere where an answer gets lost
    @abstractmethod
    async def quote(self, lines: list[Line]) -> Quote: ...


@component(services=[Prices])
class Catalogue(Component, ABC): ...


# What one side implements.


@implementation()
class LocalPrices(Prices):
    async def quote(self, lines: list[Line]) -> Quote:
        return Quote(lines, sum((line.price * line.count for line in lines), Decimal(0)))


@implementation()
class LocalCatalogue(AbstractComponent, Catalogue): ...


class Warehouse(MicroService):
    name = "warehouse"
    port = None
    event_transports = (BUS,)
    event_store = "memory:"


# What the other side calls, without knowing where it runs.


class Checkout(MicroService):
    name = "checkout"
    port = None
    event_transports = (BUS,)
    event_store = "memory:"
    prices = ServiceInstanceProvider(Prices)

    @exposed_method()
    async def pay(self, article: str, count: int) -> str:
        quote = await self.prices.quote([Line(article, count, Decimal("1.10"))])  # typed: a Quote
        return f"{quote.lines[0].count} x {quote.lines[0].article}: {quote.total} EUR"


async def main() -> None:
    async with Warehouse(components=[LocalCatalogue(LocalPrices())]), Checkout():
        async with RemoteService(f"{BUS}#checkout") as checkout:
            print(await checkout.methods.pay("pen", 3))
        async with RemoteService(f"{BUS}#warehouse") as warehouse:  # JSON-RPC like any other, for any client
            print(await warehouse.methods.prices.quote(lines=[{"article": "pen", "count": 2, "price": "0.50"}]))
            try:
                await warehouse.methods.prices.quote(lines=[{"article": "pen", "count": "2"}])
            except InvalidParamsError as error:
                print(error.data)


asyncio.run(main())
