"""Containers: the parts of a large service in classes of their own, each with its methods and event handlers."""

import asyncio
import json

from tornado.httpclient import AsyncHTTPClient

from gemstone_events import Container, MicroService, event_handler, exposed_method


class Customers(Container):
    @exposed_method("customers.add")
    async def add(self, name: str) -> str:
        self.emit_event("customer.added", {"name": name})
        return name


class Greetings(Container):
    """Knows nothing of ``Customers``: events are all that connects them."""

    def __init__(self) -> None:
        self.greeted = asyncio.Event()

    @event_handler("customer.added")
    async def greet(self, customer: dict[str, str]) -> None:
        print(f"Welcome, {customer['name']}!")
        self.greeted.set()


class Shop(MicroService):
    name = "shop"
    port = 0  # any free port
    event_transports = ("memory://example",)
    event_store = "memory:"


async def main() -> None:
    greetings = Greetings()
    async with Shop(modules=[Customers(), greetings]) as shop:
        assert shop.url is not None
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "customers.add", "params": {"name": "Ada"}})
        headers = {"Content-Type": "application/json"}
        response = await AsyncHTTPClient().fetch(shop.url, method="POST", headers=headers, body=body)
        print(response.body.decode())
        await greetings.greeted.wait()


asyncio.run(main())
