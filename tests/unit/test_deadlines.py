"""Many deadlines with one timer."""

import asyncio
import gc
import weakref

import pytest

from gemstone_events.deadlines import Deadlines, Timeouts

PATIENCE = 10.0


class Thing:
    """Something that is pending."""


@pytest.fixture
async def told() -> asyncio.Queue[str]:
    return asyncio.Queue()


async def next_of(told: asyncio.Queue[str], count: int) -> list[str]:
    async with asyncio.timeout(PATIENCE):
        return [await told.get() for _ in range(count)]


async def test_what_is_not_done_in_time_is_told_in_the_order_of_the_deadlines(told: asyncio.Queue[str]) -> None:
    deadlines = Deadlines(told.put_nowait)
    now = asyncio.get_running_loop().time()
    for name, seconds in [("never", 1000.0), ("late", 0.03), ("soon", 0.01), ("done", 0.02)]:
        deadlines.begin(name, now + seconds)
    deadlines.end("done")
    assert await next_of(told, 2) == ["soon", "late"]
    assert told.empty()
    assert len(deadlines) == 1
    deadlines.close()


async def test_what_begins_after_a_pause_has_its_deadline_too(told: asyncio.Queue[str]) -> None:
    deadlines = Deadlines(told.put_nowait)
    for name in "abc":
        deadlines.begin(name, asyncio.get_running_loop().time() + 0.001)
        assert await next_of(told, 1) == [name]
        deadlines.end(name)


async def test_what_is_begun_again_has_its_new_deadline_only(told: asyncio.Queue[str]) -> None:
    deadlines = Deadlines(told.put_nowait)
    now = asyncio.get_running_loop().time()
    deadlines.begin("a", now + 0.01)
    deadlines.begin("b", now + 0.02)
    deadlines.begin("a", now + 0.03)
    assert await next_of(told, 2) == ["b", "a"]
    assert told.empty()


async def test_what_is_told_may_end_others_and_begin_new_ones(told: asyncio.Queue[str]) -> None:
    def expire(name: str) -> None:
        told.put_nowait(name)
        deadlines.end("other")
        if name == "one":
            deadlines.begin("new", past)

    deadlines = Deadlines(expire)
    past = asyncio.get_running_loop().time() - 1
    deadlines.begin("one", past)
    deadlines.begin("other", past)
    assert await next_of(told, 2) == ["one", "new"]
    assert told.empty()
    assert len(deadlines) == 0


async def test_one_that_fails_keeps_no_other_from_being_told(told: asyncio.Queue[str]) -> None:
    reports: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context))

    def expire(name: str) -> None:
        if name == "a":
            raise RuntimeError("a defect")
        told.put_nowait(name)

    deadlines = Deadlines(expire)
    for name in "ab":
        deadlines.begin(name, loop.time())
    assert await next_of(told, 1) == ["b"]
    assert len(reports) == 1


async def test_nothing_is_held_of_what_is_done() -> None:
    deadlines: Deadlines[Thing] = Deadlines(lambda thing: None)
    thing = Thing()
    gone = weakref.ref(thing)
    deadlines.begin(thing, asyncio.get_running_loop().time() + 1000)
    deadlines.end(thing)
    deadlines.end(thing)
    del thing
    gc.collect()
    assert gone() is None
    deadlines.close()


async def test_after_closing_nothing_is_told() -> None:
    told: list[str] = []
    deadlines = Deadlines(told.append)
    loop = asyncio.get_running_loop()
    deadlines.begin("one", loop.time() + 0.001)
    deadlines.close()
    deadlines.close()
    later = loop.create_future()
    loop.call_at(loop.time() + 0.02, later.set_result, None)
    await later
    assert told == []


def test_one_event_loop_is_served_after_the_other() -> None:
    told: list[str] = []
    deadlines = Deadlines(told.append)

    async def leave_a_timer_behind() -> None:
        deadlines.begin("never ended", asyncio.get_running_loop().time() + 1000)

    async def expire_once() -> None:
        deadlines.begin("one", asyncio.get_running_loop().time() + 0.001)
        async with asyncio.timeout(PATIENCE):
            while not told:
                await asyncio.sleep(0.001)

    asyncio.run(leave_a_timer_behind())
    asyncio.run(expire_once())
    assert told == ["one"]


async def test_a_block_is_ended_when_its_time_is_over() -> None:
    limit = Timeouts().within(0.001)
    with pytest.raises(TimeoutError), limit:
        await asyncio.sleep(PATIENCE)
    assert limit.expired()


async def test_a_block_in_time_and_its_own_errors_pass() -> None:
    timeouts = Timeouts()
    with timeouts.within(PATIENCE) as limit:
        await asyncio.sleep(0)
    assert not limit.expired()
    with pytest.raises(TimeoutError, match="of its own"), timeouts.within(PATIENCE) as limit:
        raise TimeoutError("of its own")
    assert not limit.expired()


async def test_the_time_of_a_block_may_begin_later() -> None:
    limit = Timeouts().within(None)

    async def work() -> None:
        with limit:
            await asyncio.sleep(0.01)
            limit.begin(0.001)
            await asyncio.sleep(PATIENCE)

    with pytest.raises(TimeoutError):
        await work()
    assert limit.expired()


async def test_a_block_that_somebody_cancels_is_cancelled() -> None:
    limit = Timeouts().within(PATIENCE)

    async def work() -> None:
        with limit:
            await asyncio.sleep(PATIENCE)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not limit.expired()


async def test_a_block_that_somebody_cancels_when_its_time_is_over_is_cancelled() -> None:
    limit = Timeouts().within(None)

    async def work() -> None:
        with limit:
            await asyncio.sleep(PATIENCE)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    limit.expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert limit.expired()


async def test_a_block_within_a_block_ends_by_the_time_that_is_over() -> None:
    timeouts = Timeouts()
    outer, inner = timeouts.within(0.001), timeouts.within(PATIENCE)
    with pytest.raises(TimeoutError), outer, inner:
        await asyncio.sleep(PATIENCE)
    assert (outer.expired(), inner.expired()) == (True, False)


async def test_a_block_outside_of_a_task_is_refused() -> None:
    tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def enter() -> None:
        try:
            with Timeouts().within(None):
                tried.set_result(None)
        except RuntimeError as error:
            tried.set_exception(error)

    asyncio.get_running_loop().call_soon(enter)
    with pytest.raises(RuntimeError, match="there is none here"):
        await tried


class RoundingLoop(asyncio.SelectorEventLoop):
    """Has no timers for what is due at once, as uvloop has none for less than half a millisecond."""

    def call_at(self, when, callback, *args, context=None):  # type: ignore[override]
        if when <= self.time():
            return self.call_soon(callback, *args, context=context)
        return super().call_at(when, callback, *args, context=context)


def test_what_is_due_at_once_needs_no_timer_of_the_loop() -> None:
    told: list[str] = []

    async def expire_two() -> None:
        deadlines = Deadlines(told.append)
        for name in "ab":
            deadlines.begin(name, asyncio.get_running_loop().time())
        async with asyncio.timeout(PATIENCE):
            while len(told) < 2:
                await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=RoundingLoop) as runner:
        runner.run(expire_two())
    assert told == ["a", "b"]
