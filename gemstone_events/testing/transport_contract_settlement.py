"""Scenarios: acks, releases, redelivery and the bound on what is in flight."""

from collections.abc import Sequence

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
from gemstone_events.transport import Delivery, Subscription

_BILLING = Subscription("billing", "order.*")
_SHIPPING = Subscription("shipping", "order.*")


class SettlementContract(TransportHarness):
    """What is acked is gone, what is not comes again, and nobody else notices."""

    async def test_a_released_message_comes_again(self, transports: Transports) -> None:
        recorder = Recorder()

        def release_two_at_first(delivery: Delivery) -> None:
            if delivery.message.id in ("17", "63") and recorder.counts()[delivery.message.id] == 1:
                delivery.release()
            else:
                delivery.ack()

        recorder.settle = release_two_at_first
        await transports.consume(recorder, _BILLING)
        await publish(await transports.open(), messages("order.placed", 100))
        await recorder.until(lambda: recorder.counts()["17"] == recorder.counts()["63"] == 2, "both again")
        await recorder.until_count(102)
        assert recorder.counts() == {str(n): 2 if n in (17, 63) else 1 for n in range(100)}
        for id in ("17", "63"):
            first, second = (delivery for delivery in recorder.deliveries() if delivery.message.id == id)
            assert (first.redelivered, second.redelivered) == (False, True)

    async def test_a_release_disturbs_no_other_subscription(self, transports: Transports) -> None:
        recorder = Recorder(keep)
        await transports.consume(recorder, _BILLING, _SHIPPING)
        publisher = await transports.open()
        await publish(publisher, messages("order.placed", 1))
        await recorder.until_count(2)
        recorder.deliveries(_SHIPPING)[0].ack()
        recorder.deliveries(_BILLING)[0].release()
        await recorder.until_count(2, _BILLING)
        await publish(publisher, messages("order.placed", 1, prefix="end-"))
        await recorder.until_id("end-0", _SHIPPING)
        assert recorder.ids(_SHIPPING) == ["0", "end-0"]

    async def test_an_ack_counts_for_its_own_subscription_only(self, transports: Transports) -> None:
        self.need("redelivers")
        billing, shipping = Recorder(), Recorder(keep)
        await transports.open()  # it keeps the queues of transports that live in memory
        await transports.consume(billing, _BILLING)
        doomed = await transports.consume(shipping, _SHIPPING)
        await publish(await transports.open(), messages("order.placed", 10))
        await billing.until_count(10)
        await shipping.until_count(10)
        await doomed.close()
        again = Recorder()
        await transports.consume(again, _SHIPPING)
        await again.until_count(10)
        assert again.ids() == [str(number) for number in range(10)]
        assert set(billing.counts().values()) == {1}

    async def test_what_a_closed_consumer_had_in_hand_goes_to_the_others(self, transports: Transports) -> None:
        self.need("redelivers")
        first, second = Recorder(keep), Recorder()
        closing = await transports.consume(first, _BILLING)
        await publish(await transports.open(), messages("order.placed", 10))
        await first.until_count(10)
        for delivery in first.deliveries()[:4]:
            delivery.ack()
        await transports.consume(second, _BILLING)
        await closing.close()
        await second.until_count(6)
        assert second.ids() == [str(number) for number in range(4, 10)]
        assert all(delivery.redelivered for delivery in second.deliveries())

    async def test_acked_messages_are_gone(self, transports: Transports) -> None:
        recorder = Recorder()
        publisher = await transports.open()
        consumer = await transports.consume(recorder, _BILLING)
        await publish(publisher, messages("order.placed", 50))
        await recorder.until_count(50)
        await consumer.close()
        after = Recorder()
        await transports.consume(after, _BILLING)
        await publish(publisher, messages("order.placed", 1, prefix="end-"))
        await after.until_id("end-0")
        assert after.ids() == ["end-0"]

    async def test_no_more_than_the_prefetch_is_in_flight(self, transports: Transports) -> None:
        recorder = Recorder(keep)
        narrow = Subscription("billing", "order.*", prefetch=5)
        marker = Subscription("marker", "order.*", prefetch=100)
        await transports.consume(recorder, narrow, marker)
        await publish(await transports.open(), messages("order.placed", 30))
        await recorder.until_count(30, marker)
        await recorder.until_count(5, narrow)
        assert recorder.ids(narrow) == ["0", "1", "2", "3", "4"]
        for delivery in recorder.deliveries(narrow)[:3]:
            delivery.ack()
        await recorder.until_count(8, narrow)
        assert recorder.ids(narrow) == [str(number) for number in range(8)]

    async def test_with_a_prefetch_of_one_the_next_message_waits_for_the_ack(self, transports: Transports) -> None:
        in_flight = 0
        worst = 0
        recorder = Recorder()

        def count(_: Delivery) -> None:
            nonlocal in_flight, worst
            in_flight += 1
            worst = max(worst, in_flight)

        recorder.settle = count
        await transports.consume(recorder, Subscription("billing", "order.*", prefetch=1))
        await publish(await transports.open(), messages("order.placed", 20))
        for number in range(20):
            await recorder.until_count(number + 1)
            in_flight -= 1
            recorder.deliveries()[number].ack()
        assert recorder.ids() == [str(number) for number in range(20)]
        assert worst == 1

    async def test_settling_twice_counts_once(self, transports: Transports) -> None:
        recorder = Recorder(keep)
        narrow = Subscription("billing", "order.*", prefetch=2)
        publisher = await transports.open()
        consumer = await transports.consume(recorder, narrow)
        await publish(publisher, messages("order.placed", 6))
        await recorder.until_count(2)
        first = recorder.deliveries()[0]
        first.ack()
        first.ack()
        first.release()
        await recorder.until_count(3)
        await consumer.close()
        after = Recorder()
        await transports.consume(after, narrow)
        await after.until_count(5)
        assert after.ids() == ["1", "2", "3", "4", "5"]

    async def test_settling_after_close_does_nothing(self, transports: Transports) -> None:
        self.need("redelivers")
        recorder = Recorder(keep)
        publisher = await transports.open()
        consumer = await transports.consume(recorder, _BILLING)
        await publish(publisher, messages("order.placed", 2))
        await recorder.until_count(2)
        await consumer.close()
        recorder.deliveries()[0].ack()
        recorder.deliveries()[1].release()
        after = Recorder()
        await transports.consume(after, _BILLING)
        await after.until_count(2)
        assert after.ids() == ["0", "1"]

    async def test_messages_outlive_consumers_that_release_everything(self, transports: Transports) -> None:
        publisher = await transports.open()
        await (await transports.consume(Recorder(), _BILLING)).close()
        sent = messages("order.placed", 50)
        await publish(publisher, sent)
        for _ in range(3):
            failing = Recorder(lambda delivery: delivery.release())
            consumer = await transports.consume(failing, _BILLING)
            await failing.until_count(100)
            await consumer.close()
        recorder = Recorder()
        await transports.consume(recorder, _BILLING)
        await recorder.until_count(50)
        assert recorder.counts() == dict.fromkeys(ids(sent), 1)

    async def test_after_stop_consuming_what_is_in_hand_can_still_be_settled(self, transports: Transports) -> None:
        self.need("redelivers")
        recorder = Recorder(keep)
        publisher = await transports.open()
        consumer = await transports.consume(recorder, Subscription("billing", "order.*", prefetch=10))
        await publish(publisher, messages("order.placed", 20))
        await recorder.until_count(10)
        await consumer.stop_consuming()
        held = len(recorder.arrived)
        for delivery in recorder.deliveries()[:6]:
            delivery.ack()
        await publish(publisher, messages("order.placed", 1, prefix="later-"))
        await consumer.close()
        assert len(recorder.arrived) == held
        after = Recorder()
        await transports.consume(after, _BILLING)
        await after.until_count(15)
        assert after.counts() == dict.fromkeys([*(str(number) for number in range(6, 20)), "later-0"], 1)

    async def test_a_slow_subscription_holds_back_no_other(self, transports: Transports) -> None:
        slow, fast = Recorder(keep), Recorder()

        def receive(subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
            (slow if subscription == _BILLING else fast)(subscription, deliveries)

        await (await transports.open()).subscribe([_BILLING, _SHIPPING], receive)
        await publish(await transports.open(), messages("order.placed", 200))
        await fast.until_count(200)
        await eventually(lambda: len(slow.arrived) == _BILLING.prefetch, "the slow one's prefetch")
