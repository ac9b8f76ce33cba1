"""Calls through RabbitMQ while servers, brokers and networks die: every call is accounted for, and none hangs.

Each test makes 100 calls at once, waits until 20 are answered and 80 pend, and then makes trouble. It prints its books.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    OutcomeUnknownError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.wire import WireRequest
from gemstone_events.rpc.wires.amqp.client import AmqpClientWire
from gemstone_events.testing.proxy import FaultProxy, Link
from gemstone_events.testing.servers import RabbitMQ
from tests.integration.rpc_amqp_harness import Held, Tally, body_of, client, peer, serving
from tests.waiting import until

LONG = 60.0


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not sit out the pauses that spare a real broker a rush of clients."""
    monkeypatch.setattr("gemstone_events.rpc.wires.amqp.link.LONGEST_PAUSE", 0.5)
    monkeypatch.setattr("gemstone_events.rpc.wires.amqp.server.LONGEST_PAUSE", 0.5)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    return Tally(request.node.name)


@pytest.fixture
async def proxy(rabbitmq_url: str) -> AsyncIterator[FaultProxy]:
    host, _, port = rabbitmq_url.partition("@")[2].partition("/")[0].partition(":")
    async with FaultProxy(host, int(port)) as made:
        yield made


async def is_answered_again(wire: AmqpClientWire, url: str) -> None:
    """Call until an answer comes: everybody has found everybody again."""
    async with asyncio.timeout(LONG):
        while True:
            try:
                assert await wire.call(url, WireRequest(body_of(1, 0.0), 5.0)) == body_of(1, 0.0)
                return
            except (ServiceNotFoundError, ServiceUnreachableError):
                await asyncio.sleep(0.05)


async def is_given_up(wire: AmqpClientWire, url: str) -> None:
    """Call until the caller's side knows that nobody serves the service; what answered last is its first evidence."""
    async with asyncio.timeout(LONG):
        while True:
            try:
                await wire.call(url, WireRequest(body_of(1, 0.0), LONG))
            except ServiceNotFoundError:
                return
            except OutcomeUnknownError:
                continue


async def is_survived(
    trouble: Callable[[], object], wire: AmqpClientWire, tally: Tally, node: RabbitMQ, namespace: str, ledger: Path
) -> None:
    """Call while a broker is in trouble: each call under way is told of it, and later ones are answered."""
    url = f"{node.url}#orders"
    async with peer(node.url, namespace, ledger):
        await tally.many(wire, url, asyncio.to_thread(trouble), timeout=LONG)
        assert (tally.answered, tally.unknown) == (20, 80)
        await is_answered_again(wire, url)


async def test_a_killed_server_takes_no_call_with_it_in_silence(
    amqp_wire: AmqpClientWire, tally: Tally, rabbitmq_url: str, namespace: str, tmp_path: Path
) -> None:
    async with peer(rabbitmq_url, namespace, tmp_path / "ledger") as process:

        async def kill() -> None:
            process.kill()
            await process.wait()

        began = time.monotonic()
        await tally.many(amqp_wire, f"{rabbitmq_url}#orders", kill(), timeout=LONG)
    assert (tally.answered, tally.unknown) == (20, 80)
    assert "CallTimeoutError" not in tally.errors
    assert time.monotonic() - began < LONG
    assert amqp_wire.counts.unknown == 80


async def test_what_a_killed_server_had_begun_is_not_carried_out_again_by_the_next(
    amqp_wire: AmqpClientWire, tally: Tally, rabbitmq_url: str, namespace: str, tmp_path: Path
) -> None:
    ledgers = [tmp_path / "first", tmp_path / "second"]
    async with peer(rabbitmq_url, namespace, ledgers[0]) as first:
        calls = asyncio.create_task(tally.many(amqp_wire, f"{rabbitmq_url}#orders", first.wait(), timeout=LONG))
        await until(lambda: tally.answered == 20, "the quick calls")
        await until(lambda: len(ledgers[0].read_text().split()) == 100, "the other calls to begin")
        async with peer(rabbitmq_url, namespace, ledgers[1], instance="two"):
            first.kill()
            await calls
    assert (tally.answered, tally.repeated, tally.unknown) == (100, 80, 0)
    carried_out = [number for ledger in ledgers if ledger.exists() for number in ledger.read_text().split()]
    assert sorted(carried_out, key=int) == [str(number) for number in range(100)]


