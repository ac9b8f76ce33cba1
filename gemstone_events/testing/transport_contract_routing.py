"""Scenarios: which messages reach which subscriptions, whole and in order."""

import asyncio
import random

import pytest

from gemstone_events.message import Message
from gemstone_events.names import matches
from gemstone_events.testing.transport_contract_harness import (
    Recorder,
    TransportHarness,
    Transports,
    eventually,
    ids,
    keep,
    message,
    messages,
    publish,
)
from gemstone_events.transport import Outcome, Subscription

_WORDS = ("order", "placed", "eu", "v1")


def _random_pattern(source: random.Random) -> str:
    return ".".join(source.choice((*_WORDS, "*", "#")) for _ in range(source.randint(1, 4)))


def _random_name(source: random.Random) -> str:
    return ".".join(source.choice(_WORDS) for _ in range(source.randint(1, 4)))


def _name_for(pattern: str) -> str:
    """Return a name that the pattern matches and that no random name equals."""
    return ".".join("sentinel" if word in "*#" else word for word in pattern.split("."))


class RoutingContract(TransportHarness):
    """Broadcast, work queues, groups and patterns."""

    async def test_every_message_arrives_whole_and_once(self, transports: Transports) -> None:
        recorder = Recorder()
        await transports.consume(recorder, Subscription("billing", "order.placed"))
        publisher = await transports.open()
        sent = [message("order.placed", str(number), body=f'{{"number":{number}}}'.encode()) for number in range(100)]
        await publish(publisher, sent)
        await recorder.until_count(100)
        assert [(d.message.attributes, d.message.body, d.message.broadcast) for d in recorder.deliveries()] == [
            (one.attributes, one.body, True) for one in sent
        ]

    async def test_outcomes_come_in_the_order_of_the_messages(self, transports: Transports) -> None:
        publisher = await transports.open()
        mixed = [*messages("order.placed", 5), *messages("order.print", 5, broadcast=False)]
        assert list(await publisher.publish(mixed)) == [Outcome.CONFIRMED] * 10
        assert list(await publisher.publish([])) == []

    async def test_attributes_come_back_as_they_were(self, transports: Transports) -> None:
        recorder = Recorder()
        await transports.consume(recorder, Subscription("billing", "order.placed"))
        extra = {
            "subject": "order-ü-\U0001f600-\N{SNOWMAN}",
            "partitionkey": "x" * 8000,
            "correlationid": "quotes \" ' and % and \\ and\ttab",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "tenant": "0042",
        }
        sent = Message({**message("order.placed", "1").attributes, **extra}, b"{}")
        await publish(await transports.open(), [sent])
        await recorder.until_count(1)
        assert dict(recorder.deliveries()[0].message.attributes) == dict(sent.attributes)

    @pytest.mark.parametrize(
        "body",
        [b"", b"1", b'{"a":"\xc3\xbc"}', b"\x00\xff no JSON", b"x" * 128 * 1024, b"y" * 1024 * 1024],
        ids=["empty", "one byte", "unicode", "no JSON", "128 KiB", "1 MiB"],
    )
    async def test_bodies_come_back_byte_for_byte(self, transports: Transports, body: bytes) -> None:
        recorder = Recorder()
        await transports.consume(recorder, Subscription("billing", "order.placed"))
        await publish(await transports.open(), [message("order.placed", "1", body=body)])
        await recorder.until_count(1)
        assert recorder.deliveries()[0].message.body == body

    async def test_every_group_gets_a_copy_of_a_broadcast_event(self, transports: Transports) -> None:
        groups = [Subscription(group, "order.placed") for group in ("billing", "shipping", "mail")]
        recorders = [Recorder() for _ in groups]
        for recorder, subscription in zip(recorders, groups, strict=True):
            await transports.consume(recorder, subscription)
        sent = messages("order.placed", 50)
        await publish(await transports.open(), sent)
        for recorder in recorders:
            await recorder.until_count(50)
            assert recorder.ids() == ids(sent)

    async def test_copies_do_not_share_what_a_subscriber_changes(self, transports: Transports) -> None:
        recorder = Recorder()
        subscriptions = [Subscription("billing", "order.placed"), Subscription("shipping", "order.placed")]
        await transports.consume(recorder, *subscriptions)
        await publish(await transports.open(), [message("order.placed", "1")])
        await recorder.until_count(2)
        first, second = recorder.deliveries()
        assert first.message.attributes is not second.message.attributes

    async def test_the_consumers_of_a_group_compete_and_nothing_comes_twice(self, transports: Transports) -> None:
        recorder = Recorder()
        for _ in range(4):
            await transports.consume(recorder, Subscription("billing", "order.placed", prefetch=5))
        publishers = [await transports.open() for _ in range(2)]
        batches = [messages("order.placed", 50, prefix=f"{batch}-") for batch in range(20)]
        await asyncio.gather(*(publish(publishers[n % 2], batch) for n, batch in enumerate(batches)))
        await recorder.until_count(1000)
        assert recorder.counts() == {one.id: 1 for batch in batches for one in batch}

    async def test_each_consumer_of_a_group_gets_a_part(self, transports: Transports) -> None:
        first, second = Recorder(keep), Recorder(keep)
        for recorder in (first, second):
            await transports.consume(recorder, Subscription("billing", "order.placed", prefetch=10))
        await publish(await transports.open(), messages("order.placed", 15))
        await first.until_count(5)
        await second.until_count(5)
        await eventually(lambda: len(first.arrived) + len(second.arrived) == 15, "all 15")
        assert sorted([*first.ids(), *second.ids()], key=int) == [str(number) for number in range(15)]

    async def test_a_single_consumer_gets_messages_in_their_order(self, transports: Transports) -> None:
        recorder = Recorder()
        await transports.consume(recorder, Subscription("billing", "order.placed", prefetch=7))
        publisher = await transports.open()
        sent = messages("order.placed", 500)
        for start in range(0, 500, 33):
            await publish(publisher, sent[start : start + 33])
        await recorder.until_count(500)
        assert recorder.ids() == ids(sent)

    async def test_events_of_many_names_do_not_mix(self, transports: Transports) -> None:
        recorder = Recorder()
        names = [f"order.kind-{number}" for number in range(20)]
        await transports.consume(recorder, *(Subscription("billing", name) for name in names))
        publisher = await transports.open()
        sent = {name: messages(name, 50, prefix=f"{name}-") for name in names}
        await asyncio.gather(*(publish(publisher, batch) for batch in sent.values()))
        await recorder.until_count(1000)
        for name in names:
            assert recorder.ids(Subscription("billing", name)) == ids(sent[name])

    async def test_publish_calls_may_overlap(self, transports: Transports) -> None:
        recorder = Recorder()
        await transports.consume(recorder, Subscription("billing", "order.placed", prefetch=100))
        publisher = await transports.open()
        batches = [messages("order.placed", 10, prefix=f"{batch}-") for batch in range(50)]
        outcomes = await asyncio.gather(*(publisher.publish(batch) for batch in batches))
        assert [list(outcome) for outcome in outcomes] == [[Outcome.CONFIRMED] * 10] * 50
        await recorder.until_count(500)
        assert set(recorder.counts().values()) == {1}

    async def test_patterns_match_as_the_framework_matches_them(self, transports: Transports) -> None:
        source = random.Random(20)
        patterns = sorted({_random_pattern(source) for _ in range(60)})
        names = sorted({_random_name(source) for _ in range(40)})
        recorder = Recorder()
        subscriptions = [Subscription(f"group-{n}", pattern, prefetch=100) for n, pattern in enumerate(patterns)]
        await transports.consume(recorder, *subscriptions)
        publisher = await transports.open()
        await publish(publisher, [message(name, name) for name in names])
        await publish(publisher, [message(name, f"end {name}") for name in sorted(set(map(_name_for, patterns)))])
        for subscription in subscriptions:
            # A sentinel is behind all that its queue got, so that nothing more can come.
            await recorder.until_id(f"end {_name_for(subscription.pattern)}", subscription)
            arrived = [id for id in recorder.ids(subscription) if not id.startswith("end ")]
            assert arrived == [name for name in names if matches(subscription.pattern, name)], subscription.pattern

    async def test_a_publisher_reaches_subscriptions_that_it_never_declared(self, transports: Transports) -> None:
        publisher = await transports.open()
        await publish(publisher, messages("order.placed", 1, prefix="dropped-"))
        recorder = Recorder()
        await transports.consume(recorder, Subscription("billing", "order.*"))
        await publish(publisher, messages("order.placed", 3))
        await recorder.until_count(3)
        assert recorder.ids() == ["0", "1", "2"]

    async def test_an_event_that_nobody_subscribes_to_is_confirmed_and_dropped(self, transports: Transports) -> None:
        publisher = await transports.open()
        assert list(await publisher.publish(messages("order.placed", 1))) == [Outcome.CONFIRMED]

    async def test_work_waits_for_its_first_consumer(self, transports: Transports) -> None:
        self.need("work_queues")
        publisher = await transports.open()
        sent = messages("order.print", 10, broadcast=False)
        await publish(publisher, sent)
        recorder = Recorder()
        await transports.consume(recorder, Subscription("billing", "order.print", work_queue=True))
        await recorder.until_count(10)
        assert recorder.ids() == ids(sent)
        assert not any(delivery.message.broadcast for delivery in recorder.deliveries())

    async def test_one_consumer_in_all_gets_a_piece_of_work(self, transports: Transports) -> None:
        self.need("work_queues")
        recorder = Recorder()
        for group in ("billing", "shipping", "mail"):
            await transports.consume(recorder, Subscription(group, "order.print", work_queue=True, prefetch=5))
        publisher = await transports.open()
        for start in range(10):
            await publish(publisher, messages("order.print", 30, broadcast=False, prefix=f"{start}-"))
        await recorder.until_count(300)
        assert len(recorder.counts()) == 300
        assert set(recorder.counts().values()) == {1}

    async def test_work_and_broadcast_of_one_name_do_not_mix(self, transports: Transports) -> None:
        self.need("work_queues")
        recorder = Recorder()
        broadcast, work = Subscription("billing", "order.#"), Subscription("billing", "order.print", work_queue=True)
        await transports.consume(recorder, broadcast, work)
        publisher = await transports.open()
        await publish(publisher, messages("order.print", 5, prefix="event-"))
        await publish(publisher, messages("order.print", 5, broadcast=False, prefix="work-"))
        await recorder.until_count(10)
        assert set(recorder.ids(broadcast)) == {f"event-{n}" for n in range(5)}
        assert set(recorder.ids(work)) == {f"work-{n}" for n in range(5)}

    async def test_every_instance_gets_its_own_copy(self, transports: Transports) -> None:
        recorders = [Recorder() for _ in range(3)]
        for number, recorder in enumerate(recorders):
            await transports.consume(recorder, Subscription(f"cache-{number}", "prices.*", per_instance=True))
        await publish(await transports.open(), messages("prices.changed", 10))
        for recorder in recorders:
            await recorder.until_count(10)
            assert recorder.ids() == [str(number) for number in range(10)]

    async def test_the_queue_of_an_instance_goes_with_it(self, transports: Transports) -> None:
        subscription = Subscription("cache-1", "prices.*", per_instance=True)
        first = await transports.consume(Recorder(), subscription)
        await first.close()
        publisher = await transports.open()
        await publish(publisher, messages("prices.changed", 5, prefix="missed-"))
        recorder = Recorder()
        await transports.consume(recorder, subscription)
        await publish(publisher, messages("prices.changed", 1))
        await recorder.until_id("0")
        assert recorder.ids() == ["0"]

    async def test_a_group_keeps_its_events_while_it_is_away(self, transports: Transports) -> None:
        subscription = Subscription("billing", "order.*")
        publisher = await transports.open()
        consumer = await transports.consume(Recorder(), subscription)
        await consumer.close()
        sent = messages("order.placed", 20)
        await publish(publisher, sent)
        recorder = Recorder()
        await transports.consume(recorder, subscription)
        await recorder.until_count(20)
        assert recorder.ids() == ids(sent)

    async def test_namespaces_do_not_hear_each_other(self, transports: Transports, contract_namespace: str) -> None:
        here, there = Recorder(), Recorder()
        subscription = Subscription("billing", "#")
        await transports.consume(here, subscription)
        other = await transports.open(namespace=f"{contract_namespace}-other")
        await other.subscribe([subscription], there)
        await publish(await transports.open(), messages("order.placed", 3, prefix="here-"))
        await publish(other, messages("order.placed", 3, prefix="there-"))
        await here.until_count(3)
        await there.until_count(3)
        assert here.ids() == ["here-0", "here-1", "here-2"]
        assert there.ids() == ["there-0", "there-1", "there-2"]

    async def test_many_subscriptions_of_one_transport_are_all_served(self, transports: Transports) -> None:
        subscriptions = [Subscription(f"group-{number}", "order.*", prefetch=5) for number in range(100)]
        recorder = Recorder()
        await transports.consume(recorder, *subscriptions)
        await publish(await transports.open(), messages("order.placed", 12))
        await recorder.until_count(1200)
        for subscription in subscriptions:
            assert recorder.ids(subscription) == [str(number) for number in range(12)]
