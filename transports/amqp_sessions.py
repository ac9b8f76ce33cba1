"""The two sessions of the RabbitMQ transport: a connection that publishes, and one that consumes.

They are two because a broker that holds a publisher back must not hold back its acks.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gemstone_events.amqp_url import Broker
from gemstone_events.errors import TransportError
from gemstone_events.message import Message
from gemstone_events.transport import Outcome, Receive, Subscription, TransportSettings
from gemstone_events.transports.amqp_blocking import (
    BlockingConnection,
    HandOver,
    in_thread,
    short_connection,
    translated,
)
from gemstone_events.transports.amqp_connection import LoopConnection
from gemstone_events.transports.amqp_consumer import ConsumeChannel
from gemstone_events.transports.amqp_messages import MessageEncoder
from gemstone_events.transports.amqp_publisher import PublishChannel
from gemstone_events.transports.amqp_topology import (
    QueueState,
    Topology,
    declare_exchange,
    declare_queue,
    declare_work_queues,
    look_at_queues,
)

_GOODBYE_TIMEOUT = 1.5
_DRAIN_TIMEOUT = 2.5
_DECLARE_PAUSE = 1.0
"""Seconds before a work queue that could not be declared is tried again."""
_LARGEST_PREFETCH = 65535


@dataclass(frozen=True, slots=True)
class Access:
    """What a session needs to connect."""

    broker: Broker
    settings: TransportSettings
    topology: Topology

    def connection_name(self, purpose: str) -> str:
        """Return what the broker shows for a connection."""
        return f"{self.settings.client} {purpose}"


class PublishSession:
    """A connection to publish on; see ``amqp_link.Session``."""

    def __init__(self, access: Access, handover: HandOver, channel: int, on_change: Callable[[], None]) -> None:
        self.connection = LoopConnection(handover, on_change)
        self.trouble = ""
        self._access = access
        self._on_change = on_change
        settings, topology = access.settings, access.topology
        encoder = MessageEncoder(
            channel, handover.frame_max, topology.exchange_name, topology.work_queue_name, settings.client
        )
        self._channel = PublishChannel(self.connection, encoder, settings.confirm_timeout)
        self._declaring = asyncio.Lock()
        self._failed: dict[str, float] = {}  # event name: when its work queue may be tried again
        self.connection.add_channel(channel, self._channel)
        self.connection.start()

    @classmethod
    async def open(cls, access: Access, on_change: Callable[[], None]) -> "PublishSession":
        """Connect. ``on_change`` is called when the broker begins or ceases to take messages."""
        handover, channel = await in_thread(_connect_to_publish, access, discard=_discard)
        return cls(access, handover, channel, on_change)

    @property
    def ended(self) -> asyncio.Future[str]:
        """Why it is over."""
        return self.connection.ended

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """Publish; see the port."""
        if self.connection.blocked:
            await asyncio.sleep(0)  # see RabbitMQTransport.publish
            return [Outcome.REFUSED] * len(messages)
        outcomes: list[Outcome | None] = [None] * len(messages)
        declared = self._channel.declared
        unknown = {message.type for message in messages if not message.broadcast and message.type not in declared}
        if unknown:
            await self._declare(unknown)
            for position, message in enumerate(messages):
                if not message.broadcast and message.type not in declared:
                    outcomes[position] = Outcome.REFUSED
        return await self._channel.publish(messages, outcomes)

    async def close(self) -> None:
        """Wait for the confirms on their way and disconnect."""
        await self._channel.drain(_DRAIN_TIMEOUT)
        await self.connection.close(_GOODBYE_TIMEOUT)

    async def _declare(self, event_names: set[str]) -> None:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._access.settings.confirm_timeout), self._declaring:
                due = [
                    name
                    for name in sorted(event_names)
                    if name not in self._channel.declared and self._failed.get(name, 0.0) <= now
                ]
                if due:
                    self._note(due, await in_thread(_declare_work_queues, self._access, due))
        except TimeoutError:
            self._note_failure(event_names, "declaring work queues took too long")
        except TransportError as error:
            self._note_failure(event_names, str(error))

    def _note(self, tried: Sequence[str], failed: dict[str, TransportError]) -> None:
        declared = [name for name in tried if name not in failed]
        self._channel.declared.update(declared)
        for name in declared:
            self._failed.pop(name, None)
        if failed:
            self._note_failure(set(failed), str(next(iter(failed.values()))))
        elif self.trouble and not self._failed:
            self.trouble = ""
            self._on_change()

    def _note_failure(self, event_names: set[str], trouble: str) -> None:
        retry_at = asyncio.get_running_loop().time() + _DECLARE_PAUSE
        for name in event_names - self._channel.declared:
            self._failed[name] = retry_at
        if trouble != self.trouble:
            self.trouble = trouble
            self._on_change()


class ConsumeSession:
    """A connection with a channel per subscription; see ``amqp_link.Session``."""

    def __init__(
        self, access: Access, opened: "_Consuming", subscriptions: Sequence[Subscription], receive: Receive
    ) -> None:
        self.connection = LoopConnection(opened.handover, lambda: None)
        self._access = access
        self._channels = []
        self._by_shared_queue: dict[str, ConsumeChannel] = {}
        for subscription, (number, tag, queue_name) in zip(subscriptions, opened.consumers, strict=True):
            channel = ConsumeChannel(self.connection, number, subscription, tag, receive)
            self.connection.add_channel(number, channel)
            self._channels.append(channel)
            if not subscription.per_instance:
                self._by_shared_queue[queue_name] = channel
        self.connection.start()

    @classmethod
    async def open(cls, access: Access, subscriptions: Sequence[Subscription], receive: Receive) -> "ConsumeSession":
        """Connect, declare the queues and consume from them."""
        opened = await in_thread(_connect_to_consume, access, subscriptions, discard=_discard_consuming)
        return cls(access, opened, subscriptions, receive)

    @property
    def ended(self) -> asyncio.Future[str]:
        """Why it is over."""
        return self.connection.ended

    def stop(self) -> None:
        """Take no more deliveries."""
        for channel in self._channels:
            channel.stop()

    async def check(self) -> None:
        """Ask the broker how every queue is, and end the session where our consumer of one must be lost.

        The broker counts consumers, and does not say whose they are: one of another process hides the loss of ours,
        until messages wait while we have room for them. Nobody else can see the queue of one instance, which ends
        with its consumer anyway.

        Raises:
            TransportError: the broker could not be asked.
        """
        states = await in_thread(_look_at_queues, self._access, list(self._by_shared_queue))
        for name, state in states.items():
            is_passed_over = self._by_shared_queue[name].is_passed_over(state.ready)
            if not state.consumers:
                self.connection.end(f"the broker lists no consumer for the queue {name!r}")
            elif is_passed_over:
                self.connection.end(f"messages wait in the queue {name!r}, and the broker brings none of them here")

    async def close(self) -> None:
        """Send the acks and disconnect; the broker takes back what is not settled."""
        self.stop()
        await self.connection.close(_GOODBYE_TIMEOUT)


@dataclass(frozen=True, slots=True)
class _Consuming:
    handover: HandOver
    consumers: Sequence[tuple[int, str, str]]  # channel number, consumer tag and queue of each subscription


def _connect_to_publish(access: Access) -> tuple[HandOver, int]:
    connection = BlockingConnection(access.broker, access.connection_name("publishes"))
    try:
        connection.open()
        channel = connection.channel()
        declare_exchange(connection, channel, access.topology)
        with translated(connection.address, "asking for publisher confirms"):
            channel.confirm_select()
        number = channel.channel_id
        return connection.hand_over(), number
    finally:
        connection.drop()


def _connect_to_consume(access: Access, subscriptions: Sequence[Subscription]) -> _Consuming:
    connection = BlockingConnection(access.broker, access.connection_name("consumes"))
    try:
        connection.open()
        consumers: list[tuple[int, str, str]] = []
        for subscription in subscriptions:
            channel = connection.channel()
            queue = access.topology.queue(subscription)
            if not consumers:
                declare_exchange(connection, channel, access.topology)
            declare_queue(connection, channel, access.topology, queue)
            tag = f"{access.settings.client[:60]}-{channel.channel_id}"
            with translated(connection.address, f"consuming from the queue {queue.name!r}"):
                # Per consumer, not global: quorum queues refuse global limits (P30). One queue per channel (P42).
                channel.basic_qos(0, min(subscription.prefetch, _LARGEST_PREFETCH), False)
                channel.basic_consume(queue.name, tag)
            consumers.append((channel.channel_id, tag, queue.name))
        return _Consuming(connection.hand_over(), consumers)
    finally:
        connection.drop()


def _declare_work_queues(access: Access, event_names: Sequence[str]) -> dict[str, TransportError]:
    with short_connection(access.broker, access.connection_name("declares")) as connection:
        return declare_work_queues(connection, access.topology, event_names)


def _look_at_queues(access: Access, queue_names: Sequence[str]) -> dict[str, QueueState]:
    with short_connection(access.broker, access.connection_name("checks")) as connection:
        return look_at_queues(connection, queue_names)


def _discard(opened: tuple[HandOver, int]) -> None:
    opened[0].sock.close()


def _discard_consuming(opened: _Consuming) -> None:
    opened.handover.sock.close()
