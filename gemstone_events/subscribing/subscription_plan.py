"""Which handlers take what a subscription brings, and by what names the inbox knows them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from gemstone_events.handlers import EventHandler
from gemstone_events.retry import RetryPolicy
from gemstone_events.store.port import InboxKey, Retry
from gemstone_events.subscribing.attempt import Attempt
from gemstone_events.transport import Delivery, Subscription


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """One subscription of a service, and how it is handled.

    Attributes:
        subscription: what the transports are asked for.
        handlers: who gets each event: all of them, or exactly one for a work queue.
        concurrency: how many events are handled at once.
        timeout: seconds per attempt.
        retry: attempts and delays.
        hold_until_final: ack only what is handled or dead.
    """

    subscription: Subscription
    handlers: tuple[EventHandler, ...]
    concurrency: int
    timeout: float
    retry: RetryPolicy
    hold_until_final: bool

    @property
    def consumers(self) -> Sequence[str]:
        """The inbox's names for all handlers of this subscription, each once."""
        return list(dict.fromkeys(map(self.consumer, self.handlers)))

    def consumer(self, handler: EventHandler) -> str:
        """The inbox's name for one handler of this subscription."""
        if self.subscription.work_queue:  # whichever handler takes it, the work is done once
            return f"work:{self.subscription.pattern}"
        return f"{self.subscription.group}:{self.subscription.pattern}:{handler.name}"

    def takers(self, event_id: str) -> Sequence[EventHandler]:
        """The handlers that an event goes to; for a work queue one, and the same one when it comes again."""
        if not self.subscription.work_queue or len(self.handlers) == 1:
            return self.handlers
        return (self.handlers[zlib.crc32(event_id.encode()) % len(self.handlers)],)

    def first_turns(self, event_id: str, delivery: Delivery) -> list[Attempt]:
        """Return the attempts that a delivery asks for: one of each handler that takes it."""
        return [
            Attempt(
                InboxKey(self.consumer(handler), event_id),
                handler,
                delivery.message,
                redelivered=delivery.redelivered,
            )
            for handler in self.takers(event_id)
        ]

    def next_turn(self, retry: Retry) -> Attempt:
        """Return the attempt that a retry of one of ``consumers`` asks for."""
        handler = next(taker for taker in self.takers(retry.key.event_id) if self.consumer(taker) == retry.key.consumer)
        return Attempt(retry.key, handler, retry.message, retry.attempts, retry.error)
