"""Which deliveries are acked, and when."""

import pytest

from gemstone_events.store.port import InboxKey
from gemstone_events.subscribing.open_deliveries import OpenDeliveries
from tests.unit.subscription_fake import FakeDelivery, message_of

FIRST, SECOND = InboxKey("first", "e"), InboxKey("second", "e")


@pytest.fixture
def delivery() -> FakeDelivery:
    return FakeDelivery(message_of("e"))


def open_with(delivery: FakeDelivery, *, hold_until_final: bool = False) -> OpenDeliveries:
    deliveries = OpenDeliveries(hold_until_final=hold_until_final)
    deliveries.add("e", delivery, [FIRST, SECOND])
    return deliveries


def test_a_delivery_is_acked_with_the_last_of_its_outcomes_and_once(delivery: FakeDelivery) -> None:
    deliveries = open_with(delivery)
    deliveries.settle(FIRST)
    deliveries.settle(FIRST)
    assert delivery.settled == []
    deliveries.settle(SECOND)
    deliveries.settle(SECOND)
    assert delivery.settled == ["ack"]
    assert len(deliveries) == 0


def test_a_message_that_comes_again_waits_with_the_first(delivery: FakeDelivery) -> None:
    deliveries, again, other = open_with(delivery), FakeDelivery(message_of("e")), FakeDelivery(message_of("other"))
    assert deliveries.join("e", again)
    assert not deliveries.join("other", other)
    deliveries.settle(FIRST)
    deliveries.settle(SECOND)
    assert delivery.settled == again.settled == ["ack"]
    assert not deliveries.join("e", again), "what comes after the ack is a delivery of its own"


def test_an_attempt_to_come_settles(delivery: FakeDelivery) -> None:
    deliveries = open_with(delivery)
    deliveries.settle_for_now(FIRST)
    deliveries.settle_for_now(SECOND)
    assert delivery.settled == ["ack"]
    assert deliveries.held() == []


def test_an_attempt_to_come_holds_the_delivery_where_only_what_is_final_settles(delivery: FakeDelivery) -> None:
    deliveries = open_with(delivery, hold_until_final=True)
    deliveries.settle(FIRST)
    deliveries.settle_for_now(SECOND)
    assert delivery.settled == []
    assert deliveries.held() == [SECOND]
    deliveries.settle(SECOND)
    assert delivery.settled == ["ack"]
    assert deliveries.held() == []


def test_nothing_is_held_that_no_delivery_waits_for(delivery: FakeDelivery) -> None:
    deliveries = open_with(delivery, hold_until_final=True)
    deliveries.settle_for_now(InboxKey("first", "redriven, and delivered long ago"))
    deliveries.settle_for_now(FIRST)
    deliveries.settle(FIRST)
    assert deliveries.held() == []


def test_what_is_released_is_not_acked_afterwards(delivery: FakeDelivery) -> None:
    deliveries, again = open_with(delivery), FakeDelivery(message_of("e"))
    deliveries.join("e", again)
    deliveries.release()
    deliveries.release()
    deliveries.settle(FIRST)
    deliveries.settle(SECOND)
    assert delivery.settled == again.settled == ["release"]
    assert len(deliveries) == 0
