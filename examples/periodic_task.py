"""A function that runs again and again. Each run is a unit of work: what it emits is kept only if it ends well."""

import asyncio

from gemstone_events import MicroService, event_handler


class Clock(MicroService):
    name = "clock"
    port = None  # no HTTP
    event_transports = ("memory://example",)
    event_store = "memory:"

    def __init__(self) -> None:
        # Here and not in the class, because a method of this object is to be run. Pairs of function and seconds.
        super().__init__(periodic_tasks=[(self.tick, 0.05)])
        self.ticks = 0

    async def tick(self) -> None:
        self.ticks += 1
        self.emit_event("clock.ticked", {"tick": self.ticks})
        if self.ticks == 2:
            # Logged, and nothing of this run is emitted; the next run comes all the same.
            raise RuntimeError("the clock has a hiccup")

    @event_handler("clock.ticked")
    async def hear(self, body: dict[str, int]) -> None:
        print(f"tick {body['tick']}")
        if body["tick"] == 4:
            self.stop()


asyncio.run(Clock().serve())  # runs until stop() is called
