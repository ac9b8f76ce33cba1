"""Messages put together from frames, and frames gathered for writing."""

import asyncio
import logging
from typing import cast

import aiormq
import pytest
from aiormq.abc import ChannelFrame
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.frame import unmarshal
from pamqp.header import ContentHeader

from gemstone_events.rpc.wires.amqp_channel import MessageChannel, Properties, Received
from gemstone_events.rpc.wires.amqp_outbox import Outbox


class Channel:
    """What a channel of aiormq is for us."""

    def __init__(self) -> None:
        self.number = 5
        self.max_content_size = 10
        self.frames: asyncio.Queue[tuple[int, object]] = asyncio.Queue()
        self.write_queue: asyncio.Queue[ChannelFrame] = asyncio.Queue(2)

    async def written(self) -> ChannelFrame:
        return await asyncio.wait_for(self.write_queue.get(), 5.0)


class Seen:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.messages: list[Received] = []
        self.returns: list[tuple[str, str | None]] = []
        self.confirms: list[tuple[int, bool, bool]] = []

    def on_message(self, message: Received) -> None:
        self.messages.append(message)
        if message.body == b"bad":
            raise LookupError("a receiver's own fault")

    def on_return(self, reason: str, properties: Properties) -> None:
        self.returns.append((reason, properties.correlation_id))

    def on_confirm(self, number: int, multiple: bool, taken: bool) -> None:
        self.confirms.append((number, multiple, taken))


class Transport(asyncio.WriteTransport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.buffered = 0
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return self.closing


def over(
    channel: Channel, seen: Seen, body_bytes: int = 100, transport: asyncio.WriteTransport | None = None
) -> MessageChannel:
    return MessageChannel(cast(aiormq.Channel, channel), transport or Transport(), seen, body_bytes)


async def come(channel: Channel, *frames: object) -> None:
    for frame in frames:
        await channel.frames.put((1, frame))


async def test_a_message_is_put_together_from_its_frames() -> None:
    channel, seen = Channel(), Seen()
    over(channel, seen)
    properties = spec.Basic.Properties(correlation_id="7")
    await come(
        channel,
        spec.Basic.Deliver("tag", 3, True, "", "q"),
        ContentHeader(body_size=5, properties=properties),
        ContentBody(b"123"),
        ContentBody(b"45"),
        spec.Basic.Deliver("tag", 4, False, "", "q"),
        ContentHeader(body_size=0),
    )
    [first, second] = seen.messages
    assert first == Received("tag", 3, True, properties, b"12345", 5)
    assert (second.delivery_tag, second.redelivered, second.body, second.size) == (4, False, b"", 0)


async def test_a_body_beyond_the_limit_is_not_kept() -> None:
    channel, seen = Channel(), Seen()
    over(channel, seen, body_bytes=4)
    for body in (b"12345", b"1234"):
        await come(channel, spec.Basic.Deliver("t", 1), ContentHeader(body_size=len(body)), ContentBody(body))
    assert [(message.body, message.size) for message in seen.messages] == [(None, 5), (b"1234", 4)]


async def test_returns_and_confirms_reach_the_receiver() -> None:
    channel, seen = Channel(), Seen()
    over(channel, seen)
    properties = spec.Basic.Properties(correlation_id="7")
    await come(
        channel,
        spec.Basic.Return(312, "NO_ROUTE", "", "q"),
        ContentHeader(body_size=1, properties=properties),
        ContentBody(b"1"),
        spec.Basic.Ack(3, True),
        spec.Basic.Nack(4, False, False),
    )
    assert seen.returns == [("NO_ROUTE", "7")]
    assert seen.confirms == [(3, True, True), (4, False, False)]
    assert not seen.messages


async def test_everything_else_is_the_channels_own() -> None:
    channel, seen = Channel(), Seen()
    waiting = asyncio.create_task(channel.frames.get())
    await asyncio.sleep(0)
    over(channel, seen)
    frames = [spec.Queue.DeclareOk("q", 0, 0), spec.Basic.Cancel("tag"), spec.Channel.Close()]
    await come(channel, *frames)
    # The channel waited at its queue before anything stood in for it.
    assert await waiting == (1, frames[0])
    assert [await channel.frames.get() for _ in frames[1:]] == [(1, frame) for frame in frames[1:]]
    channel.frames.task_done()


async def test_a_receivers_exception_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    channel, seen = Channel(), Seen()
    over(channel, seen)
    for body in (b"bad", b"next"):
        await come(channel, spec.Basic.Deliver("t", 1), ContentHeader(body_size=len(body)), ContentBody(body))
    assert [message.body for message in seen.messages] == [b"bad", b"next"]
    assert "a receiver's own fault" in caplog.text


async def test_a_message_is_written_as_frames() -> None:
    channel, transport = Channel(), Transport()
    messages = over(channel, Seen(), transport=transport)
    messages.publish("", "orders", spec.Basic.Properties(app_id="me"), b"x" * 25, mandatory=True)
    messages.ack(9)
    await asyncio.sleep(0)
    payload = b"".join(transport.writes)
    frames = []
    while payload:
        consumed, number, frame = unmarshal(payload)
        assert number == 5
        frames.append(frame)
        payload = payload[consumed:]
    method, header, *bodies, ack = frames
    assert isinstance(method, spec.Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == ("", "orders", True)
    assert isinstance(header, ContentHeader)
    assert (header.body_size, header.properties.app_id) == (25, "me")
    assert [len(body.value) for body in bodies if isinstance(body, ContentBody)] == [10, 10, 5]
    assert isinstance(ack, spec.Basic.Ack)
    assert ack.delivery_tag == 9


async def test_the_first_of_a_turn_is_written_at_once_and_the_others_together() -> None:
    transport = Transport()
    outbox = Outbox(transport)
    for frame in (b"1", b"2", b"3"):
        outbox.put(frame)
    assert transport.writes == [b"1"]
    await asyncio.sleep(0)
    assert transport.writes == [b"1", b"23"]
    await asyncio.sleep(0)
    outbox.put(b"4")
    assert transport.writes[-1] == b"4"


async def test_what_the_socket_does_not_take_can_be_withdrawn() -> None:
    transport = Transport()
    outbox = Outbox(transport)
    transport.buffered = 100_000
    withdrawn = False
    outbox.put(lambda: b"" if withdrawn else b"1")
    outbox.put(b"2")
    await asyncio.sleep(0)
    assert transport.writes == []
    withdrawn = True
    flushed = asyncio.create_task(outbox.flushed())
    await asyncio.sleep(0)
    assert not flushed.done()
    transport.buffered = 0
    await asyncio.wait_for(flushed, 5.0)
    assert transport.writes == [b"2"]


async def test_where_all_is_withdrawn_nothing_is_written() -> None:
    transport = Transport()
    outbox = Outbox(transport)
    outbox.put(lambda: b"")
    await asyncio.wait_for(outbox.flushed(), 5.0)
    assert transport.writes == []


async def test_nothing_is_written_to_a_connection_that_closes() -> None:
    transport = Transport()
    outbox = Outbox(transport)
    transport.closing = True
    written = []
    outbox.put(lambda: bytes(written.append(1) or b"1"))
    await asyncio.sleep(0)
    assert (transport.writes, written) == ([], [])


async def test_much_is_written_in_parts() -> None:
    transport = Transport()
    outbox = Outbox(transport)
    transport.buffered = 100_000
    for _ in range(5):
        outbox.put(b"x" * 100_000)
    transport.buffered = 0
    await asyncio.wait_for(outbox.flushed(), 5.0)
    assert [len(write) for write in transport.writes] == [300_000, 200_000]
