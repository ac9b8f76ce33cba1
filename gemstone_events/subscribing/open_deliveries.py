"""The deliveries that are not settled yet. Only here are deliveries acked."""

from collections.abc import Collection
from dataclasses import dataclass

from gemstone_events.store.port import InboxKey
from gemstone_events.transport import Delivery


@dataclass(slots=True)
class _Settlement:
    deliveries: list[Delivery]
    waits_for: set[InboxKey]


class OpenDeliveries:
    """The open deliveries of one subscription, and the outcomes that each waits for.

    A delivery is acked when the last of its outcomes is settled, and not before. A message that comes again while it is
    handled is not handled twice: its deliveries wait together.

    Args:
        hold_until_final: an attempt to come settles nothing; only that the event is handled or dead does.
    """

    def __init__(self, *, hold_until_final: bool) -> None:
        self.hold_until_final = hold_until_final
        self._settlements: dict[str, _Settlement] = {}
        self._held: set[InboxKey] = set()

    def __len__(self) -> int:
        """How many messages are open."""
        return len(self._settlements)

    def join(self, event_id: str, delivery: Delivery) -> bool:
        """Let a delivery wait for the outcomes of an open one of the same message; False where there is none."""
        settlement = self._settlements.get(event_id)
        if settlement is None:
            return False
        settlement.deliveries.append(delivery)
        return True

    def add(self, event_id: str, delivery: Delivery, outcomes: Collection[InboxKey]) -> None:
        """Let the first delivery of a message wait for ``outcomes``, which are all of this event."""
        self._settlements[event_id] = _Settlement([delivery], set(outcomes))

    def settle(self, key: InboxKey) -> None:
        """Take notice that the store has an outcome. Harmless for one that no delivery waits for, or no longer."""
        settlement = self._settlements.get(key.event_id)
        if settlement is None:  # a retry whose delivery was acked long ago
            return
        settlement.waits_for.discard(key)
        if not settlement.waits_for:
            del self._settlements[key.event_id]
            for delivery in settlement.deliveries:
                delivery.ack()

    def settle_for_now(self, key: InboxKey) -> None:
        """Take notice that the store has an attempt to come, or perhaps more than that."""
        if self.hold_until_final:
            self._held.add(key)
        else:
            self.settle(key)

    def held(self) -> list[InboxKey]:
        """Return the outcomes that may have become final since they were settled for now."""
        self._held = {key for key in self._held if self._is_awaited(key)}
        return list(self._held)

    def release(self) -> None:
        """Give all of them back, unsettled. Twice is harmless."""
        for settlement in self._settlements.values():
            for delivery in settlement.deliveries:
                delivery.release()
        self._settlements.clear()

    def _is_awaited(self, key: InboxKey) -> bool:
        settlement = self._settlements.get(key.event_id)
        return settlement is not None and key in settlement.waits_for
