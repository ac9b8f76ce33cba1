"""Messages put together from frames, and frames gathered for writing."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import cast

import aiormq
import pytest
from pamqp import commands as spec
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from gemstone_events.rpc.wires.amqp.channel import MessageChannel
from gemstone_events.rpc.wires.amqp.incoming import Properties, Received
from gemstone_events.rpc.wires.amqp.outbox import Outbox
from gemstone_events.rpc.wires.amqp.reader import FrameReader


class Channel:
    """What a channel of aiormq is for us."""

    number = 5
    max_content_size = 10


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
    seen: Seen,
    body_bytes: int = 100,
    transport: asyncio.WriteTransport | None = None,
    reader: FrameReader | None = None,
) -> MessageChannel:
    reader = reader or FrameReader(asyncio.get_running_loop())
    return MessageChannel(cast(aiormq.Channel, Channel()), reader, transport or Transport(), seen, body_bytes)


def come(reader: FrameReader, *frames: Frame) -> None:
    reader.feed_data(b"".join(marshal(frame, Channel.number) for frame in frames))


async def passed(reader: FrameReader) -> list[bytes]:
    """Return what aiormq gets to read."""
    reader.feed_eof()
    return [await reader.read()]


async def test_a_message_is_put_together_from_its_frames() -> None:
    reader, seen = FrameReader(asyncio.get_running_loop()), Seen()
    over(seen, reader=reader)
    properties = spec.Basic.Properties(correlation_id="7")
    come(
        reader,
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
    reader, seen = FrameReader(asyncio.get_running_loop()), Seen()
    over(seen, 4, reader=reader)
    for body in (b"12345", b"1234"):
        come(reader, spec.Basic.Deliver("t", 1, False, "", "q"), ContentHeader(body_size=len(body)), ContentBody(body))
    assert [(message.body, message.size) for message in seen.messages] == [(None, 5), (b"1234", 4)]


async def test_returns_and_confirms_reach_the_receiver() -> None:
    reader, seen = FrameReader(asyncio.get_running_loop()), Seen()
    over(seen, reader=reader)
    properties = spec.Basic.Properties(correlation_id="7")
    come(
        reader,
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
    reader, seen = FrameReader(asyncio.get_running_loop()), Seen()
    over(seen, reader=reader)
    frames = [spec.Queue.DeclareOk("q", 0, 0), spec.Basic.Cancel("tag", True), spec.Channel.Close(200, "", 0, 0)]
    come(reader, *frames)
    assert await passed(reader) == [b"".join(marshal(frame, Channel.number) for frame in frames)]


async def test_frames_come_in_pieces_of_any_size() -> None:
    reader, seen = FrameReader(asyncio.get_running_loop()), Seen()
    over(seen, reader=reader)
    raw = marshal(Heartbeat(), 0) + b"".join(
        marshal(frame, number)
        for number in (Channel.number, 7)
        for frame in (spec.Basic.Deliver("t", 1, False, "", "q"), ContentHeader(body_size=3), ContentBody(b"abc"))
    )
    for at in range(len(raw)):
        reader.feed_data(raw[at : at + 1])
    assert [message.body for message in seen.messages] == [b"abc"]
    [rest] = await passed(reader)
    assert rest == raw[:8] + raw[-(len(raw) - 8) // 2 :]  # the heartbeat, and what belongs to another channel


async def test_aiormq_does_not_take_a_broker_for_dead_whose_messages_are_all_taken() -> None:
    loop = asyncio.get_running_loop()
    reader, seen = FrameReader(loop), Seen()
    over(seen, reader=reader)
    reader._passed_at = loop.time() - 60
    come(reader, spec.Basic.Ack(1, False))
    assert await passed(reader) == [marshal(Heartbeat(), 0)]


async def test_a_server_that_speaks_another_protocol_is_left_to_aiormq() -> None:
    reader = FrameReader(asyncio.get_running_loop())
    for piece in (b"AMQP\x00\x00\x09", b"\x01"):
        reader.feed_data(piece)
    assert await passed(reader) == [b"AMQP\x00\x00\x09\x01"]


def header(**properties: object) -> bytes:
    return marshal(ContentHeader(properties=spec.Basic.Properties(**properties), body_size=0), Channel.number)  # type: ignore[arg-type]


def deep() -> dict[str, object]:
    table: dict[str, object] = {}
    for _ in range(40):
        table = {"a": [table]}
    return table


@pytest.mark.parametrize(
    "broken",
    [
        header(app_id="AAAA").replace(b"AAAA", b"\xff\xff\xff\xff"),
        header(correlation_id="AAAA", reply_to="q").replace(b"AAAA", b"\xc3\x28\xa0\xa1"),
        header(headers={"AAAA": 1}).replace(b"AAAA", b"\xff\xff\xff\xff"),
        header(timestamp=datetime.fromtimestamp(0x41414141, UTC)).replace(b"\0\0\0\0AAAA", b"\xff" * 8),
        header(headers=deep()),
    ],
)
async def test_properties_that_cannot_be_read_are_put_aside(broken: bytes) -> None:
    reader, seen = FrameReader(asyncio.get_running_loop()), Seen()
    over(seen, reader=reader)
    deliver = marshal(spec.Basic.Deliver("tag", 2**40, True, "exchange", "AAAA"), Channel.number)
    reader.feed_data(deliver.replace(b"AAAA", b"\xff\xff\xff\xff") + broken)
    reader.feed_data(deliver + header(app_id="next"))
    first, second = seen.messages
    assert (first.consumer, first.delivery_tag, first.redelivered) == ("tag", 2**40, True)
    assert (first.properties.content_type, first.properties.reply_to) == ("unreadable", None)
    assert second.properties.app_id == "next"


async def test_a_receivers_exception_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    reader, seen = FrameReader(asyncio.get_running_loop()), Seen()
    over(seen, reader=reader)
    for body in (b"bad", b"next"):
        come(reader, spec.Basic.Deliver("t", 1, False, "", "q"), ContentHeader(body_size=len(body)), ContentBody(body))
    assert [message.body for message in seen.messages] == [b"bad", b"next"]
    assert "a receiver's own fault" in caplog.text


async def test_a_message_is_written_as_frames() -> None:
    transport = Transport()
    messages = over(Seen(), transport=transport)
    messages.outbox.put(messages.message("", "orders", spec.Basic.Properties(app_id="me"), b"x" * 25, mandatory=True))
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
    await asyncio.wait_for(outbox.flushed(), 5.0)
    assert (transport.writes, written) == ([], [])


async def test_what_waits_for_a_connection_that_ends_is_forgotten() -> None:
    transport = Transport()
    outbox = Outbox(transport)
    transport.buffered = 100_000
    outbox.put(b"1")
    transport.closing, transport.buffered = True, 0
    await asyncio.wait_for(outbox.flushed(), 5.0)
    assert transport.writes == []


async def test_much_is_written_in_parts() -> None:
    transport = Transport()
    outbox = Outbox(transport)
    transport.buffered = 100_000
    for _ in range(5):
        outbox.put(b"x" * 100_000)
    transport.buffered = 0
    await asyncio.wait_for(outbox.flushed(), 5.0)
    assert [len(write) for write in transport.writes] == [300_000, 200_000]
