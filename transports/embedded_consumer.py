"""The consuming half of the bus thread: what is subscribed, in flight and settled."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from gemstone_events.message import Message
from gemstone_events.transport import Receive, Subscription
from gemstone_events.transports.embedded_bus import Bus, Claimed


class Settlement(NamedTuple):
    """The outcome of a delivery. ``epoch`` counts the files that were found at the path: each has its own numbers."""

    epoch: int
    delivery: int
    acked: bool


Settle: TypeAlias = Callable[[Settlement], None]


class BusDelivery:
    """A claimed delivery: see ``gemstone_events.transport.Delivery``."""

    __slots__ = ("_epoch", "_id", "_settle", "message", "redelivered")

    def __init__(self, claimed: Claimed, broadcast: bool, epoch: int, settle: Settle) -> None:
        self.message = Message(_attributes(claimed.attributes), claimed.body, broadcast)
        self.redelivered = bool(claimed.redelivered)
        self._id = claimed.id
        self._epoch = epoch
        self._settle: Settle | None = settle

    def ack(self) -> None:
        """See ``Delivery.ack``."""
        self._settle_once(True)

    def release(self) -> None:
        """See ``Delivery.release``."""
        self._settle_once(False)

    def _settle_once(self, acked: bool) -> None:
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(Settlement(self._epoch, self._id, acked))


class Parcel(NamedTuple):
    """Deliveries of one subscription that came together."""

    subscription: Subscription
    deliveries: Sequence[BusDelivery]


class BusConsumer:
    """The subscriptions of one transport."""

    def __init__(self, bus: Bus, subscriptions: Sequence[Subscription], receive: Receive, settle: Settle) -> None:
        """Consume nothing yet; ``settle`` is what the deliveries call on the event loop's thread."""
        self.receive = receive
        self.is_stopped = False
        """Set to True to claim nothing any more."""
        self.is_registered = False
        self._bus = bus
        self._subscriptions = subscriptions
        self._settle = settle
        self._epoch = 0
        self._queues: list[int] = []
        self._in_flight = [0] * len(subscriptions)
        self._unsettled: dict[int, int] = {}  # delivery -> index of its subscription
        self._acked: list[int] = []
        self._released: list[int] = []

    @property
    def has_settled(self) -> bool:
        """Whether there are acks or releases that the file does not know of."""
        return bool(self._acked or self._released)

    def register(self) -> None:
        """Declare the queues and consume from them, again if need be."""
        subscriptions = () if self.is_stopped else self._subscriptions
        self._queues = self._bus.register(subscriptions, [*self._unsettled, *self._acked])
        self.is_registered = True

    def forget(self) -> None:
        """The file is another one: what came from the old one can no longer be settled."""
        self._epoch += 1
        self._unsettled.clear()
        self._acked.clear()
        self._released.clear()
        self._in_flight = [0] * len(self._subscriptions)
        self.is_registered = False

    def settle(self, settlement: Settlement) -> None:
        """Note the outcome of a delivery for the next exchange."""
        if settlement.epoch != self._epoch:
            return
        index = self._unsettled.pop(settlement.delivery, None)
        if index is not None:
            self._in_flight[index] -= 1
            (self._acked if settlement.acked else self._released).append(settlement.delivery)

    def exchange(self) -> tuple[list[Parcel], set[int]]:
        """Settle and claim in one transaction; return what came, and the instances that may want what was released."""
        claimed = self._bus.settle_and_claim(self._acked, self._released, self._wanted())
        others = self._bus.consumers(self._queues) if self._released else set()
        self._acked, self._released = [], []
        return [parcel for queue, deliveries in claimed.items() if (parcel := self._parcel(queue, deliveries))], others

    def leave(self) -> set[int]:
        """Settle what is settled, give back the rest and be no consumer any more; return the instances to wake."""
        return self._bus.leave(self._acked, self._released)

    def _wanted(self) -> Mapping[int, int]:
        if self.is_stopped:
            return {}
        room = zip(self._queues, self._subscriptions, self._in_flight, strict=True)
        return {queue: number for queue, subscription, used in room if (number := subscription.prefetch - used) > 0}

    def _parcel(self, queue: int, claimed: Sequence[Claimed]) -> Parcel | None:
        index = self._queues.index(queue)
        subscription = self._subscriptions[index]
        # After this instance was taken for dead it may get what it still has in hand. Its ack will count for both.
        fresh = [delivery for delivery in claimed if delivery.id not in self._unsettled]
        if not fresh:
            return None
        self._in_flight[index] += len(fresh)
        self._unsettled.update((delivery.id, index) for delivery in fresh)
        is_broadcast = not subscription.work_queue
        return Parcel(
            subscription, [BusDelivery(delivery, is_broadcast, self._epoch, self._settle) for delivery in fresh]
        )


def _attributes(text: str) -> dict[str, str]:
    """Read stored attributes; what somebody else wrote into the file must not stop the queue behind it."""
    try:
        attributes = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(attributes, dict):
        return {}
    return {name: value if isinstance(value, str) else str(value) for name, value in attributes.items()}
