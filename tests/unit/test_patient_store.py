"""A store that cannot be used is asked again."""

import asyncio
import logging

import pytest

from gemstone_events.errors import (
    AlreadyHandledError,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnavailableError,
)
from gemstone_events.store.memory import MemoryStore
from gemstone_events.store.port import Changes, InboxKey
from gemstone_events.subscribing.patient_store import PatientStore

DEADLINE = 10.0
KEY = InboxKey("c", "1")
HANDLED = Changes(handled=[KEY])
LOGGER = logging.getLogger("tests")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not sit out the pauses that spare a store."""
    monkeypatch.setattr("gemstone_events.subscribing.patient_store.MAX_BACKOFF_SECONDS", 0.001)


class TroubledStore(MemoryStore):
    """A store that cannot be written while ``trouble`` is set.

    Attributes:
        refused: how many commits failed.
    """

    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self.trouble: Exception | None = trouble
        self.refused = 0
        self.refusal = asyncio.Event()

    async def commit(self, changes: Changes) -> None:
        """Fail, or do as usual."""
        if self.trouble is not None:
            self.refused += 1
            self.refusal.set()
            raise self.trouble
        await super().commit(changes)

    @classmethod
    async def opened(cls, trouble: Exception) -> "TroubledStore":
        """Return one that can be read."""
        store = cls(trouble)
        await store.open()
        return store

    async def refused_again(self) -> None:
        """Return when one more commit has failed."""
        self.refusal.clear()
        await asyncio.wait_for(self.refusal.wait(), DEADLINE)


@pytest.mark.parametrize("kind", [StoreUnavailableError, StoreFullError, StoreRefusedError])
async def test_what_cannot_be_written_now_is_written_when_it_can_be(kind: type[StoreError]) -> None:
    store = await TroubledStore.opened(kind("not now"))
    patient = PatientStore(store, LOGGER)
    committing = asyncio.create_task(patient.commit(HANDLED))
    for _ in range(3):
        await store.refused_again()
    assert patient.trouble == "events wait: not now"
    store.trouble = None
    await asyncio.wait_for(committing, DEADLINE)
    assert await patient.find_settled([KEY]) == {KEY}
    assert patient.trouble == ""


@pytest.mark.parametrize("error", [AlreadyHandledError("known"), StoreError("too big")])
async def test_what_is_refused_for_its_own_sake_is_raised_at_once(error: StoreError) -> None:
    store = await TroubledStore.opened(error)
    with pytest.raises(type(error)):
        await PatientStore(store, LOGGER).commit(HANDLED)
    assert store.refused == 1


async def test_trouble_is_told_once_and_lasts_until_nobody_waits_any_more(caplog: pytest.LogCaptureFixture) -> None:
    store = await TroubledStore.opened(StoreFullError("the disk is full"))
    patient = PatientStore(store, LOGGER)
    committing = [asyncio.create_task(patient.commit(HANDLED)) for _ in range(3)]
    await store.refused_again()
    await patient.find_settled([KEY])
    assert patient.trouble == "events wait: the disk is full", "a full disk can be read all the while"
    committing.pop().cancel()
    await store.refused_again()
    assert patient.trouble
    for task in committing:
        task.cancel()
    await asyncio.wait(committing, timeout=DEADLINE)
    assert patient.trouble == ""
    assert sum("events wait" in record.getMessage() for record in caplog.records) == 1


async def test_nothing_to_look_up_asks_nobody() -> None:
    class Unasked(MemoryStore):
        async def find_settled(self, *_: object, **__: object) -> set[InboxKey]:
            raise AssertionError("asked")

    assert await PatientStore(Unasked(), LOGGER).find_settled([]) == set()
