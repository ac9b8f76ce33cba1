"""From a verdict to what the store holds, the log says and the deliveries are told."""

import asyncio
import logging

import pytest

from gemstone_events.errors import StoreError
from gemstone_events.retry import RetryPolicy
from gemstone_events.store.memory import MemoryStore
from gemstone_events.store.port import Changes
from gemstone_events.subscribing.attempt import Attempt, Kind, Verdict, buried, failed
from gemstone_events.subscribing.open_deliveries import OpenDeliveries
from gemstone_events.subscribing.outcomes import Outcomes
from gemstone_events.subscribing.patient_store import PatientStore
from tests.unit.subscription_fake import FakeDelivery, turn_of

LOGGER = logging.getLogger("tests")


class Desk:
    """A delivery that waits for the outcome of one attempt, and all that the outcome is told to."""

    def __init__(self, store: MemoryStore, *, hold_until_final: bool = False, attempts: int = 5) -> None:
        self.store = store
        self.turn: Attempt = turn_of("e")
        self.delivery = FakeDelivery(self.turn.message)
        self.waiting = OpenDeliveries(hold_until_final=hold_until_final)
        self.waiting.add("e", self.delivery, [self.turn.key])
        self.retry = RetryPolicy(attempts=attempts)
        self.retry_scheduled = asyncio.Event()
        patient = PatientStore(store, LOGGER)
        self.outcomes = Outcomes(patient, self.waiting, self.retry, self.retry_scheduled, LOGGER)

    async def write(self, verdict: Verdict) -> None:
        """Write a verdict on the attempt."""
        await self.outcomes.write(self.turn, verdict)

    def handled(self) -> Verdict:
        """Return the verdict on an attempt that went well."""
        return Verdict(Kind.HANDLED, Changes(handled=[self.turn.key]))

    def failed(self) -> Verdict:
        """Return the verdict on an attempt that failed."""
        return failed(self.turn, ValueError("not today"), self.retry)


@pytest.fixture
async def store() -> MemoryStore:
    made = MemoryStore()
    await made.open()
    return made


async def test_what_is_handled_is_marked_and_then_acked(store: MemoryStore) -> None:
    desk = Desk(store)
    await desk.write(desk.handled())
    assert await store.find_settled([desk.turn.key], final=True) == {desk.turn.key}
    assert desk.delivery.settled == ["ack"]
    assert not desk.retry_scheduled.is_set()


async def test_a_verdict_that_is_written_again_changes_nothing(store: MemoryStore) -> None:
    desk = Desk(store)
    await desk.write(desk.handled())
    await desk.write(desk.handled())
    await desk.write(desk.failed())
    assert await store.find_settled([desk.turn.key], final=True) == {desk.turn.key}
    assert await store.seconds_to_next_retry([desk.turn.key.consumer]) is None
    assert desk.delivery.settled == ["ack"]


async def test_a_failure_is_told_with_its_last_line_and_waits_for_its_next_attempt(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(store)
    await desk.write(desk.failed())
    assert await store.seconds_to_next_retry([desk.turn.key.consumer]) is not None
    assert desk.retry_scheduled.is_set()
    assert desk.delivery.settled == ["ack"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Part.handle failed on event e (attempt 1 of 5, next in " in record.getMessage()
    assert record.getMessage().endswith("ValueError: not today")


async def test_a_failure_is_not_acked_where_only_what_is_final_is(store: MemoryStore) -> None:
    desk = Desk(store, hold_until_final=True)
    await desk.write(desk.failed())
    assert desk.delivery.settled == []
    assert desk.waiting.held() == [desk.turn.key]
    await desk.write(desk.handled())
    assert desk.delivery.settled == ["ack"]


@pytest.mark.parametrize("hold_until_final", [True, False])
async def test_a_dead_letter_is_final_and_told_with_all_that_is_known(
    store: MemoryStore, caplog: pytest.LogCaptureFixture, hold_until_final: bool
) -> None:
    desk = Desk(store, hold_until_final=hold_until_final)
    await desk.write(buried(desk.turn, "fatal", "one line\nand another"))
    (letter,) = await store.list_dead_letters()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    for part in ("Part.handle", "(fatal)", f"gemstone dead-letters show {letter.id}", "one line\nand another"):
        assert part in record.getMessage()
    assert desk.delivery.settled == ["ack"]


class Choosy(MemoryStore):
    """A store that takes no inbox marks."""

    async def commit(self, changes: Changes) -> None:
        """Refuse marks for their own sake."""
        if changes.handled:
            raise StoreError("no such table: orders")
        await super().commit(changes)


async def test_changes_that_the_store_refuses_are_a_failure_of_the_handler() -> None:
    store = Choosy()
    await store.open()
    desk = Desk(store, attempts=1)
    await desk.write(desk.handled())
    (letter,) = await store.list_dead_letters()
    assert letter.reason == "exhausted"
    assert "no such table" in letter.error
    assert desk.delivery.settled == ["ack"]
