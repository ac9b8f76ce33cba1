"""RabbitMQ: quorum queues, pipelined confirms, acks in batches; kombu's AMQP driven by the asyncio loop.

``amqp_topology`` says what exists on the broker. Connecting and declaring are kombu's, in a thread; then the loop owns
the sockets (``amqp_connection``), one to publish and one to consume, and each comes back by itself (``amqp_link``).
"""

import asyncio
import logging
from collections.abc import Sequence

from gemstone_events.amqp_url import Broker, parse_url
from gemstone_events.cancellation import end
from gemstone_events.errors import TransportError
from gemstone_events.message import Message
from gemstone_events.transport import Features, Outcome, Receive, Subscription, TransportSettings, TransportStatus
from gemstone_events.transports.amqp_link import Link
from gemstone_events.transports.amqp_sessions import Access, ConsumeSession, PublishSession
from gemstone_events.transports.amqp_topology import Topology

_logger = logging.getLogger(__name__)


def open_url(url: str, settings: TransportSettings) -> "RabbitMQTransport":
    """Return the transport for an ``amqp://`` or ``amqps://`` URL (``amqp_url.parse_url``), not yet opened.

    Raises:
        ServiceConfigurationError: the URL or the namespace cannot be used.
    """
    return RabbitMQTransport(parse_url(url), settings)


class RabbitMQTransport:
    """The port ``transport.Transport`` on RabbitMQ."""

    features = Features(durable=True, across_processes=True, across_machines=True)

    def __init__(self, broker: Broker, settings: TransportSettings, *, watch_interval: float = 30.0) -> None:
        """Open nothing.

        Args:
            watch_interval: seconds between questions to the broker whether it still lists our consumers.

        Raises:
            ServiceConfigurationError: the namespace cannot be used.
        """
        self._broker = broker
        self._access = Access(broker, settings, Topology(settings.namespace))
        self._watch_interval = watch_interval
        self._changed = asyncio.Event()
        self._publishing = Link("publishing", self._open_publishing, self._changed.set)
        self._consuming: Link[ConsumeSession] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopped = False
        self._closed = False

    @property
    def address(self) -> str:
        """The URL without credentials."""
        return self._broker.address

    @property
    def changed(self) -> asyncio.Event:
        """Set whenever ``status`` may have changed; the waiter clears it."""
        return self._changed

    async def open(self) -> None:
        """Connect to publish; see the port.

        Raises:
            TransportRefusedError: wrong credentials, no such virtual host, a certificate that does not hold, an
                exchange that was declared otherwise.
        """
        await self._publishing.start()

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Publish in order and wait for the broker's confirms; see the port."""
        session = self._publishing.session
        if session is None or self._closed:
            # An answer without any wait would let a caller that tries again at once stop the loop.
            await asyncio.sleep(0)
            return [Outcome.REFUSED] * len(messages)
        return await session.publish(messages)

    async def subscribe(self, subscriptions: Sequence[Subscription], receive: Receive) -> None:
        """Declare the queues and consume; see the port.

        Raises:
            TransportRefusedError: as for ``open``, or a queue exists that was declared otherwise.
        """
        if not subscriptions or self._closed:
            return
        subscriptions = tuple(subscriptions)

        async def connect() -> ConsumeSession:
            return await ConsumeSession.open(self._access, subscriptions, receive)

        self._consuming = Link("consuming", connect, self._changed.set)
        await self._consuming.start()
        self._watch = asyncio.create_task(self._watch_consumers(self._consuming), name="gemstone watch")

    async def stop_consuming(self) -> None:
        """Take no more deliveries; those handed out can still be settled until ``close``."""
        self._stopped = True
        await end(self._watch)
        if self._consuming is not None:
            await self._consuming.retire()
            if self._consuming.session is not None:
                self._consuming.session.stop()
        self._changed.set()

    async def close(self) -> None:
        """Wait shortly for confirms, send the acks and disconnect, in five seconds at most. Twice is harmless."""
        self._closed = True
        await self.stop_consuming()
        links = [self._publishing.close()]
        if self._consuming is not None:
            links.append(self._consuming.close())
        await asyncio.gather(*links)

    def status(self) -> TransportStatus:
        """Whether it works now; see the port."""
        troubles = [self._publishing.trouble]
        publisher = self._publishing.session
        publishing = publisher is not None
        if publisher is not None:
            troubles.append(publisher.trouble)
            if publisher.connection.blocked:
                publishing = False
                troubles.append(f"publishing: the broker takes no messages ({publisher.connection.blocked})")
        consuming = True
        if self._consuming is not None:
            consuming = self._consuming.session is not None and not self._stopped
            troubles.append("consuming: stopped" if self._stopped else self._consuming.trouble)
        return TransportStatus(publishing, consuming, "; ".join(trouble for trouble in troubles if trouble))

    async def _open_publishing(self) -> PublishSession:
        return await PublishSession.open(self._access, self._changed.set)

    async def _watch_consumers(self, link: Link[ConsumeSession]) -> None:
        while True:
            await asyncio.sleep(self._watch_interval)
            session = link.session
            if session is None:
                continue
            try:
                await session.check()
            except TransportError as error:
                # A broker that is gone is found out by the heartbeat; one without room for a connection is not dead.
                _logger.info("could not look after the consumers: %s", error)
