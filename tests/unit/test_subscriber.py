"""From a delivery to its outcome, with a store in memory."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gemstone_events.execution import Threads
from gemstone_events.retry import RetryPolicy
from gemstone_events.store.memory import MemoryStore
from gemstone_events.store.port import Changes, InboxKey
from gemstone_events.subscribing.attempt import Workplace
from gemstone_events.subscribing.subscriber import Subscriber
from tests.unit.subscription_fake import FakeDelivery, handler_of, message_of, plan_of
from tests.waiting import until

CONSUMER = "group:a:Part.handle"


class DurableStore(MemoryStore):
    """A store that takes a moment to write, as one on a disk does."""

    durable = True

    async def commit(self, changes: Changes) -> None:
        """Give way to other tasks before and after."""
        await asyncio.sleep(0)
        await super().commit(changes)
        await asyncio.sleep(0)


@pytest.fixture
async def store() -> DurableStore:
    made = DurableStore()
    await made.open()
    return made


Make = Callable[..., Subscriber]


@pytest.fixture
async def subscriber_of(store: DurableStore) -> AsyncIterator[Make]:
    made = []

    def make(function: Callable[[object], Awaitable[None]], *, concurrency: int = 10, attempts: int = 1) -> Subscriber:
        plan = plan_of([handler_of(function)], concurrency=concurrency, retry=RetryPolicy(attempts=attempts))
        workplace = Workplace(store, Threads(1, "tests"), 1024)
        made.append(Subscriber(plan, workplace, asyncio.Event(), logging.getLogger("tests")))
        return made[-1]

    yield make
    for subscriber in made:
        await subscriber.stop(0.0)


async def test_an_event_that_comes_again_while_it_is_handled_is_handled_once(subscriber_of: Make) -> None:
    bodies, release = [], asyncio.Event()

    async def handle(body: object) -> None:
        bodies.append(body)
        await release.wait()

    subscriber = subscriber_of(handle)
    deliveries = [FakeDelivery(message_of("e")) for _ in range(3)]
    subscriber.receive(deliveries[:2])
    await until(lambda: bodies)
    subscriber.receive(deliveries[2:])
    await asyncio.sleep(0)
    assert [delivery.settled for delivery in deliveries] == [[], [], []]
    release.set()
    await until(lambda: deliveries[2].settled)
    assert [delivery.settled for delivery in deliveries] == [["ack"]] * 3
    assert bodies == [1]


async def test_what_was_delivered_before_has_its_attempts_counted(subscriber_of: Make, store: DurableStore) -> None:
    async def handle(body: object) -> None:
        raise AssertionError("only the retrier brings it")

    delivery = FakeDelivery(message_of("e"), redelivered=True)
    subscriber_of(handle).receive([delivery])
    await until(lambda: delivery.settled)
    assert delivery.settled == ["ack"]
    (retry,) = await store.claim_retries([CONSUMER], "tests", 10.0, 10)
    assert (retry.key, retry.attempts) == (InboxKey(CONSUMER, "e"), 0)


async def test_what_has_not_begun_when_it_stops_is_given_back(subscriber_of: Make) -> None:
    began = []

    async def handle(body: object) -> None:
        began.append(body)
        await asyncio.Event().wait()

    subscriber = subscriber_of(handle, concurrency=1)
    deliveries = [FakeDelivery(message_of(str(number))) for number in range(3)]
    subscriber.receive(deliveries)
    await until(lambda: began)
    await subscriber.stop(0.0)
    subscriber.receive([late := FakeDelivery(message_of("late"))])
    assert [delivery.settled for delivery in (*deliveries, late)] == [["release"]] * 4
    assert began == [1]


def cancel_at_once() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def cancel_soon() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)


@pytest.mark.parametrize("cancel", [cancel_at_once, cancel_soon])
async def test_a_cancellation_that_a_handler_leaves_behind_keeps_no_outcome_from_being_written(
    subscriber_of: Make, store: DurableStore, cancel: Callable[[], None]
) -> None:
    async def handle(body: object) -> None:
        cancel()

    delivery = FakeDelivery(message_of("e"))
    subscriber_of(handle).receive([delivery])
    await until(lambda: delivery.settled)
    assert delivery.settled == ["ack"]
    key = InboxKey(CONSUMER, "e")
    assert await store.find_settled([key], final=True) == {key}
    assert await store.list_dead_letters() == []


async def test_a_handler_that_cancels_its_own_task_has_failed(subscriber_of: Make, store: DurableStore) -> None:
    async def handle(body: object) -> None:
        cancel_at_once()
        await asyncio.sleep(0)

    delivery = FakeDelivery(message_of("e"))
    subscriber_of(handle).receive([delivery])
    await until(lambda: delivery.settled)
    (letter,) = await store.list_dead_letters()
    assert "cancelled its own task" in letter.error
