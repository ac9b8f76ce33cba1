"""Calls: services without a port call each other by name, errors come back, and what may happen twice says so."""

import asyncio

from gemstone_events import (
    MicroService,
    OutcomeUnknownError,
    RpcError,
    ServiceNotFoundError,
    UnknownError,
    exposed_method,
)


class Example(MicroService):
    port = None  # no HTTP: calls come in by the same way as events
    event_transports = ("memory://example",)  # or "amqp://localhost", or nothing at all for a file
    event_store = "memory:"


class OutOfStock(RpcError):
    code, message = 1001, "Out of stock"


class Stock(Example):
    name = "stock"

    def __init__(self) -> None:
        super().__init__()
        self.left = {"pearl": 1}

    @exposed_method(idempotent=True)
    async def count(self, article: str) -> int:
        """Say how many there are; asking twice does no harm, so a call may be repeated."""
        return self.left.get(article, 0)

    @exposed_method()
    async def take(self, article: str) -> None:
        """Take one."""
        if not self.left.get(article):
            raise OutOfStock(data={"article": article})
        self.left[article] -= 1


class Shop(Example):
    name = "shop"

    @exposed_method()
    async def sell(self, article: str) -> str:
        stock = await self.get_service("stock", timeout=5)
        try:
            # The key makes it one call, however often it is sent: the second time the first answer comes back.
            await stock.call_method("take", [article], idempotency_key=True)
        except UnknownError as error:  # an error of the service's own
            return f"no {article}: {error.message} ({error.code})"
        except OutcomeUnknownError:
            return f"nobody knows whether the {article} was taken"
        return f"one {article} sold, {await stock.methods.count(article)} left"


async def main() -> None:
    async with Stock(), Shop() as shop:
        print(await (await shop.get_service("sho*")).methods.sell("pearl"))
        print(await (await shop.get_service("sho*")).methods.sell("pearl"))
        try:
            await shop.get_service("billing")
        except ServiceNotFoundError:
            print("nobody is called billing, and nobody has to wait to learn it")


asyncio.run(main())
