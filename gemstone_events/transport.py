"""The port of transports: how messages leave a process and come into one.

An adapter imports this module, ``errors``, ``message`` and ``names``, and nothing else of the framework. It is found
by the scheme of its URL among the entry points ``gemstone_events.transports``; the entry point names a callable
``(url: str, settings: TransportSettings) -> Transport`` that opens nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from gemstone_events.message import Message


class Outcome(Enum):
    """What is known of one published message."""

    CONFIRMED = "confirmed"
    """The transport has it, as safely as its features say."""
    REFUSED = "refused"
    """It was certainly not taken; publishing it again may work later."""
    UNKNOWN = "unknown"
    """It may have been taken: publish it again with the same id."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a transport can truly keep. ``gemstone transports`` prints it and the contract suite holds it to it."""

    durable: bool
    """Confirmed messages survive the death of every process of the transport."""
    across_processes: bool
    """Services in different processes reach each other."""
    across_machines: bool
    """Services on different machines reach each other."""
    work_queues: bool = True
    """``broadcast=False`` is honoured: one consumer in all, and work waits for its first consumer."""
    redelivers: bool = True
    """What a dead consumer had not acked is delivered again, to that subscription only."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A pair of group and pattern with a queue of its own, or the work queue of one event name.

    Attributes:
        group: who competes for the messages; for ``per_instance`` subscriptions it names one running instance.
        pattern: which broadcast events it gets (``names.matches``); for a work queue the exact event name.
        work_queue: True for the work queue of ``pattern``; ``group`` then plays no part in the routing.
        per_instance: the queue lives as long as this process consumes from it, and nobody shares it.
        prefetch: how many deliveries may be unsettled at once, at least 1.
    """

    group: str
    pattern: str
    work_queue: bool = False
    per_instance: bool = False
    prefetch: int = 20


class Delivery(Protocol):
    """One message handed to one subscription, until it is settled.

    ``ack`` and ``release`` never block or raise, belong to the event loop's thread, and do nothing the second time or
    after the connection that brought the delivery is gone (the transport then delivers it again by itself).
    """

    @property
    def message(self) -> Message:
        """What came. It may be undecodable; see ``Message``."""

    @property
    def redelivered(self) -> bool:
        """True where it was surely delivered before; False promises nothing."""

    def ack(self) -> None:
        """The outcome is durable: the transport may forget the message for this subscription."""

    def release(self) -> None:
        """Give it back, unhandled: it is delivered again to this subscription, and to it alone."""


Receive: TypeAlias = Callable[[Subscription, Sequence[Delivery]], None]
"""Called on the event loop with the deliveries that came together, in the queue's order. It must not block."""


@dataclass(frozen=True, slots=True)
class TransportStatus:
    """Whether a transport works now, and what to do if it does not.

    Attributes:
        publishing: a message published now would be taken.
        consuming: every subscription is consumed, as the broker itself sees it; True where nothing is subscribed.
        detail: for people; empty when all is well. It never shows a password.
    """

    publishing: bool
    consuming: bool
    detail: str = ""

    @property
    def ready(self) -> bool:
        """All is well."""
        return self.publishing and self.consuming


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """What every transport is opened with.

    Attributes:
        namespace: prefixes every name on the broker, to keep environments apart.
        client: the service's name, to be shown where the broker lists its clients.
        confirm_timeout: seconds to wait for the broker's answer to a publish; then the outcome is unknown.
    """

    namespace: str = "gemstone"
    client: str = "gemstone_events"
    confirm_timeout: float = 10.0


class Transport(Protocol):
    """A way to publish messages and to receive them. All methods belong to one event loop.

    It connects by itself, again and again, with backoff and jitter, and re-declares what it had declared. A broker
    that cannot be reached is no error of ``open`` or ``subscribe``: it shows in ``status``.
    """

    features: Features

    @property
    def address(self) -> str:
        """The URL without credentials: stable, fit to be shown and to key the relay's checkpoint."""

    async def open(self) -> None:
        """Begin to connect.

        Raises:
            TransportRefusedError: the first attempt was answered by a refusal that only a change of configuration can
                mend (wrong credentials, no such vhost, a file that is no bus).
        """

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Publish in order and return each message's outcome, in the same order.

        A broadcast message goes to the queue of every subscription ever declared that matches it; others go to the
        work queue of their type, which this declares if need be. It returns within the settings' ``confirm_timeout``
        and a little, never raises for a broker that is down, and may be called again before it returned.
        """

    async def subscribe(self, subscriptions: Sequence[Subscription], receive: Receive) -> None:
        """Declare the subscriptions' queues and consume from them until ``stop_consuming``. Call it once.

        When it returns and the broker is there, the queues exist: whatever is published from then on arrives.

        Raises:
            TransportRefusedError: the broker answered by refusing them (for example, a queue declared otherwise).
        """

    async def stop_consuming(self) -> None:
        """Take no more deliveries; those handed out can still be settled until ``close``."""

    async def close(self) -> None:
        """Flush the acks, give back what is unsettled and disconnect, in five seconds at most. Twice is harmless."""

    def status(self) -> TransportStatus:
        """Whether it works now."""

    @property
    def changed(self) -> asyncio.Event:
        """Set by the transport whenever ``status`` may have changed; the waiter clears it."""
