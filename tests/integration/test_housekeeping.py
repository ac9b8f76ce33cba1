"""What waits for a handler that is no more is made visible, and nothing is taken from those who are only away."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from gemstone_events import EVERY_INSTANCE, MicroService, RetryPolicy, event_handler
from gemstone_events.adapters import make_store
from gemstone_events.cli.check_store import check_store
from gemstone_events.cli.findings import Level
from gemstone_events.event import new_id
from gemstone_events.housekeeping import Housekeeping
from gemstone_events.message import Message
from gemstone_events.store.port import Changes, DeadLetter, EventStore, InboxKey, Retry

LONG = 3600.0
GONE = InboxKey("billing:order.placed:Billing.old_name", "1")
OWN = InboxKey("billing:order.placed:Billing.charge", "1")


def retry(key: InboxKey, *, attempts: int = 1, delay: float = 0.0, error: str = "") -> Retry:
    """Return a retry of a message that has the key's event id."""
    return Retry(key, Message({"id": key.event_id, "type": "order.placed"}, b"{}"), attempts, delay, error)


async def until(condition: Callable[[], Awaitable[object]], deadline: float = 10.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + deadline
    while not await condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.005)


@pytest.fixture(params=["memory:", "sqlite:///{}/store.db"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    """Give out an open store."""
    store = make_store(request.param.format(tmp_path))
    await store.open()
    yield store
    await store.close()


class Rounds:
    """Housekeeping that runs, and the number of its rounds."""

    def __init__(self, store: EventStore, consumers: Sequence[str], orphaned_after: float) -> None:
        self.count = 0
        self._forget = store.forget_handled
        store.forget_handled = self._counted  # type: ignore[method-assign]
        keeping = Housekeeping(
            store, consumers, LONG, logging.getLogger("test"), period=0.001, orphaned_after=orphaned_after
        )
        self._task = asyncio.create_task(keeping.run())

    async def _counted(self, older_than: float, limit: int = 10_000) -> int:
        self.count += 1
        return await self._forget(older_than, limit)

    async def more(self, count: int) -> None:
        """Return after so many more rounds."""
        wanted = self.count + count

        async def enough() -> bool:
            return self.count > wanted

        await until(enough)

    async def end(self) -> None:
        """Stop."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_a_retry_that_nobody_takes_becomes_a_dead_letter_that_says_why(store: EventStore) -> None:
    await store.commit(Changes(retries=[retry(GONE, attempts=2, delay=-LONG, error="Traceback\nValueError: no")]))
    rounds = Rounds(store, [OWN.consumer], 0.01)
    await until(store.list_dead_letters)
    await rounds.end()
    (dead,) = await store.list_dead_letters()
    assert (dead.key, dead.reason, dead.attempts) == (GONE, "orphaned", 2)
    assert "ValueError: no" in dead.error
    assert "renamed or removed" in dead.error.splitlines()[-1]
    assert await store.seconds_to_next_retry([GONE.consumer]) is None


async def test_more_orphans_than_are_buried_at_once_are_buried(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [InboxKey(GONE.consumer, str(number)) for number in range(250)]
    await store.commit(Changes(retries=[retry(key, delay=-LONG) for key in keys]))
    rounds = Rounds(store, [], 0.01)

    async def all_dead() -> bool:
        return len(await store.list_dead_letters(1000)) == 250

    await until(all_dead)
    await rounds.more(1)
    await rounds.end()
    assert [r.getMessage() for r in caplog.records if "nobody runs" in r.getMessage()] == [
        f"250 events waited for {GONE.consumer}, which nobody runs any more: see 'gemstone dead-letters list'"
    ]


async def test_a_redriven_letter_that_nobody_takes_is_a_dead_letter_again(store: EventStore) -> None:
    first = DeadLetter(new_id(), GONE, retry(GONE).message, "exhausted", "it broke", 5)
    await store.commit(Changes(dead_letters=[first]))
    assert await store.redrive([first.id]) == 1
    rounds = Rounds(store, [OWN.consumer], 0.05)
    await until(store.list_dead_letters)
    await rounds.end()
    assert [(dead.key, dead.reason) for dead in await store.list_dead_letters()] == [(GONE, "orphaned")]


async def test_nothing_is_taken_from_a_consumer_of_ones_own_however_long_it_waits(store: EventStore) -> None:
    await store.commit(Changes(retries=[retry(OWN, delay=-LONG), retry(GONE, delay=-LONG)]))
    rounds = Rounds(store, [OWN.consumer], 0.01)
    await until(store.list_dead_letters)
    await rounds.more(2)
    await rounds.end()
    assert [dead.key for dead in await store.list_dead_letters()] == [GONE]
    assert await store.seconds_to_next_retry([OWN.consumer]) == 0.0


async def test_after_a_start_those_who_are_only_away_have_time_to_come(store: EventStore) -> None:
    await store.commit(Changes(retries=[retry(GONE, delay=-1000 * LONG)]))
    rounds = Rounds(store, [OWN.consumer], LONG)
    await rounds.more(5)
    await rounds.end()
    assert await store.list_dead_letters() == []


async def test_what_a_running_instance_is_slow_to_take_is_left_to_it(store: EventStore) -> None:
    keys = [InboxKey(GONE.consumer, str(number)) for number in range(3)]
    await store.commit(Changes(retries=[retry(key, delay=-LONG) for key in keys]))
    assert len(await store.claim_retries([GONE.consumer], "another", LONG, 1)) == 1
    rounds = Rounds(store, [OWN.consumer], 0.001)
    await rounds.more(5)
    await rounds.end()
    assert await store.list_dead_letters() == []


async def test_what_an_instance_that_is_gone_leaves_behind_is_found_by_the_next(tmp_path: Path) -> None:
    class Cache(MicroService):
        name = "cache"
        port = None
        failures = 0

        @event_handler("prices.changed", group=EVERY_INSTANCE, retry=RetryPolicy(first_delay=0.001))
        async def forget(self, body: object) -> None:
            self.failures += 1
            raise ValueError("not now")

    url = f"sqlite:///{tmp_path}/cache.db"
    async with Cache(event_store=url, event_transports=[f"memory://{new_id()}"]) as cache:
        await cache.emit_event("prices.changed", {})

        async def failed() -> int:
            return cache.failures

        await until(failed)
    store = make_store(url)
    await store.open()
    rounds = Rounds(store, ["cache.another:prices.changed:Cache.forget"], 0.05)
    await until(store.list_dead_letters)
    await rounds.end()
    (dead,) = await store.list_dead_letters()
    assert dead.reason == "orphaned"
    assert dead.key.consumer == f"cache.{cache.instance_id}:prices.changed:Cache.forget"
    await store.close()


async def test_the_doctor_tells_whose_retries_nobody_takes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = make_store(url)
    await store.open()
    keys = [GONE, *(InboxKey(f"gone.{number % 5}", str(number)) for number in range(50))]
    await store.commit(Changes(retries=[retry(key, delay=-LONG) for key in keys]))
    await store.commit(Changes(retries=[retry(OWN)]))  # it is due now: somebody may be about to take it
    await store.close()
    found = [finding for finding in await check_store(url) if "nobody takes" in finding.detail]
    assert [finding.level for finding in found] == [Level.WARNING]
    assert "gone.0 (10), gone.1 (10), gone.2 (10), 3 more" in found[0].detail
    assert OWN.consumer not in found[0].detail