async def test_a_broker_that_restarts_takes_no_call_with_it_in_silence(
    amqp_wire: AmqpClientWire, tally: Tally, namespace: str, tmp_path: Path, rabbitmq_node: RabbitMQ
) -> None:
    await is_survived(rabbitmq_node.restart, amqp_wire, tally, rabbitmq_node, namespace, tmp_path / "ledger")


async def test_a_killed_broker_takes_no_call_with_it_in_silence(
    amqp_wire: AmqpClientWire, tally: Tally, namespace: str, tmp_path: Path, rabbitmq_node: RabbitMQ
) -> None:
    def kill_and_start() -> None:
        rabbitmq_node.kill()
        rabbitmq_node.start()

    await is_survived(kill_and_start, amqp_wire, tally, rabbitmq_node, namespace, tmp_path / "ledger")


async def test_a_connection_that_the_broker_closes_fails_its_calls_at_once(
    amqp_wire: AmqpClientWire, tally: Tally, namespace: str, tmp_path: Path, rabbitmq_node: RabbitMQ
) -> None:
    def close_callers() -> None:
        for line in rabbitmq_node.ctl("list_connections", "pid", "client_properties").splitlines():
            if "(calls)" in line:
                rabbitmq_node.ctl("close_connection", line.split()[0], "for a test")

    await is_survived(close_callers, amqp_wire, tally, rabbitmq_node, namespace, tmp_path / "ledger")


async def test_a_black_hole_holds_no_call_beyond_its_deadline(
    amqp_wire: AmqpClientWire, tally: Tally, rabbitmq_url: str, proxy: FaultProxy, namespace: str, tmp_path: Path
) -> None:
    url = f"{proxy.through(rabbitmq_url)}#orders"
    async with peer(rabbitmq_url, namespace, tmp_path / "ledger"):

        async def swallow_everything() -> None:
            proxy.set(both=Link(blackhole=True))

        await tally.many(amqp_wire, url, swallow_everything(), timeout=4.0)
        assert tally.errors == {"CallTimeoutError": 80}
        began = time.monotonic()
        with pytest.raises(ServiceUnreachableError):
            await amqp_wire.call(url, WireRequest(body_of(1, 0.0), 1.0))
        assert time.monotonic() - began < 3.0
        proxy.set(both=Link())
        await is_answered_again(amqp_wire, url)
    # The answers that the black hole held, and none to another call.
    assert amqp_wire.counts.unexpected == 0


async def test_a_reset_connection_fails_its_calls_at_once(
    amqp_wire: AmqpClientWire, tally: Tally, rabbitmq_url: str, proxy: FaultProxy, namespace: str, tmp_path: Path
) -> None:
    url = f"{proxy.through(rabbitmq_url)}#orders"
    async with peer(rabbitmq_url, namespace, tmp_path / "ledger"):
        await tally.many(amqp_wire, url, proxy.refuse(), timeout=LONG)
        assert (tally.answered, tally.unknown) == (20, 80)
        with pytest.raises(ServiceUnreachableError):
            await amqp_wire.call(url, WireRequest(body_of(1, 0.0), 5.0))
        await proxy.accept()
        await is_answered_again(amqp_wire, url)


async def test_a_blocked_broker_holds_no_call_beyond_its_deadline(
    amqp_wire: AmqpClientWire, tally: Tally, namespace: str, tmp_path: Path, rabbitmq_node: RabbitMQ
) -> None:
    url = f"{rabbitmq_node.url}#orders"
    async with peer(rabbitmq_node.url, namespace, tmp_path / "ledger"):
        await is_answered_again(amqp_wire, url)
        await asyncio.to_thread(rabbitmq_node.ctl, "set_vm_memory_high_watermark", "0.0000001")
        calls = [tally.call(amqp_wire, url, number, 0.0, 2.0) for number in range(100)]
        began = time.monotonic()
        await asyncio.gather(*calls)
        tally.balance(100, time.monotonic() - began)
        assert tally.answered < 100
        await asyncio.to_thread(rabbitmq_node.ctl, "set_vm_memory_high_watermark", "0.4")
        await is_answered_again(amqp_wire, url)


