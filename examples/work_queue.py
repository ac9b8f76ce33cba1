"""A work queue: exactly one consumer takes each piece of work, and work waits until there is one."""

import asyncio

from gemstone_events import MicroService, event_handler

PIECES = 6


class Example(MicroService):
    port = None  # no HTTP
    event_transports = ("memory://example",)
    event_store = "memory:"


class Kitchen(Example):
    name = "kitchen"


class Cook(Example):
    name = "cook"

    def __init__(self, cook: str, done: list[str]) -> None:
        super().__init__()
        self.cook = cook
        self.done = done

    # concurrency=1: this cook takes the next pizza when the last one is done. The default is 10 at once.
    @event_handler("pizza.bake", concurrency=1)
    async def bake(self, pizza: dict[str, int]) -> None:
        await asyncio.sleep(0.01)  # stands for the work
        self.done.append(f"pizza {pizza['number']}")
        print(f"{self.done[-1]} is baked by one of the cooks")


async def main() -> None:
    done: list[str] = []
    async with Kitchen() as kitchen:
        for number in range(PIECES):
            # broadcast=False makes it work: one subscriber in all takes it, not one in each group.
            await kitchen.emit_event("pizza.bake", {"number": number}, broadcast=False)
        print(f"{PIECES} pizzas are ordered and nobody bakes yet")
        async with Cook("Anna", done), Cook("Ben", done):  # they compete for the work that waits
            while len(done) < PIECES:
                await asyncio.sleep(0.01)
    print(f"{len(done)} pizzas are baked, each of them once: {len(set(done)) == PIECES}")


asyncio.run(main())
