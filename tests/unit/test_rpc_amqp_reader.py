"""The reader that lets no message end a connection."""

from datetime import UTC, datetime

import pytest
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from gemstone_events.rpc.wires.amqp_reader import CarefulReader


def header(**properties: object) -> bytes:
    return marshal(ContentHeader(properties=spec.Basic.Properties(**properties), body_size=7), 3)  # type: ignore[arg-type]


def deliver(routing_key: str) -> bytes:
    return marshal(spec.Basic.Deliver("tag", 2**40, True, "exchange", routing_key), 3)


async def read(*frames: bytes) -> list[bytes]:
    """Read frames in the pieces in which aiormq asks for them."""
    reader = CarefulReader()
    reader.feed_data(b"".join(frames))
    reader.feed_eof()
    found = []
    while not reader.at_eof():
        head = await reader.readexactly(1)
        head += await reader.readexactly(6)
        found.append(head + await reader.readexactly(int.from_bytes(head[3:7], "big") + 1))
    return found


async def test_readable_frames_pass_as_they_are() -> None:
    frames = [
        marshal(spec.Queue.DeclareOk("q", 1, 2), 3),
        deliver("orders"),
        header(app_id="a", headers={"x": {"y": [1, {"z": "ü"}]}}, timestamp=datetime.now(UTC)),
        marshal(ContentBody(b"1234567"), 3),
        marshal(Heartbeat(), 0),
        marshal(ContentBody(bytes(range(256)) * 500), 3),
        header(),
    ]
    assert await read(*frames) == frames


@pytest.mark.parametrize(
    "broken",
    [
        header(app_id="AAAA").replace(b"AAAA", b"\xff\xff\xff\xff"),
        header(correlation_id="AAAA", reply_to="q").replace(b"AAAA", b"\xc3\x28\xa0\xa1"),
        header(headers={"AAAA": 1}).replace(b"AAAA", b"\xff\xff\xff\xff"),
        header(timestamp=datetime.fromtimestamp(0x41414141, UTC)).replace(b"\0\0\0\0AAAA", b"\xff" * 8),
    ],
)
async def test_properties_that_cannot_be_read_are_put_aside(broken: bytes) -> None:
    after = header(app_id="next")
    [found, following] = await read(broken, after)
    consumed, channel, frame = unmarshal(found)
    assert isinstance(frame, ContentHeader)
    assert (consumed, channel, frame.body_size) == (len(found), 3, 7)
    assert frame.properties.content_type == "unreadable"
    assert frame.properties.reply_to is None
    assert following == after


async def test_tables_that_nest_too_deeply_are_put_aside() -> None:
    table: dict[str, object] = {}
    for _ in range(40):
        table = {"a": [table]}
    [found] = await read(header(headers=table))
    frame = unmarshal(found)[2]
    assert isinstance(frame, ContentHeader)
    assert frame.properties.content_type == "unreadable"


async def test_a_routing_key_that_is_no_text_is_left_out() -> None:
    [found] = await read(deliver("AAAA").replace(b"AAAA", b"\xff\xff\xff\xff"))
    frame = unmarshal(found)[2]
    assert isinstance(frame, spec.Basic.Deliver)
    assert (frame.consumer_tag, frame.delivery_tag, frame.redelivered) == ("tag", 2**40, True)
    assert (frame.exchange, frame.routing_key) == ("", "")


async def test_a_server_that_speaks_another_protocol_is_left_to_aiormq() -> None:
    reader = CarefulReader()
    reader.feed_data(b"AMQP\x00\x01\x00\x00")
    assert await reader.readexactly(1) + await reader.readexactly(6) == b"AMQP\x00\x01\x00"
