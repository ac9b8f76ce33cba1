"""Confirms, in whatever order and grouping the broker sends them."""

import asyncio
from random import Random
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemstone_events.message import Message
from gemstone_events.transport import Outcome
from gemstone_events.transports.amqp_connection import LoopConnection
from gemstone_events.transports.amqp_frames import BASIC_ACK, BASIC_NACK, METHOD, U32, U64
from gemstone_events.transports.amqp_messages import MessageEncoder
from gemstone_events.transports.amqp_publisher import PublishChannel

CONFIRMED, REFUSED, UNKNOWN = Outcome.CONFIRMED, Outcome.REFUSED, Outcome.UNKNOWN


class Connection:
    """What the publisher sees of a connection; it takes every byte, unless told to take only some."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.blocked = ""
        self.written = 0
        self.takes: int | None = None
        self.channel: PublishChannel | None = None

    @property
    def sent(self) -> int:
        return self.written if self.takes is None else min(self.takes, self.written)

    @property
    def buffered(self) -> int:
        return self.written - self.sent

    def write(self, frames: bytes) -> None:
        self.written += len(frames)

    def drop(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
            assert self.channel is not None
            self.channel.connection_ended()


def pair(confirm_timeout: float = 30.0) -> tuple[Connection, PublishChannel]:
    connection = Connection()
    encoder = MessageEncoder(1, 4096, "events", lambda name: name, "test")
    connection.channel = PublishChannel(cast(LoopConnection, connection), encoder, confirm_timeout)
    return connection, connection.channel


def some(count: int, *, body: bytes = b"{}", broadcast: bool = True) -> list[Message]:
    return [Message({"id": str(number), "type": "a"}, body, broadcast) for number in range(count)]


def publish(channel: PublishChannel, sent: list[Message]) -> asyncio.Task[list[Outcome]]:
    return asyncio.create_task(channel.publish(sent, [None] * len(sent)))


def answer(channel: PublishChannel, method: int, tag: int, multiple: bool) -> None:
    payload = U32.pack(method) + U64.pack(tag) + bytes([multiple])
    channel.frame(METHOD, payload, 0, len(payload))


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.integers())
def test_every_message_gets_the_answer_that_was_meant_for_it(sizes: list[int], seed: int) -> None:
    async def scenario() -> None:
        _, channel = pair()
        tasks = [publish(channel, some(size)) for size in sizes]
        await asyncio.sleep(0)
        draw = Random(seed)
        waiting = list(range(1, sum(sizes) + 1))
        expected: dict[int, Outcome] = {}
        while waiting:
            tag, multiple, method = draw.choice(waiting), draw.random() < 0.5, draw.choice([BASIC_ACK, BASIC_NACK])
            meant = [number for number in waiting if number == tag or (multiple and number < tag)]
            expected.update(dict.fromkeys(meant, CONFIRMED if method == BASIC_ACK else REFUSED))
            waiting = [number for number in waiting if number not in meant]
            answer(channel, method, tag, multiple)
            answer(channel, BASIC_ACK, tag, False)  # of a number that is settled already: without effect
        outcomes = [outcome for task in tasks for outcome in await task]
        assert outcomes == [expected[number] for number in sorted(expected)]
        channel.connection_ended()

    asyncio.run(scenario())


async def test_a_lost_connection_tells_apart_what_was_sent_in_full() -> None:
    connection, channel = pair()
    first = publish(channel, some(1))
    await asyncio.sleep(0)
    size = connection.written
    second = publish(channel, some(3))
    await asyncio.sleep(0)
    connection.takes = 3 * size - 1  # the last byte of the third message is missing
    connection.drop("gone")
    assert await first == [UNKNOWN]
    assert await second == [UNKNOWN, REFUSED, REFUSED]


async def test_a_publish_on_a_lost_connection_is_refused() -> None:
    connection, channel = pair()
    connection.drop("gone")
    assert await publish(channel, some(2)) == [REFUSED, REFUSED]


async def test_no_confirm_in_time_is_unknown_and_the_end_of_the_connection() -> None:
    connection, channel = pair(confirm_timeout=0.05)
    task = publish(channel, some(2))
    await asyncio.sleep(0)
    answer(channel, BASIC_ACK, 1, False)
    assert await task == [CONFIRMED, UNKNOWN]
    assert "no confirm" in connection.ended.result()


async def test_an_alarm_leaves_the_connection_alone_and_ignores_late_confirms() -> None:
    connection, channel = pair(confirm_timeout=0.05)
    task = publish(channel, some(1))
    await asyncio.sleep(0)
    connection.blocked = "low on memory"
    assert await task == [UNKNOWN]
    assert await publish(channel, some(1)) == [REFUSED]
    connection.blocked = ""
    after = publish(channel, some(1))
    await asyncio.sleep(0)
    answer(channel, BASIC_ACK, 1, False)
    await asyncio.sleep(0)
    assert not after.done()
    answer(channel, BASIC_ACK, 2, True)
    assert await after == [CONFIRMED]
    assert not connection.ended.done()
    channel.connection_ended()


@pytest.mark.parametrize("body", [b"{}", bytes(1_000_000)])
async def test_what_is_on_its_way_is_bounded_in_number_and_in_bytes(body: bytes) -> None:
    connection, channel = pair()
    connection.takes = 0
    sent = some(5000 if len(body) < 10 else 50, body=body)
    task = publish(channel, sent)
    await asyncio.sleep(0)
    assert connection.written < 6_000_000
    on_their_way = 0
    while not task.done():
        connection.takes = connection.written
        on_their_way += 1
        answer(channel, BASIC_ACK, min(on_their_way * 4096, len(sent)) if len(body) < 10 else 0, True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert await task == [CONFIRMED] * len(sent)
    assert on_their_way > 1
    channel.connection_ended()
