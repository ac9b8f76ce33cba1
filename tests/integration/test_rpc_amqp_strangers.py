"""What strangers send through RabbitMQ: clients of other authors, forgers, and bytes that break clients."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime

import aio_pika
import aiormq
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.abc import ChannelFrame
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.common import FieldTable
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from gemstone_events import strict_json
from gemstone_events.rpc.call_errors import (
    ServiceNotFoundError,
)
from gemstone_events.rpc.wire import WireRequest
from gemstone_events.rpc.wires.amqp.client import AmqpClientWire
from tests.integration.rpc_amqp_harness import Held, Tally, send, serving
from tests.waiting import until


async def test_forged_and_doubled_answers_are_counted_and_ignored(
    amqp_wire: AmqpClientWire,
    orders_url: str,
    namespace: str,
    stranger: AbstractChannel,
    request: pytest.FixtureRequest,
) -> None:
    queue = await stranger.declare_queue(f"{namespace}.rpc.orders", durable=True)

    async def answer_thrice(message: AbstractIncomingMessage) -> None:
        assert message.reply_to is not None
        for correlation_id in ("0" * 32, message.correlation_id, message.correlation_id, None):
            reply = aio_pika.Message(message.body, correlation_id=correlation_id)
            await stranger.default_exchange.publish(reply, routing_key=message.reply_to)

    await queue.consume(answer_thrice, no_ack=True)
    tally = Tally(request.node.name)
    began = time.monotonic()
    await asyncio.gather(*(tally.call(amqp_wire, orders_url, number, 0.0, 30.0) for number in range(100)))
    tally.balance(100, time.monotonic() - began)
    assert tally.answered == 100
    await until(lambda: amqp_wire.counts.unexpected == 300, "the forged, the doubled and the nameless answers")
    await queue.delete(if_unused=False, if_empty=False)


async def test_any_amqp_client_calls_with_a_reply_queue_of_its_own(
    rabbitmq_url: str, namespace: str, stranger: AbstractChannel
) -> None:
    replies = await stranger.declare_queue("", exclusive=True)
    assert replies.name.startswith("amq.gen-")
    async with serving(rabbitmq_url, namespace):
        message = aio_pika.Message(b"[1]", reply_to=replies.name, correlation_id="any text at all")
        await send(stranger, f"{namespace}.rpc.orders", message)
        async with asyncio.timeout(10.0), replies.iterator(no_ack=True) as answers:
            answer = await anext(answers)
    assert (answer.body, answer.correlation_id, answer.content_type) == (b"[1]", "any text at all", "application/json")


async def test_a_deleted_reply_queue_hurts_only_its_owner(
    amqp_wire: AmqpClientWire,
    orders_url: str,
    rabbitmq_url: str,
    namespace: str,
    stranger: AbstractChannel,
    request: pytest.FixtureRequest,
) -> None:
    held = Held()
    tally = Tally(request.node.name)
    replies = await stranger.declare_queue("", exclusive=True)
    async with serving(rabbitmq_url, namespace, held.answer) as server:
        for _ in range(100):
            await send(stranger, f"{namespace}.rpc.orders", aio_pika.Message(b"[1]", reply_to=replies.name))
        ours = [asyncio.create_task(tally.call(amqp_wire, orders_url, number, 0.0, 30.0)) for number in range(100)]
        await until(lambda: len(held.calls) == 200, "the calls")
        began = time.monotonic()
        await replies.delete()
        held.release.set()
        await asyncio.gather(*ours)
        tally.balance(100, time.monotonic() - began)
        assert tally.answered == 100
        await until(lambda: server.counts.undeliverable == 100, "the undeliverable answers")
        assert server.status().serving


@pytest.mark.parametrize("reply_to", ["{}.rpc.orders", "{}.anything", "amq.topic", "amq.ctag"])
async def test_nobody_has_a_service_write_into_queues_that_are_not_for_answers(
    reply_to: str,
    amqp_wire: AmqpClientWire,
    orders_url: str,
    rabbitmq_url: str,
    namespace: str,
    stranger: AbstractChannel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = Held()
    held.release.set()
    async with serving(rabbitmq_url, namespace, held.answer) as server:
        message = aio_pika.Message(b"[1]", reply_to=reply_to.format(namespace))
        await send(stranger, f"{namespace}.rpc.orders", message)
        await until(lambda: server.counts.forbidden == 1, "the refusal")
        assert await amqp_wire.call(orders_url, WireRequest(b"2", 10.0)) == b"2"
    assert [body for body, _ in held.calls] == [b"2"]
    assert "wants its answer in the queue" in caplog.text


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({"content_type": "application/x-python-serialize"}, "content type"),
        ({"content_encoding": "gzip"}, "content encoding"),
        ({"body": b"x" * 1001}, "1000 bytes"),
        ({"headers": {"x": "y" * 17_000}}, "headers"),
    ],
)
async def test_what_may_not_be_sent_is_answered_with_an_error(
    message: dict[str, object], complaint: str, rabbitmq_url: str, namespace: str, stranger: AbstractChannel
) -> None:
    replies = await stranger.declare_queue("", exclusive=True)
    held = Held()
    async with serving(rabbitmq_url, namespace, held.answer, body_bytes=1000) as server:
        properties: dict[str, object] = {"body": b"[1]", "reply_to": replies.name, "correlation_id": "7", **message}
        await send(stranger, f"{namespace}.rpc.orders", aio_pika.Message(**properties))  # type: ignore[arg-type]
        async with asyncio.timeout(10.0), replies.iterator(no_ack=True) as answers:
            answer = await anext(answers)
        assert server.counts.refused == 1
    error = strict_json.loads(answer.body)
    assert isinstance(error, dict)
    assert isinstance(error["error"], dict)
    assert error["error"]["code"] == -32600
    assert complaint in str(error["error"]["data"])
    assert answer.correlation_id == "7"
    assert not held.calls


async def test_odd_headers_are_passed_over(rabbitmq_url: str, namespace: str, stranger: AbstractChannel) -> None:
    held = Held()
    held.release.set()
    headers: FieldTable = {
        "Upper": "a",
        "number": 3,
        "nested": {"x": 1},
        "list": [1],
        "control": "a\nb",
        "none": None,
        "b": True,
    }
    async with serving(rabbitmq_url, namespace, held.answer):
        message = aio_pika.Message(b"1", headers=headers, expiration=7.5, user_id="guest")
        await send(stranger, f"{namespace}.rpc.orders", message)
        await until(lambda: bool(held.calls), "the call")
    [(_, context)] = held.calls
    assert context.headers == {"upper": "a", "number": "3"}
    assert context.timeout is not None
    assert 5.0 < context.timeout <= 7.5
    assert context.peer == "amqp:guest"


async def test_a_deleted_queue_is_declared_anew_and_served_again(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str, stranger: AbstractChannel
) -> None:
    held = Held()
    async with serving(rabbitmq_url, namespace, held.answer) as server:
        begun = asyncio.create_task(amqp_wire.call(orders_url, WireRequest(b"begun", 30.0)))
        await until(lambda: bool(held.calls), "the call")
        await stranger.queue_delete(f"{namespace}.rpc.orders")
        await until(lambda: server.status().serving, "the server to mend it")
        held.release.set()
        assert await begun == b"begun"

        async def is_answered() -> bool:
            with contextlib.suppress(ServiceNotFoundError):
                return await amqp_wire.call(orders_url, WireRequest(b"2", 10.0)) == b"2"
            return False

        async with asyncio.timeout(10.0):
            while not await is_answered():
                await asyncio.sleep(0.05)


def deep(levels: int) -> dict[str, object]:
    """Return a table that nests."""
    table: dict[str, object] = {}
    for _ in range(levels):
        table = {"a": table}
    return table


def broken(frames: bytes) -> bytes:
    """Return frames with a time beyond the calendar, or texts that are not UTF-8, where there is AAAA."""
    return frames.replace(b"\x00\x00\x00\x00AAAA", b"\xff" * 8).replace(b"AAAA", b"\xff\xfe\xfd\xfc")


@pytest.mark.parametrize(
    ("properties", "routing_key"),
    [
        ({"app_id": "AAAA"}, ""),
        ({"correlation_id": "AAAA"}, ""),
        ({"headers": {"AAAA": "x"}}, ""),
        ({"timestamp": datetime.fromtimestamp(0x41414141, UTC)}, ""),
        ({"headers": deep(300)}, ""),
        ({"headers": {"CC": ["{queue}"]}}, "AAAA"),
    ],
)
async def test_a_message_that_aiormq_cannot_read_ends_no_connection(
    properties: dict[str, object],
    routing_key: str,
    amqp_wire: AmqpClientWire,
    orders_url: str,
    rabbitmq_url: str,
    namespace: str,
    stranger: AbstractChannel,
) -> None:
    held = Held()
    held.release.set()
    queue = f"{namespace}.rpc.orders"
    if routing_key:
        properties = {"headers": {"CC": [queue]}}
    channel = await stranger.get_underlay_channel()
    assert isinstance(channel, aiormq.Channel)
    async with serving(rabbitmq_url, namespace, held.answer) as server:
        frames = b"".join(
            marshal(frame, channel.number)
            for frame in (
                spec.Basic.Publish(routing_key=routing_key or queue),
                ContentHeader(properties=spec.Basic.Properties(**properties), body_size=1),  # type: ignore[arg-type]
                ContentBody(b"1"),
            )
        )
        await channel.write_queue.put(ChannelFrame(broken(frames), should_close=False))
        await until(lambda: server.counts.refused + len(held.calls) == 1, "the message")
        assert await amqp_wire.call(orders_url, WireRequest(b"2", 10.0)) == b"2"
        assert server.counts.lost == 0
        assert len(held.calls) == (2 if routing_key else 1)
    assert (await stranger.declare_queue(queue, durable=True)).declaration_result.message_count == 0
