"""The RabbitMQ transport while the broker dies, chokes or cannot be heard. Every message is accounted for."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from gemstone_events.message import Message
from gemstone_events.testing.proxy import FaultProxy, Link
from gemstone_events.testing.servers import RabbitMQ
from gemstone_events.testing.transport_contract_harness import (
    Recorder,
    eventually,
    ids,
    keep,
    message,
    messages,
    publish,
)
from gemstone_events.transport import Outcome, Subscription, Transport, TransportSettings
from gemstone_events.transports import amqp_blocking, amqp_link
from gemstone_events.transports.rabbitmq import open_url

BILLING = Subscription("billing", "a", prefetch=100)
WORK = Subscription("billing", "w", work_queue=True, prefetch=100)
LONG = 90.0


class Ledger:
    """Publishes as the relay does, until the broker has it all, and keeps the books."""

    def __init__(self, transport: Transport) -> None:
        self.confirmed: list[str] = []
        self.refused = 0
        self.unknown = 0
        self._transport = transport

    async def publish(self, sent: Sequence[Message], batch: int = 50) -> None:
        """Publish all of it, again and again where need be."""
        for at in range(0, len(sent), batch):
            left = list(sent[at : at + batch])
            while left:
                outcomes = await self._transport.publish(left)
                self.refused += outcomes.count(Outcome.REFUSED)
                self.unknown += outcomes.count(Outcome.UNKNOWN)
                pairs = list(zip(left, outcomes, strict=True))
                self.confirmed += [one.id for one, outcome in pairs if outcome is Outcome.CONFIRMED]
                left = [one for one, outcome in pairs if outcome is not Outcome.CONFIRMED]
                if left:
                    await asyncio.sleep(0.02)


async def until(happened: asyncio.Task[None] | asyncio.Future[str], seconds: float = LONG) -> None:
    """Wait for something that a restarting broker may hold up."""
    await asyncio.wait_for(happened, seconds)


# A quorum queue of a lone RabbitMQ 3.10 node that is killed within seconds of declaring it holds its messages, but
# forgets to elect itself its leader: https://github.com/rabbitmq/rabbitmq-server/issues/10070
ELECT = "lists:foreach(fun(Queue) -> ra:trigger_election(amqqueue:get_pid(Queue)) end, rabbit_amqqueue:list())."


def kill_and_start(node: RabbitMQ) -> None:
    """SIGKILL the node, start it on the same data and make it usable."""
    node.kill()
    node.start()
    node.ctl("eval", ELECT)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not sit out the pauses that spare a real broker a rush of clients."""
    monkeypatch.setattr(amqp_link, "LONGEST_PAUSE", 1.0)


@pytest.fixture
def settings(namespace: str) -> TransportSettings:
    return TransportSettings(namespace=namespace, confirm_timeout=10.0)


async def opened(url: str, settings: TransportSettings) -> Transport:
    transport = open_url(url, settings)
    await transport.open()
    await eventually(lambda: transport.status().publishing, "the transport to connect")
    return transport


async def consuming(url: str, settings: TransportSettings, recorder: Recorder, *wanted: Subscription) -> Transport:
    transport = await opened(url, settings)
    await transport.subscribe(wanted, recorder)
    await eventually(lambda: transport.status().consuming, "the transport to consume")
    return transport


@pytest.fixture
async def proxy(rabbitmq_url: str) -> AsyncIterator[FaultProxy]:
    host, _, port = rabbitmq_url.rpartition("@")[2].rstrip("/").partition(":")
    async with FaultProxy(host, int(port)) as between:
        yield between


