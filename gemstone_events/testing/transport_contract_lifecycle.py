"""Scenarios: opening, status, coming and going, and closing in the middle of everything."""

import asyncio
from collections import Counter
from urllib.parse import urlsplit

from gemstone_events.message import Message
from gemstone_events.testing.transport_contract_harness import (
    Recorder,
    TransportHarness,
    Transports,
    eventually,
    ids,
    keep,
    messages,
    publish,
)
from gemstone_events.transport import Outcome, Subscription, Transport

_CLOSE_SECONDS = 6.0  # the port's five, and a little for a slow machine
_BILLING = Subscription("billing", "order.*")


class LifecycleContract(TransportHarness):
    """A transport comes, works and goes, alone or among others."""

    async def test_the_status_tells_what_works(self, transports: Transports) -> None:
        transport = transports.make()
        assert not transport.status().publishing
        await transport.open()
        await eventually(lambda: transport.status().publishing, "publishing")
        await transport.subscribe([_BILLING], Recorder())
        await eventually(lambda: transport.status().ready, "readiness")
        assert transport.status().detail == ""
        transport.changed.clear()
        await transport.close()
        assert not transport.status().publishing
        assert transport.changed.is_set()

    async def test_the_declared_features_are_those_of_the_transport(self, transports: Transports) -> None:
        assert transports.make().features == self.features

    async def test_the_address_is_stable_and_holds_no_password(self, transports: Transports) -> None:
        first, second = transports.make(), transports.make(client="another")
        assert first.address == second.address
        assert urlsplit(first.address).password is None

    async def test_closing_twice_or_unopened_is_harmless(self, transports: Transports) -> None:
        unopened = transports.make()
        await unopened.close()
        await unopened.close()
        transport = await transports.consume(Recorder(), _BILLING)
        await transport.close()
        await transport.close()
        await transport.stop_consuming()

    async def test_closing_in_the_middle_of_everything_ends_soon(self, transports: Transports) -> None:
        recorder = Recorder(keep)
        busy = await transports.consume(recorder, Subscription("billing", "order.*", prefetch=100))
        await publish(busy, messages("order.placed", 300))
        await recorder.until_count(100)
        calls = [asyncio.ensure_future(busy.publish(messages("order.placed", 10))) for _ in range(20)]
        async with asyncio.timeout(_CLOSE_SECONDS):
            await busy.close()
        async with asyncio.timeout(_CLOSE_SECONDS):
            outcomes = await asyncio.gather(*calls)
        assert all(len(outcome) == 10 for outcome in outcomes)

    async def test_what_was_confirmed_before_the_publisher_closed_arrives(self, transports: Transports) -> None:
        recorder = Recorder()
        await transports.consume(recorder, Subscription("billing", "order.*", prefetch=100))
        publishers = [await transports.open() for _ in range(4)]
        confirmed: list[str] = []

        async def publish_until_closed(transport: Transport, prefix: str) -> None:
            for batch in range(10):
                sent = messages("order.placed", 20, prefix=f"{prefix}-{batch}-")
                outcomes = await transport.publish(sent)
                confirmed.extend(one.id for one, o in zip(sent, outcomes, strict=True) if o is Outcome.CONFIRMED)
                if batch == 4:
                    await transport.close()

        await asyncio.gather(*(publish_until_closed(one, str(number)) for number, one in enumerate(publishers)))
        assert len(confirmed) >= 4 * 5 * 20
        await recorder.until(lambda: set(confirmed) <= set(recorder.ids()), "all that was confirmed")
        assert max(recorder.counts().values()) == 1

    async def test_publishing_on_a_closed_transport_confirms_nothing(self, transports: Transports) -> None:
        transport = await transports.open()
        await transport.close()
        assert Outcome.CONFIRMED not in await transport.publish(messages("order.placed", 1))

    async def test_consumers_come_and_go_and_nothing_is_lost(self, transports: Transports) -> None:
        publisher = await transports.open()
        await (await transports.consume(Recorder(), _BILLING)).close()
        acked: Counter[str] = Counter()
        sent: list[Message] = []
        for round_number in range(5):
            batch = messages("order.placed", 60, prefix=f"{round_number}-")
            sent += batch
            await publish(publisher, batch)
            recorder = Recorder(keep)
            consumer = await transports.consume(recorder, _BILLING)
            await recorder.until_count(20)
            for delivery in recorder.deliveries()[:15]:
                delivery.ack()
                acked[delivery.message.id] += 1
            await consumer.close()
        last = Recorder()
        await transports.consume(last, _BILLING)
        await last.until_count(len(sent) - acked.total())
        assert acked + last.counts() == dict.fromkeys(ids(sent), 1)

    async def test_many_open_and_close_at_once(self, transports: Transports) -> None:
        stays = Recorder()
        await transports.consume(stays, _BILLING)
        publisher = await transports.open()

        async def come_and_go() -> None:
            consumer = await transports.consume(Recorder(lambda delivery: delivery.release()), _BILLING)
            await consumer.close()

        await asyncio.gather(*(come_and_go() for _ in range(8)))
        sent = messages("order.placed", 50)
        await publish(publisher, sent)
        await stays.until_count(50)
        assert stays.counts() == dict.fromkeys(ids(sent), 1)

    async def test_a_new_consumer_gets_what_came_after_another_stopped(self, transports: Transports) -> None:
        first = Recorder()
        stopped = await transports.consume(first, _BILLING)
        await stopped.stop_consuming()
        sent = messages("order.placed", 20)
        await publish(await transports.open(), sent)
        recorder = Recorder()
        await transports.consume(recorder, _BILLING)
        await recorder.until_count(20)
        assert recorder.ids() == ids(sent)
        assert first.arrived == []

    async def test_one_transport_publishes_to_itself(self, transports: Transports) -> None:
        recorder = Recorder()
        transport = await transports.consume(recorder, _BILLING)
        await publish(transport, messages("order.placed", 100))
        await recorder.until_count(100)
        assert set(recorder.counts().values()) == {1}
