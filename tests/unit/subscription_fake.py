"""What the tests of a subscription's parts share: deliveries that know how they were settled, and attempts."""

from collections.abc import Awaitable, Callable, Sequence

from gemstone_events.codec import encode
from gemstone_events.event import Event
from gemstone_events.handlers import EventHandler, HandlerOptions
from gemstone_events.message import Message
from gemstone_events.retry import RetryPolicy
from gemstone_events.store.port import InboxKey
from gemstone_events.subscribing.attempt import Attempt
from gemstone_events.subscribing.subscription_plan import SubscriptionPlan
from gemstone_events.transport import Subscription


class FakeDelivery:
    """A delivery that knows how it was settled.

    Attributes:
        settled: ``ack`` or ``release``, as often as it was told.
    """

    def __init__(self, message: Message, *, redelivered: bool = False) -> None:
        self.message = message
        self.redelivered = redelivered
        self.settled: list[str] = []

    def ack(self) -> None:
        """Be acked."""
        self.settled.append("ack")

    def release(self) -> None:
        """Be given back."""
        self.settled.append("release")


async def _nothing(body: object) -> None:
    """Handle it."""


def message_of(event_id: str) -> Message:
    """Return an event that can be decoded."""
    return encode(Event(id=event_id, type="a", source="tests", data=1))


def handler_of(function: Callable[[object], Awaitable[None]] = _nothing, name: str = "Part.handle") -> EventHandler:
    """Return a handler of the event ``a``."""
    return EventHandler(name, function, HandlerOptions("a"), takes_event=False, is_coroutine=True)


def turn_of(event_id: str, failures: int = 0) -> Attempt:
    """Return an attempt at an event."""
    return Attempt(InboxKey("group:a:Part.handle", event_id), handler_of(), message_of(event_id), failures)


def plan_of(
    handlers: Sequence[EventHandler],
    *,
    work_queue: bool = False,
    concurrency: int = 10,
    retry: RetryPolicy | None = None,
) -> SubscriptionPlan:
    """Return the plan of a subscription to the event ``a``."""
    return SubscriptionPlan(
        subscription=Subscription("group", "a", work_queue=work_queue),
        handlers=tuple(handlers),
        concurrency=concurrency,
        timeout=60.0,
        retry=retry or RetryPolicy(),
        hold_until_final=False,
    )
