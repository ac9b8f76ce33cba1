"""Messages on a channel of aiormq, without the cost of a task, a lock and two futures for each.

aiormq hands each message to a task of its own and publishes under a lock, waiting for the socket each time. Calls pay
for that with a third of their time. This module takes two things of aiormq's instead:

- ``channel.frames``, the queue into which the connection puts what it reads: ``_Incoming`` stands in for it, puts
  messages and confirms together as they come, and passes everything else on to the channel.
- the connection's transport, below the queue and the task by which aiormq writes: see ``Outbox``.

``tests/integration/test_rpc_amqp.py`` fails when aiormq no longer works that way.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeAlias

import aiormq
from pamqp import commands as spec
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from gemstone_events.rpc.wires.amqp_outbox import Outbox

Properties: TypeAlias = spec.Basic.Properties

_WITH_CONTENT = (spec.Basic.Deliver, spec.Basic.Return)

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Received:
    """A message.

    Attributes:
        consumer: the tag of the consumer that it came to.
        delivery_tag: what it is acked by.
        redelivered: somebody had it before and did not ack it.
        properties: AMQP 0-9-1, section 1.8 of the specification's reference.
        body: None where it is longer than what the channel takes.
        size: how long it is, in bytes.
    """

    consumer: str
    delivery_tag: int
    redelivered: bool
    properties: Properties
    body: bytes | None
    size: int


class Receiver(Protocol):
    """Whoever uses a channel. An exception of one of these is logged, and ends nothing."""

    def on_message(self, message: Received) -> None:
        """Take a message of one of the channel's consumers."""

    def on_return(self, reason: str, properties: Properties) -> None:
        """A mandatory message found no queue."""

    def on_confirm(self, number: int, multiple: bool, taken: bool) -> None:
        """The broker has taken the message with a number (from 1 on; ``multiple``: and all before), or refused it."""


class MessageChannel:
    """Sends and receives messages on one channel of aiormq.

    Args:
        channel: whose other methods stay usable.
        transport: of the channel's connection.
        receiver: who takes what comes.
        body_bytes: the longest body that is kept.
    """

    def __init__(
        self, channel: aiormq.Channel, transport: asyncio.WriteTransport, receiver: Receiver, body_bytes: int
    ) -> None:
        self.channel = channel
        self.outbox = Outbox(transport)
        channel.frames = _Incoming(channel.frames, receiver, body_bytes)

    async def consume(self, queue: str, tag: str, *, no_ack: bool) -> None:
        """Have the messages of a queue come, under a consumer's tag."""
        await self.channel.basic_consume(queue, _unused, no_ack=no_ack, consumer_tag=tag)

    def ack(self, delivery_tag: int) -> None:
        """Tell the broker that a message is done with."""
        self.outbox.put(self.ack_frame(delivery_tag))

    def ack_frame(self, delivery_tag: int) -> bytes:
        """Return the frame that tells the broker that a message is done with."""
        frame: bytes = marshal(spec.Basic.Ack(delivery_tag), self.channel.number)
        return frame

    def publish(self, exchange: str, routing_key: str, properties: Properties, body: bytes, *, mandatory: bool) -> None:
        """Send a message."""
        self.outbox.put(self.message(exchange, routing_key, properties, body, mandatory=mandatory))

    def message(
        self, exchange: str, routing_key: str, properties: Properties, body: bytes, *, mandatory: bool
    ) -> bytes:
        """Return the frames of a message (AMQP 0-9-1, section 4.2.6)."""
        number = self.channel.number
        size = self.channel.max_content_size
        frames = [
            _publish(exchange, routing_key, mandatory, number),
            marshal(ContentHeader(properties=properties, body_size=len(body)), number),
        ]
        frames += [marshal(ContentBody(body[at : at + size]), number) for at in range(0, len(body), size)]
        return b"".join(frames)


class _Incoming(asyncio.Queue[tuple[int, object]]):
    """Stands in for the queue of a channel's frames."""

    def __init__(self, rest: asyncio.Queue[tuple[int, object]], receiver: Receiver, body_bytes: int) -> None:
        super().__init__()
        self._rest = rest
        self._receiver = receiver
        self._body_bytes = body_bytes
        self._method: spec.Basic.Deliver | spec.Basic.Return | None = None
        self._header: ContentHeader | None = None
        self._parts: list[bytes] = []
        self._size = 0

    async def put(self, item: tuple[int, object]) -> None:
        """Take a frame that the connection has read."""
        if not self._is_taken(item[1]):
            await self._rest.put(item)

    async def get(self) -> tuple[int, object]:
        """Return the next frame that is none of a message."""
        return await self._rest.get()

    def task_done(self) -> None:
        """Take notice that the channel is done with a frame."""
        self._rest.task_done()

    def _is_taken(self, frame: object) -> bool:
        if isinstance(frame, _WITH_CONTENT):
            self._method = frame
        elif isinstance(frame, ContentHeader) and self._method is not None:
            self._header = frame
            self._finish_message()
        elif isinstance(frame, ContentBody) and self._header is not None:
            self._size += len(frame.value)
            if self._header.body_size <= self._body_bytes:
                self._parts.append(frame.value)
            self._finish_message()
        elif isinstance(frame, spec.Basic.Ack):
            _guarded(self._receiver.on_confirm, frame.delivery_tag or 0, frame.multiple, True)
        elif isinstance(frame, spec.Basic.Nack):
            _guarded(self._receiver.on_confirm, frame.delivery_tag or 0, frame.multiple, False)
        else:
            return False
        return True

    def _finish_message(self) -> None:
        method, header = self._method, self._header
        if method is None or header is None or self._size < header.body_size:
            return
        body = b"".join(self._parts) if header.body_size <= self._body_bytes else None
        self._method = self._header = None
        self._parts, self._size = [], 0
        if isinstance(method, spec.Basic.Return):
            _guarded(self._receiver.on_return, method.reply_text or "", header.properties)
        else:
            message = Received(
                method.consumer_tag or "",
                method.delivery_tag or 0,
                bool(method.redelivered),
                header.properties,
                body,
                header.body_size,
            )
            _guarded(self._receiver.on_message, message)


def _guarded(take: Callable[..., None], *arguments: object) -> None:
    """An exception would end the connection's reader."""
    try:
        take(*arguments)
    except Exception:
        _logger.exception("a frame was not dealt with")


@lru_cache(maxsize=1024)
def _publish(exchange: str, routing_key: str, mandatory: bool, number: int) -> bytes:
    frame: Frame = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return marshal(frame, number)


async def _unused(message: object) -> None:
    """Satisfy aiormq, which wants a callback for each consumer: ``_Incoming`` takes the messages before it."""