async def test_a_server_behind_a_reset_connection_serves_again(
    amqp_wire: AmqpClientWire, tally: Tally, rabbitmq_url: str, proxy: FaultProxy, namespace: str
) -> None:
    async with serving(proxy.through(rabbitmq_url), namespace) as server:
        await is_answered_again(amqp_wire, f"{rabbitmq_url}#orders")
        await proxy.refuse()
        await until(lambda: not server.status().serving, "the server to take notice")
        assert server.status().detail
        await is_given_up(amqp_wire, f"{rabbitmq_url}#orders")
        await proxy.accept()
        await until(lambda: server.status().serving, "the server to connect again", LONG)
        await is_answered_again(amqp_wire, f"{rabbitmq_url}#orders")


async def test_a_server_that_was_stopped_while_its_broker_was_away_stays_so(
    rabbitmq_url: str, proxy: FaultProxy, namespace: str
) -> None:
    await proxy.refuse()
    async with serving(proxy.through(rabbitmq_url), namespace) as server:
        assert await server.stop(1.0)
        await proxy.accept()
        async with serving(proxy.through(rabbitmq_url), namespace, service="another"):
            assert proxy.accepted == 1
        assert not server.status().serving


async def test_a_killed_instance_is_found_no_longer(
    amqp_wire: AmqpClientWire, rabbitmq_url: str, namespace: str, tmp_path: Path
) -> None:
    async with (
        peer(rabbitmq_url, namespace, tmp_path / "1", instance="one") as first,
        peer(rabbitmq_url, namespace, tmp_path / "2", instance="two"),
        peer(rabbitmq_url, namespace, tmp_path / "3", service="shipping", instance="three"),
    ):

        async def found() -> list[str]:
            return [presence.instance for presence in await amqp_wire.find(rabbitmq_url, "*", 0.5)]

        assert sorted(await found()) == ["one", "three", "two"]
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
        assert sorted(await found()) == ["three", "two"]


async def test_a_queue_that_takes_no_more_fails_confirmed_calls_at_once_and_others_at_their_deadline(
    amqp_wire: AmqpClientWire, rabbitmq_node: RabbitMQ, namespace: str
) -> None:
    policy = ("set_policy", "--apply-to", "queues", "few", f"^{namespace}[.]rpc[.]orders")
    await asyncio.to_thread(rabbitmq_node.ctl, *policy, '{"max-length":1,"overflow":"reject-publish"}')
    held = Held()
    confirmed, plain = (f"{rabbitmq_node.url}{option}#orders" for option in ("?confirms=all", ""))
    async with serving(rabbitmq_node.url, namespace, held.answer, concurrency=1):
        first = asyncio.create_task(amqp_wire.call(confirmed, WireRequest(b"[1]", LONG)))
        await until(lambda: bool(held.calls), "the first call to be carried out")
        others = [asyncio.create_task(amqp_wire.call(confirmed, WireRequest(b"[1]", LONG))) for _ in range(9)]
        await until(lambda: sum(call.done() for call in others) >= 7, "calls to be refused")
        with pytest.raises(ServiceUnreachableError, match="the broker refused"):
            await amqp_wire.call(plain, WireRequest(b"[1]", LONG, is_answered=False))
        with pytest.raises(CallTimeoutError):
            await amqp_wire.call(plain, WireRequest(b"[1]", 0.3))
        held.release.set()
        outcomes = await asyncio.gather(first, *others, return_exceptions=True)
        assert outcomes.count(b"[1]") == len(held.calls)
        refused = [outcome for outcome in outcomes if outcome != b"[1]"]
        assert len(refused) >= 7
        assert all("the broker refused" in str(error) for error in refused)


async def test_closing_in_a_black_hole_takes_five_seconds_at_most(
    rabbitmq_url: str, proxy: FaultProxy, namespace: str
) -> None:
    url = proxy.through(rabbitmq_url)
    async with serving(url, namespace) as server, client(namespace) as wire:
        await is_answered_again(wire, f"{url}#orders")
        proxy.set(both=Link(blackhole=True))
        began = time.monotonic()
        await asyncio.gather(server.close(), wire.close())
        assert time.monotonic() - began < 8.0
        proxy.set(both=Link())
