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


def over(channel: Channel, seen: Seen, body_bytes: int = 100) -> MessageChannel:
    return MessageChannel(cast(aiormq.Channel, channel), seen, body_bytes)


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
    channel = Channel()
    messages = over(channel, Seen())
    messages.publish("", "orders", spec.Basic.Properties(app_id="me"), b"x" * 25, mandatory=True)
    messages.ack(9)
    payload = (await channel.written()).payload
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


async def test_what_is_put_meanwhile_is_written_at_once_and_in_order() -> None:
    channel = Channel()
    outbox = Outbox(cast(aiormq.Channel, channel))
    outbox.put(b"1")
    outbox.put(b"2")
    first = await channel.written()
    assert first.payload == b"12"
    withdrawn = False
    outbox.put(lambda: b"" if withdrawn else b"3")
    outbox.put(b"4")
    assert channel.write_queue.empty()
    withdrawn = True
    first.drain()
    second = await channel.written()
    assert second.payload == b"4"
    flushed = asyncio.create_task(outbox.flushed())
    await asyncio.sleep(0)
    assert not flushed.done()
    second.drain()
    await asyncio.wait_for(flushed, 5.0)


async def test_where_all_is_withdrawn_nothing_is_written() -> None:
    channel = Channel()
    outbox = Outbox(cast(aiormq.Channel, channel))
    outbox.put(lambda: b"")
    await asyncio.wait_for(outbox.flushed(), 5.0)
    assert channel.write_queue.empty()


async def test_a_full_queue_is_waited_for() -> None:
    channel = Channel()
    for _ in range(2):
        channel.write_queue.put_nowait(ChannelFrame(b"other", should_close=False))
    outbox = Outbox(cast(aiormq.Channel, channel))
    outbox.put(b"1")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [(await channel.written()).payload for _ in range(3)] == [b"other", b"other", b"1"]


async def test_much_is_written_in_parts() -> None:
    channel = Channel()
    outbox = Outbox(cast(aiormq.Channel, channel))
    for _ in range(5):
        outbox.put(b"x" * 100_000)
    sizes = []
    for _ in range(2):
        frame = await channel.written()
        sizes.append(len(frame.payload))
        frame.drain()
    assert sizes == [300_000, 200_000]
