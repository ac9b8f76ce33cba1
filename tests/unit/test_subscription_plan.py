"""Which handlers take what."""

from gemstone_events.store.port import InboxKey, Retry
from tests.unit.subscription_fake import FakeDelivery, handler_of, message_of, plan_of

FIRST, SECOND = handler_of(name="Part.first"), handler_of(name="Part.second")


def test_every_handler_has_a_turn_of_its_own_at_a_delivery() -> None:
    delivery = FakeDelivery(message_of("e"), redelivered=True)
    turns = plan_of([FIRST, SECOND]).first_turns("e", delivery)
    assert [(turn.key.consumer, turn.handler) for turn in turns] == [
        ("group:a:Part.first", FIRST),
        ("group:a:Part.second", SECOND),
    ]
    assert all(turn.key.event_id == "e" and turn.redelivered and not turn.failures for turn in turns)


def test_a_retry_goes_to_the_handler_that_it_names() -> None:
    plan = plan_of([FIRST, SECOND])
    assert plan.consumers == ["group:a:Part.first", "group:a:Part.second"]
    for consumer, handler in zip(plan.consumers, plan.handlers, strict=True):
        turn = plan.next_turn(Retry(InboxKey(consumer, "e"), message_of("e"), 3, 0.0, "why"))
        assert (turn.handler, turn.failures, turn.error, turn.redelivered) == (handler, 3, "why", False)


def test_a_retry_of_work_goes_to_the_handler_that_took_it_first() -> None:
    plan = plan_of([FIRST, SECOND], work_queue=True)
    assert plan.consumers == ["work:a"]
    takers = set()
    for number in range(50):
        (turn,) = plan.first_turns(str(number), FakeDelivery(message_of(str(number))))
        assert plan.next_turn(Retry(turn.key, turn.message, 1, 0.0)).handler is turn.handler
        takers.add(turn.handler.name)
    assert takers == {"Part.first", "Part.second"}
