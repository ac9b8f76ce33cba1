"""Calls through RabbitMQ: what works, what is refused, and what a stranger may send."""

import asyncio
import contextlib
import logging
import time

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    InvalidAnswerError,
    OutcomeUnknownError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ServerSettings, WireCounts, WireRequest
from gemstone_events.rpc.wires.amqp.client import AmqpClientWire
from gemstone_events.rpc.wires.amqp.server import open_url
from gemstone_events.rpc.wires.amqp.serving import ServedCounts
from gemstone_events.testing.servers import RabbitMQ
from tests.integration.rpc_amqp_harness import Held, client, echo, send, serving
from tests.waiting import until


async def test_a_call_is_answered(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    async with serving(rabbitmq_url, namespace) as server:
        assert await amqp_wire.call(orders_url, WireRequest(b"[1]", 10.0)) == b"[1]"
        assert server.status().serving
        await amqp_wire.call(orders_url, WireRequest(b"[2]", 10.0))
        assert server.counts == ServedCounts()
        assert server.address.endswith("/%2F#orders")
        assert "guest" not in server.address + amqp_wire.address(orders_url)


async def test_a_body_of_many_frames_comes_whole(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    body = bytes(range(256)) * 4000
    async with serving(rabbitmq_url, namespace):
        assert await amqp_wire.call(orders_url, WireRequest(body, 10.0)) == body
        assert await amqp_wire.call(orders_url, WireRequest(b"", 10.0)) == b""


async def test_each_of_64_calls_in_flight_gets_its_own_answer(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    async def slowly(body: bytes, context: CallContext) -> bytes:
        await asyncio.sleep((int(body) * 7 % 64) / 1000)
        return body

    async with serving(rabbitmq_url, namespace, slowly):
        bodies = [b"%d" % number for number in range(640)]
        turns = asyncio.Semaphore(64)

        async def call(body: bytes) -> bytes | None:
            async with turns:
                return await amqp_wire.call(orders_url, WireRequest(body, 10.0))

        assert await asyncio.gather(*map(call, bodies)) == bodies
    assert (amqp_wire.counts.late, amqp_wire.counts.unexpected, amqp_wire.counts.unknown) == (0, 0, 0)


async def test_a_server_sees_headers_caller_and_deadline(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    held = Held()
    held.release.set()
    async with serving(rabbitmq_url, namespace, held.answer):
        await amqp_wire.call(orders_url, WireRequest(b"1", 9.0, {"authorization": "Bearer x"}))
    [(_, context)] = held.calls
    assert context.wire == "amqp"
    assert context.headers["authorization"] == "Bearer x"
    assert context.peer == "amqp:guest"  # for whom the broker vouches
    assert context.timeout is not None
    assert 5.0 < context.timeout <= 9.0
    assert not context.is_repeated


async def test_a_notification_returns_when_the_broker_has_it(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    held = Held()
    async with serving(rabbitmq_url, namespace, held.answer, concurrency=1) as server:
        for number in range(3):
            assert await amqp_wire.call(orders_url, WireRequest(b"%d" % number, 10.0, is_answered=False)) is None
        held.release.set()
        await until(lambda: len(held.calls) == 3, "the notifications")
        assert server.counts.undeliverable == 0


async def test_calls_that_the_broker_confirms_are_answered_as_others(
    amqp_wire: AmqpClientWire, rabbitmq_url: str, namespace: str
) -> None:
    url = f"{rabbitmq_url}?confirms=all#orders"
    held = Held()
    with pytest.raises(ServiceNotFoundError):
        await amqp_wire.call(url, WireRequest(b"[0]", 10.0))
    async with serving(rabbitmq_url, namespace, held.answer):
        assert await amqp_wire.call(url, WireRequest(b"[1]", 10.0, is_answered=False)) is None
        calls = [asyncio.create_task(amqp_wire.call(url, WireRequest(b"[%d]" % each, 10.0))) for each in range(200)]
        await until(lambda: len(held.calls) == 201, "all calls to come")
        assert await amqp_wire.call(url, WireRequest(b"[2]", 10.0, is_answered=False)) is None
        held.release.set()
        assert await asyncio.gather(*calls) == [b"[%d]" % each for each in range(200)]
        assert amqp_wire.counts == WireCounts()


async def test_a_service_that_never_ran_is_not_found_at_once(amqp_wire: AmqpClientWire, orders_url: str) -> None:
    for is_answered in (True, False):
        began = time.monotonic()
        with pytest.raises(ServiceNotFoundError):
            await amqp_wire.call(orders_url, WireRequest(b"1", 30.0, is_answered=is_answered))
        assert time.monotonic() - began < 10.0


async def test_a_stopped_service_is_not_found_though_its_queue_is_there(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str, stranger: AbstractChannel
) -> None:
    async with serving(rabbitmq_url, namespace):
        await amqp_wire.call(orders_url, WireRequest(b"1", 10.0))
    queue = await stranger.get_queue(f"{namespace}.rpc.orders")
    # Until the last answer is a second old, it counts as a sign of life, and the watch over pending calls decides.
    with pytest.raises((ServiceNotFoundError, OutcomeUnknownError)):
        await amqp_wire.call(orders_url, WireRequest(b"2", 30.0))
    with pytest.raises(ServiceNotFoundError):
        await amqp_wire.call(orders_url, WireRequest(b"3", 30.0))
    await queue.delete(if_empty=False)


async def test_a_pending_call_of_a_vanished_service_fails_before_its_deadline(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    held = Held()
    async with serving(rabbitmq_url, namespace, held.answer) as server:
        call = asyncio.create_task(amqp_wire.call(orders_url, WireRequest(b"1", 60.0)))
        await until(lambda: bool(held.calls), "the call")
        assert not await server.stop(0.0)
        await server.close()
        with pytest.raises(OutcomeUnknownError) as raised:
            await asyncio.wait_for(call, 20.0)
    assert not isinstance(raised.value, CallTimeoutError)
    assert amqp_wire.counts.unknown == 1


async def test_a_stopping_server_finishes_what_it_has_begun(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    held = Held()
    asked: list[None] = []
    async with serving(rabbitmq_url, namespace, held.answer, on_question=lambda: asked.append(None)) as server:
        call = asyncio.create_task(amqp_wire.call(orders_url, WireRequest(b"1", 60.0)))
        await until(lambda: bool(held.calls), "the call")
        stopping = asyncio.create_task(server.stop(30.0))
        await until(lambda: not server.status().serving, "the stop")
        await until(lambda: len(asked) >= 2, "the caller's side to look after the call")
        assert not call.done()
        held.release.set()
        assert await asyncio.wait_for(call, 10.0) == b"1"
        assert await stopping


async def test_an_expired_call_is_never_carried_out(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str, stranger: AbstractChannel
) -> None:
    held = Held()
    async with serving(rabbitmq_url, namespace, held.answer, concurrency=1) as server:
        first = asyncio.create_task(amqp_wire.call(orders_url, WireRequest(b"first", 30.0)))
        await until(lambda: bool(held.calls), "the first call")
        with pytest.raises(CallTimeoutError):
            await amqp_wire.call(orders_url, WireRequest(b"expires in the queue", 0.3))
        held.release.set()
        assert await first == b"first"
        late = aio_pika.Message(b"expired on arrival", headers={"gemstone-timeout": "-1"})
        await send(stranger, f"{namespace}.rpc.orders", late)
        await until(lambda: server.counts.expired == 1, "the expired call to be dropped")
        assert await amqp_wire.call(orders_url, WireRequest(b"last", 30.0)) == b"last"
    assert [body for body, _ in held.calls] == [b"first", b"last"]


async def test_a_late_answer_is_counted_and_ignored(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    held = Held()
    async with serving(rabbitmq_url, namespace, held.answer):
        with pytest.raises(CallTimeoutError):
            await amqp_wire.call(orders_url, WireRequest(b"1", 0.5))
        cancelled = asyncio.create_task(amqp_wire.call(orders_url, WireRequest(b"2", 30.0)))
        await until(lambda: len(held.calls) == 2, "the second call")
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert amqp_wire.counts.unknown == 2
        held.release.set()
        await until(lambda: amqp_wire.counts.late == 2, "the late answers")
        assert await amqp_wire.call(orders_url, WireRequest(b"3", 10.0)) == b"3"
    assert amqp_wire.counts.unexpected == 0


async def test_an_answer_beyond_the_limit_is_an_error(orders_url: str, rabbitmq_url: str, namespace: str) -> None:
    async def too_much(body: bytes, context: CallContext) -> bytes:
        return b"x" * (100_001 if body == b"long" else 100_000)

    async with serving(rabbitmq_url, namespace, too_much), client(namespace, body_bytes=100_000) as wire:
        with pytest.raises(InvalidAnswerError, match="100001 bytes"):
            await wire.call(orders_url, WireRequest(b"long", 10.0))
        answer = await wire.call(orders_url, WireRequest(b"just so", 10.0))
        assert answer is not None
        assert len(answer) == 100_000


async def test_more_calls_than_may_be_pending_fail_as_unreachable(
    orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    held = Held()
    async with serving(rabbitmq_url, namespace, held.answer), client(namespace, pending=3) as wire:
        calls = [asyncio.create_task(wire.call(orders_url, WireRequest(b"1", 10.0))) for _ in range(4)]
        await until(lambda: len(held.calls) == 3, "three calls")
        held.release.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers.count(b"1") == 3
    assert [type(answer) for answer in answers if answer != b"1"] == [ServiceUnreachableError]


async def test_an_answer_function_that_raises_is_an_internal_error(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    async def broken(body: bytes, context: CallContext) -> bytes:
        raise LookupError("not for callers")

    async with serving(rabbitmq_url, namespace, broken):
        answer = await amqp_wire.call(orders_url, WireRequest(b"1", 10.0))
    assert answer is not None
    assert b"-32603" in answer
    assert b"not for callers" not in answer


async def test_a_call_that_cancels_itself_is_an_internal_error_and_keeps_no_place(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    async def answer(body: bytes, context: CallContext) -> bytes:
        task = asyncio.current_task()
        if body == b"cancel" and task is not None:
            task.cancel()
        await asyncio.sleep(0)
        return body

    async with serving(rabbitmq_url, namespace, answer, concurrency=1):
        refusal = await amqp_wire.call(orders_url, WireRequest(b"cancel", 10.0))
        assert refusal is not None
        assert b"-32603" in refusal
        assert await amqp_wire.call(orders_url, WireRequest(b"1", 10.0)) == b"1"


async def test_presence_finds_the_running_instances_of_all_services(
    amqp_wire: AmqpClientWire, rabbitmq_url: str, namespace: str, stranger: AbstractChannel
) -> None:
    assert await amqp_wire.find(rabbitmq_url, "*", 0.3) == []
    async with (
        serving(rabbitmq_url, namespace, instance="one"),
        serving(rabbitmq_url, namespace, instance="two") as second,
        serving(rabbitmq_url, namespace, service="orders.archive", instance="three"),
    ):

        async def found(pattern: str) -> list[str]:
            return [presence.instance for presence in await amqp_wire.find(rabbitmq_url, pattern, 0.5)]

        assert await found("orders") == ["one", "two"]
        assert await found("orders*") == ["one", "two", "three"]
        assert await found("nobody") == []
        await second.stop(1.0)
        assert await found("orders") == ["one"]
        await send(stranger, "nowhere", aio_pika.Message(b""))
        exchange = await stranger.get_exchange(f"{namespace}.rpc.presence")
        for question in (b"", b"[]", b'{"pattern":1}', b"x" * 5000, b'{"pattern":"*"}'):
            await exchange.publish(aio_pika.Message(question, reply_to=f"{namespace}.rpc.orders"), "")
        assert await found("orders") == ["one"]


async def test_two_services_of_one_broker_share_a_connection(
    amqp_wire: AmqpClientWire, rabbitmq_node: RabbitMQ, namespace: str
) -> None:
    url = rabbitmq_node.url
    async with serving(url, namespace, service="a"), serving(url, namespace, service="b"):
        await asyncio.gather(*(amqp_wire.call(f"{url}#{name}", WireRequest(b"1", 10.0)) for name in "abab"))
        listed = rabbitmq_node.ctl("list_connections", "client_properties")
    assert listed.count("gemstone_events (calls)") == 1


async def test_a_wrong_password_is_a_clear_error_on_both_sides(
    amqp_wire: AmqpClientWire, rabbitmq_url: str, namespace: str
) -> None:
    wrong = rabbitmq_url.replace("guest:guest@", "guest:s3cret@")
    for attempt in (amqp_wire.call(f"{wrong}#orders", WireRequest(b"1", 10.0)), amqp_wire.find(wrong, "*", 0.1)):
        with pytest.raises(ServiceConfigurationError, match="refuses user or password of 'guest'") as raised:
            await attempt
        assert "s3cret" not in str(raised.value)
    with pytest.raises(ServiceConfigurationError, match="refuses user or password"):
        async with serving(wrong, namespace):
            pass


async def test_a_virtual_host_that_is_not_there_is_a_clear_error(
    amqp_wire: AmqpClientWire, rabbitmq_url: str, namespace: str
) -> None:
    wrong = rabbitmq_url.removesuffix("//") + "/nowhere"
    with pytest.raises(ServiceConfigurationError, match="virtual host 'nowhere'"):
        await amqp_wire.call(f"{wrong}#orders", WireRequest(b"1", 10.0))
    with pytest.raises(ServiceConfigurationError, match="virtual host 'nowhere'"):
        async with serving(wrong, namespace):
            pass


async def test_a_queue_that_was_declared_otherwise_is_a_clear_error(
    rabbitmq_url: str, namespace: str, stranger: AbstractChannel
) -> None:
    queue = await stranger.declare_queue(f"{namespace}.rpc.orders", durable=False)
    with pytest.raises(ServiceConfigurationError, match="declared otherwise"):
        async with serving(rabbitmq_url, namespace):
            pass
    await queue.delete()


async def test_a_broker_that_is_away_is_no_error_for_a_server_and_unreachable_for_a_caller(
    amqp_wire: AmqpClientWire, namespace: str, rabbitmq_node: RabbitMQ
) -> None:
    await asyncio.to_thread(rabbitmq_node.stop)
    async with serving(rabbitmq_node.url, namespace) as server:
        assert not server.status().serving
        assert "guest" not in server.status().detail
        with pytest.raises(ServiceUnreachableError):
            await amqp_wire.call(f"{rabbitmq_node.url}#orders", WireRequest(b"1", 5.0))
        await asyncio.to_thread(rabbitmq_node.start)
        await until(lambda: server.status().serving, "the server to connect", 60.0)

        async def call() -> bytes | None:
            with contextlib.suppress(ServiceUnreachableError):
                return await amqp_wire.call(f"{rabbitmq_node.url}#orders", WireRequest(b"1", 5.0))
            return None

        async with asyncio.timeout(30.0):
            while await call() != b"1":
                await asyncio.sleep(0.05)


async def test_closing_twice_and_before_the_start_is_harmless(rabbitmq_url: str, namespace: str) -> None:
    settings = ServerSettings(
        service="orders", presence=lambda: Presence(service="orders", instance="1"), namespace=namespace
    )
    server = open_url(rabbitmq_url, settings)
    await server.close()
    server = open_url(rabbitmq_url, settings)
    await server.start(echo)
    assert await server.stop(1.0)
    await server.close()
    await server.close()
    async with client(namespace) as wire:
        await wire.close()


async def test_closing_fails_what_is_pending(
    amqp_wire: AmqpClientWire, orders_url: str, rabbitmq_url: str, namespace: str
) -> None:
    held = Held()
    async with serving(rabbitmq_url, namespace, held.answer):
        call = asyncio.create_task(amqp_wire.call(orders_url, WireRequest(b"1", 30.0)))
        await until(lambda: bool(held.calls), "the call")
        await amqp_wire.close()
        with pytest.raises(OutcomeUnknownError):
            await call
        held.release.set()


async def test_nothing_is_left_behind_by_many_calls(
    orders_url: str, rabbitmq_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with serving(rabbitmq_url, namespace), client(namespace) as wire:
        await wire.call(orders_url, WireRequest(b"1", 10.0))
        before = len(asyncio.all_tasks())
        for _ in range(20):
            await asyncio.gather(*(wire.call(orders_url, WireRequest(b"1", 10.0)) for _ in range(64)))
        await until(lambda: len(asyncio.all_tasks()) <= before + 1, "the tasks to end")
    await until(lambda: len(asyncio.all_tasks()) == 1, "the connections to end")
    assert not caplog.records
