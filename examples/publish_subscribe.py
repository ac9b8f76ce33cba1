"""Publish and subscribe: every subscribed group gets one copy of an event.

The services run in one process here, so that the example is a single file. Without the two lines that say ``memory:``
they use a bus and stores in files, and work alike in three terminals.
"""

import asyncio

from gemstone_events import Event, MicroService, event_handler


class Example(MicroService):
    port = None  # no HTTP: events are all that is shown here
    event_transports = ("memory://example",)
    event_store = "memory:"


class Orders(Example):
    name = "orders"


class Billing(Example):
    name = "billing"  # also the group: all instances of billing share one copy of each event

    @event_handler("order.placed")
    async def charge(self, order: dict[str, int]) -> None:
        # In a handler there is nothing to await: the event is stored if, and only if, the handler ends well.
        self.emit_event("invoice.issued", {"order": order["id"], "total": order["total"]})


class Audit(Example):
    name = "audit"

    def __init__(self) -> None:
        super().__init__()
        self.has_seen_everything = asyncio.Event()

    @event_handler("#")  # a pattern: * stands for one word, # for any number of words
    async def write_down(self, body: object, event: Event) -> None:
        print(f"{event.source} says {event.type}: {body}")
        if event.type == "invoice.issued":
            self.has_seen_everything.set()


async def main() -> None:
    # Whoever subscribes comes first: a group gets what is published after it subscribed for the first time.
    async with Audit() as audit, Billing(), Orders() as orders:
        await orders.emit_event("order.placed", {"id": 1, "total": 250})  # returns when the event is stored
        await audit.has_seen_everything.wait()


asyncio.run(main())
