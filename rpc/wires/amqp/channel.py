"""Messages on a channel of aiormq, without the cost of a task, a lock and two futures for each.

aiormq hands each message to a task of its own and publishes under a lock, waiting for the socket each time. Calls pay
for that with half of their time. So messages do not pass through it: ``FrameReader`` takes their frames out of what it
reads, ``Incoming`` puts them together, and ``Outbox`` writes beside it. Everything else about the channel is aiormq's.
"""

import asyncio
import struct
from functools import lru_cache

import aiormq
from pamqp import commands as spec
from pamqp.base import Frame
from pamqp.frame import marshal

from gemstone_events.rpc.wires.amqp.frames import BODY, METHOD, frame
from gemstone_events.rpc.wires.amqp.incoming import Incoming, Properties, Receiver
from gemstone_events.rpc.wires.amqp.outbox import Outbox
from gemstone_events.rpc.wires.amqp.properties import header_frame
from gemstone_events.rpc.wires.amqp.reader import FrameReader

# Basic.Ack in a frame: kind, channel, size of the payload; class, method, delivery tag, bits; the frame's end.
_ACK = struct.Struct(">BHIHHQBB")


class MessageChannel:
    """Sends and receives messages on one channel of aiormq.

    Args:
        channel: whose other methods stay usable.
        reader: of the channel's connection.
        transport: the same connection's.
        receiver: who takes what comes.
        body_bytes: the longest body that is kept.
    """

    def __init__(
        self,
        channel: aiormq.Channel,
        reader: FrameReader,
        transport: asyncio.WriteTransport,
        receiver: Receiver,
        body_bytes: int,
    ) -> None:
        self.channel = channel
        self.outbox = Outbox(transport)
        reader.take(channel.number, Incoming(receiver, body_bytes).frame)

    async def consume(self, queue: str, tag: str, *, no_ack: bool) -> None:
        """Have the messages of a queue come, under a consumer's tag."""
        await self.channel.basic_consume(queue, _unused, no_ack=no_ack, consumer_tag=tag)

    def ack(self, delivery_tag: int) -> None:
        """Tell the broker that a message is done with."""
        self.outbox.put(self.ack_frame(delivery_tag))

    def ack_frame(self, delivery_tag: int) -> bytes:
        """Return the frame that tells the broker that a message is done with."""
        return _ACK.pack(METHOD, self.channel.number, 13, 60, 80, delivery_tag, 0, 0xCE)

    def message(
        self, exchange: str, routing_key: str, properties: Properties, body: bytes, *, mandatory: bool
    ) -> bytes:
        """Return the frames of a message (AMQP 0-9-1, section 4.2.6)."""
        number = self.channel.number
        size = self.channel.max_content_size
        frames = [
            _publish(exchange, routing_key, mandatory, number),
            header_frame(number, len(body), properties),
        ]
        frames += [frame(BODY, number, body[at : at + size]) for at in range(0, len(body), size)]
        return b"".join(frames)


@lru_cache(maxsize=1024)
def _publish(exchange: str, routing_key: str, mandatory: bool, number: int) -> bytes:
    publish: Frame = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return marshal(publish, number)


async def _unused(message: object) -> None:
    """Satisfy aiormq, which wants a callback for each consumer: ``Incoming`` takes the messages before it."""