async def test_a_broker_killed_twice_in_the_middle_of_it_loses_nothing(
    rabbitmq_node: RabbitMQ, settings: TransportSettings
) -> None:
    recorder = Recorder()
    consumer = await consuming(rabbitmq_node.url, settings, recorder, BILLING, WORK)
    publisher = await opened(rabbitmq_node.url, settings)
    await asyncio.to_thread(rabbitmq_node.settle)
    sent = [
        one
        for pair in zip(messages("a", 3000), messages("w", 3000, broadcast=False, prefix="w-"), strict=True)
        for one in pair
    ]
    ledger = Ledger(publisher)
    publishing = asyncio.create_task(ledger.publish(sent))
    for third in (1, 2):
        await eventually(lambda share=third: len(ledger.confirmed) >= len(sent) * share // 3, "a third of it")  # type: ignore[misc]
        await asyncio.to_thread(kill_and_start, rabbitmq_node)
    await until(publishing)
    wanted = set(ids(sent))
    async with asyncio.timeout(LONG):
        while set(recorder.ids()) != wanted:
            await asyncio.sleep(0.01)
    assert sorted(ledger.confirmed) == sorted(wanted)
    assert ledger.refused + ledger.unknown > 0, "the faults came too late"
    # Unsettled deliveries and unknown publishes come again; nothing else does.
    assert len(recorder.ids()) - len(wanted) <= ledger.unknown + 2 * (BILLING.prefetch + WORK.prefetch)
    await asyncio.gather(publisher.close(), consumer.close())


async def test_a_broker_that_stops_and_comes_back_is_used_again(
    rabbitmq_node: RabbitMQ, settings: TransportSettings
) -> None:
    recorder = Recorder()
    instance = Subscription("billing-1", "a", per_instance=True)
    transport = await consuming(rabbitmq_node.url, settings, recorder, BILLING, instance)
    await publish(transport, [message("a", "before")])
    await recorder.until_count(2)
    await asyncio.to_thread(rabbitmq_node.stop)
    await eventually(lambda: not transport.status().publishing and not transport.status().consuming, "the end")
    assert "publishing: " in transport.status().detail
    assert "consuming: " in transport.status().detail
    assert await transport.publish([message("a", "down")]) == [Outcome.REFUSED]
    await asyncio.to_thread(rabbitmq_node.start)
    async with asyncio.timeout(LONG):
        while not transport.status().ready:
            await asyncio.sleep(0.01)
    assert transport.status().detail == ""
    await publish(transport, [message("a", "after")])
    await recorder.until_id("after", BILLING)
    await recorder.until_id("after", instance)
    assert "down" not in recorder.ids()
    await transport.close()


async def test_what_a_killed_broker_had_delivered_cannot_disturb_the_next_connection(
    rabbitmq_node: RabbitMQ, settings: TransportSettings
) -> None:
    recorder = Recorder(keep)
    transport = await consuming(rabbitmq_node.url, settings, recorder, BILLING)
    await publish(transport, messages("a", 5))
    await recorder.until_count(5)
    stale = recorder.deliveries()
    await asyncio.to_thread(rabbitmq_node.restart)
    await recorder.until_count(10)
    for delivery in stale:
        delivery.ack()
        delivery.release()
    again = recorder.deliveries()[5:]
    assert sorted(one.message.id for one in again) == sorted(one.message.id for one in stale)
    assert all(delivery.redelivered for delivery in again)
    for delivery in again:
        delivery.ack()
    await publish(transport, [message("a", "last")])
    await recorder.until_id("last")
    assert transport.status().consuming
    await transport.close()


async def test_a_memory_alarm_refuses_at_once_and_passes(rabbitmq_node: RabbitMQ, settings: TransportSettings) -> None:
    recorder = Recorder()
    transport = await consuming(rabbitmq_node.url, replace(settings, confirm_timeout=2.0), recorder, BILLING)
    await publish(transport, [message("a", "before")])
    await asyncio.to_thread(rabbitmq_node.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
    # The broker speaks of the alarm only to those who sent something into it.
    assert await transport.publish([message("a", "stuck")]) == [Outcome.UNKNOWN]
    assert not transport.status().publishing
    assert "memory" in transport.status().detail
    assert transport.status().consuming
    assert await transport.publish([message("a", "refused")]) == [Outcome.REFUSED]
    late = await opened(rabbitmq_node.url, replace(settings, confirm_timeout=2.0))
    assert await late.publish([message("a", "stuck too")]) == [Outcome.UNKNOWN]
    assert await late.publish([message("a", "refused too")]) == [Outcome.REFUSED]
    await asyncio.to_thread(rabbitmq_node.ctl, "set_vm_memory_high_watermark", "0.4")
    await eventually(lambda: transport.status().publishing and late.status().publishing, "the end of the alarm")
    await publish(transport, [message("a", "after")])
    await publish(late, [message("a", "after too")])
    await recorder.until_id("after")
    await recorder.until_id("after too")
    assert set(recorder.ids()) - {"stuck", "stuck too"} == {"before", "after", "after too"}
    await asyncio.gather(transport.close(), late.close())


async def test_a_full_queue_refuses_without_a_storm_of_connections(
    rabbitmq_node: RabbitMQ, settings: TransportSettings, namespace: str
) -> None:
    policy = ("set_policy", "--apply-to", "queues", "full", f"^{namespace}")
    await asyncio.to_thread(rabbitmq_node.ctl, *policy, '{"max-length":3,"overflow":"reject-publish"}')
    async with FaultProxy("127.0.0.1", rabbitmq_node.port) as between:
        transport = await opened(between.through(rabbitmq_node.url), settings)
        outcomes: list[Outcome] = []
        while Outcome.REFUSED not in outcomes:
            outcomes += await transport.publish([message("w", "1", broadcast=False)])
        for _ in range(200):
            assert await transport.publish([message("w", "2", broadcast=False)]) == [Outcome.REFUSED]
        assert set(outcomes) == {Outcome.CONFIRMED, Outcome.REFUSED}
        assert between.accepted == 2, "one to publish, one to declare"
        assert transport.status().publishing
        await transport.close()


async def test_a_broker_that_cannot_be_heard_leaves_no_publish_waiting(
    proxy: FaultProxy, rabbitmq_url: str, settings: TransportSettings
) -> None:
    recorder = Recorder()
    consumer = await consuming(rabbitmq_url, settings, recorder, BILLING)
    publisher = await opened(proxy.through(rabbitmq_url), replace(settings, confirm_timeout=1.0))
    await publish(publisher, [message("a", "before")])
    proxy.set(to_client=Link(blackhole=True))
    assert await publisher.publish(messages("a", 3)) == [Outcome.UNKNOWN] * 3
    assert not publisher.status().publishing
    assert await publisher.publish([message("a", "refused")]) == [Outcome.REFUSED]
    proxy.set(to_client=Link())
    await eventually(lambda: publisher.status().publishing, "the publisher to come back")
    await publish(publisher, messages("a", 3))
    await recorder.until(lambda: {"0", "1", "2"} <= set(recorder.ids()), "what was unknown")
    assert "refused" not in recorder.ids()
    await asyncio.gather(publisher.close(), consumer.close())


async def test_what_never_left_the_process_is_refused_and_not_unknown(
    proxy: FaultProxy, rabbitmq_url: str, settings: TransportSettings
) -> None:
    publisher = await opened(proxy.through(rabbitmq_url), replace(settings, confirm_timeout=2.0))
    await publish(publisher, [message("a", "before")])
    proxy.set(both=Link(blackhole=True))
    sent = [message("a", str(number), body=os.urandom(500_000)) for number in range(60)]
    outcomes = list(await publisher.publish(sent))
    unknown = outcomes.count(Outcome.UNKNOWN)
    assert 0 < unknown < len(sent)
    assert outcomes == [Outcome.UNKNOWN] * unknown + [Outcome.REFUSED] * (len(sent) - unknown)
    await publisher.close()


async def test_a_dead_peer_is_found_by_its_silence(
    proxy: FaultProxy, rabbitmq_url: str, settings: TransportSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp_blocking, "HEARTBEAT", 1)
    recorder = Recorder()
    transport = await consuming(proxy.through(rabbitmq_url), settings, recorder, BILLING)
    beats = 2 * 4 * 8  # on two connections, of eight bytes each: for longer than the limit of silence
    to_server, to_client = proxy.bytes_to_server + beats, proxy.bytes_to_client + beats
    await eventually(lambda: proxy.bytes_to_server >= to_server and proxy.bytes_to_client >= to_client, "beats")
    assert (transport.status().ready, proxy.accepted) == (True, 2)
    proxy.set(both=Link(blackhole=True))
    await eventually(lambda: not transport.status().publishing and not transport.status().consuming, "silence")
    assert "silent" in transport.status().detail
    proxy.set(both=Link())
    await eventually(lambda: transport.status().ready, "the broker to be heard again")
    await publish(transport, [message("a", "after")])
    await recorder.until_id("after")
    await transport.close()


@pytest.mark.parametrize("connected", [True, False])
async def test_closing_never_waits_for_a_broker_that_cannot_be_heard(
    proxy: FaultProxy, rabbitmq_url: str, settings: TransportSettings, connected: bool
) -> None:
    recorder = Recorder(keep)
    transport = await consuming(proxy.through(rabbitmq_url), settings, recorder, BILLING)
    await publish(transport, messages("a", 5))
    await recorder.until_count(5)
    proxy.set(both=Link(blackhole=True))
    if not connected:
        proxy.reset_connections()
        await eventually(lambda: not transport.status().publishing, "the connections to break")
        await eventually(lambda: proxy.connections > 0, "another attempt")
    publishing = asyncio.create_task(transport.publish(messages("a", 3)))
    await asyncio.sleep(0)
    recorder.deliveries()[0].ack()
    began = time.monotonic()
    await transport.close()
    assert time.monotonic() - began < 5.0
    assert set(await publishing) <= {Outcome.UNKNOWN, Outcome.REFUSED}
    await transport.close()


async def test_acks_are_flushed_by_close(rabbitmq_url: str, settings: TransportSettings) -> None:
    recorder = Recorder(keep)
    transport = await consuming(rabbitmq_url, settings, recorder, BILLING)
    await publish(transport, messages("a", 10))
    await recorder.until_count(10)
    for delivery in recorder.deliveries()[:7]:
        delivery.ack()
    await transport.close()
    rest = Recorder()
    other = await consuming(rabbitmq_url, settings, rest, BILLING)
    await rest.until_count(3)
    assert sorted(rest.ids()) == ["7", "8", "9"]
    await other.close()


@pytest.mark.parametrize(
    "link", [Link(slice_bytes=1, bytes_per_second=200_000), Link(latency=0.1), Link(bytes_per_second=100_000)]
)
async def test_a_bad_link_is_slow_and_nothing_worse(
    proxy: FaultProxy, rabbitmq_url: str, settings: TransportSettings, link: Link
) -> None:
    proxy.set(both=link)
    recorder = Recorder()
    transport = await consuming(proxy.through(rabbitmq_url), settings, recorder, BILLING)
    assert set(await transport.publish(messages("a", 100))) == {Outcome.CONFIRMED}
    await recorder.until_count(100)
    assert set(recorder.counts().values()) == {1}
    assert transport.status().ready
    await transport.close()


async def test_a_link_that_is_cut_again_and_again_loses_nothing(
    proxy: FaultProxy, rabbitmq_url: str, settings: TransportSettings
) -> None:
    recorder = Recorder()
    consumer = await consuming(proxy.through(rabbitmq_url), settings, recorder, BILLING)
    publisher = await opened(proxy.through(rabbitmq_url), settings)
    sent = messages("a", 500)
    ledger = Ledger(publisher)
    publishing = asyncio.create_task(ledger.publish(sent, batch=5))
    for step in range(8):
        # Somewhere else each time: in the handshake, in a publish, in a confirm, in a delivery.
        proxy.set(both=Link(cut_after=6_000 + 1_111 * step))
        wanted = len(ledger.confirmed) + 20
        await eventually(lambda: len(ledger.confirmed) >= wanted, "progress")  # noqa: B023 - called in this round
    cut = proxy.accepted - 2
    proxy.set(both=Link())
    await until(publishing)
    await recorder.until(lambda: set(recorder.ids()) == set(ids(sent)), "all of them")
    assert cut >= 4
    assert sorted(ledger.confirmed) == sorted(ids(sent))
    await asyncio.gather(publisher.close(), consumer.close())
