"""The in-process transport: ``memory://name``, for tests and for programs of a single process.

It keeps what the others keep, as long as the process lives: a copy of the message for every queue, bounded prefetch,
acks, releases and redelivery. Services that open the same name meet. A name's queues live as long as any transport of
that name is open.
"""

import asyncio
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit
from weakref import WeakValueDictionary

from gemstone_events.errors import ServiceConfigurationError, TransportRefusedError
from gemstone_events.message import Message
from gemstone_events.transport import (
    Features,
    Outcome,
    Receive,
    Subscription,
    TransportSettings,
    TransportStatus,
)
from gemstone_events.transports.memory_broker import Broker, Consumer, QueueKey

DEFAULT_MAX_QUEUE = 100_000


def open_url(url: str, settings: TransportSettings) -> "MemoryTransport":
    """Return the transport of ``memory://name``, not opened; ``?max_queue=1000`` bounds every queue.

    Raises:
        ServiceConfigurationError: the URL holds anything else.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    max_queue = options.pop("max_queue", str(DEFAULT_MAX_QUEUE))
    if parts.path.strip("/") or parts.fragment or options or any(mark in parts.netloc for mark in "@:"):
        raise ServiceConfigurationError(f"{url!r}: write memory://name or memory://name?max_queue=1000, nothing else")
    if not max_queue.isdecimal() or int(max_queue) < 1:
        raise ServiceConfigurationError(f"{url!r}: max_queue is a number of messages, at least 1")
    return MemoryTransport(parts.netloc, settings, max_queue=int(max_queue))


class MemoryTransport:
    """The port ``gemstone_events.transport.Transport`` on queues in this process."""

    features = Features(durable=False, across_processes=False, across_machines=False)

    def __init__(self, name: str, settings: TransportSettings, *, max_queue: int = DEFAULT_MAX_QUEUE) -> None:
        """Open nothing yet. A message that finds ``max_queue`` others waiting in one of its queues is refused."""
        self._name = name
        self._namespace = settings.namespace
        self._max_queue = max_queue
        self._broker: Broker | None = None
        self._consumers: list[Consumer] = []
        self._changed = asyncio.Event()

    @property
    def address(self) -> str:
        """See ``Transport.address``."""
        return f"memory://{self._name}"

    @property
    def changed(self) -> asyncio.Event:
        """See ``Transport.changed``."""
        return self._changed

    def status(self) -> TransportStatus:
        """See ``Transport.status``."""
        is_open = self._broker is not None
        return TransportStatus(
            publishing=is_open, consuming=is_open, detail="" if is_open else f"{self.address}: not open"
        )

    async def open(self) -> None:
        """See ``Transport.open``. It is refused while another event loop uses the name."""
        if self._broker is not None:
            raise RuntimeError(f"{self.address} is open already")
        self._broker = _meet(self._name, asyncio.get_running_loop())
        self._changed.set()

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """See ``Transport.publish``. A message whose type is no event name is refused."""
        broker = self._broker
        if broker is None:
            return [Outcome.REFUSED] * len(messages)
        broker.check_loop()
        outcomes = [broker.publish(self._namespace, message, self._max_queue) for message in messages]
        # As with every broker the answer takes a turn of the loop: who only publishes must not starve who consumes.
        await asyncio.sleep(0)
        return outcomes

    async def subscribe(self, subscriptions: Sequence[Subscription], receive: Receive) -> None:
        """See ``Transport.subscribe``."""
        if self._broker is None:
            raise RuntimeError(f"{self.address} is not open")
        self._broker.check_loop()
        for subscription in subscriptions:
            owner = self._broker.new_owner() if subscription.per_instance else 0
            key = QueueKey.of(self._namespace, subscription, owner)
            consumer = Consumer(self._broker.declare(key), subscription, receive)
            self._consumers.append(consumer)
            consumer.start()

    async def stop_consuming(self) -> None:
        """See ``Transport.stop_consuming``."""
        for consumer in self._consumers:
            consumer.stop()

    async def close(self) -> None:
        """See ``Transport.close``."""
        broker, self._broker = self._broker, None
        if broker is None:
            return
        for consumer in self._consumers:
            consumer.close()
            if consumer.subscription.per_instance:
                broker.drop(consumer.queue)
        self._consumers.clear()
        self._changed.set()


# The one thing of this module that outlives a transport: services in one process that open the same URL have to meet
# somewhere, and a URL is all they share. The references are weak, so that a name is gone with its last open transport.
_BROKERS: WeakValueDictionary[str, Broker] = WeakValueDictionary()


def _meet(name: str, loop: asyncio.AbstractEventLoop) -> Broker:
    broker = _BROKERS.get(name)
    if broker is None or broker.loop.is_closed():
        broker = _BROKERS[name] = Broker(loop)
    elif broker.loop is not loop:
        raise TransportRefusedError(
            f"memory://{name} is open in another event loop of this process: use another name, or a bus that threads can share"
        )
    return broker
