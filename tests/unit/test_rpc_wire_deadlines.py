"""Deadlines of what is pending on a wire."""

import asyncio
import gc
import weakref

from gemstone_events.rpc.wires.deadlines import Deadlines

DEADLINE = 10.0


class Thing:
    """Something that is pending."""


async def test_what_is_not_done_in_time_is_told_in_the_order_of_the_deadlines() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    deadlines = Deadlines(told.put_nowait)
    now = asyncio.get_running_loop().time()
    for name, seconds in [("never", 1000.0), ("late", 0.03), ("soon", 0.01), ("done", 0.02)]:
        deadlines.begin(name, now + seconds)
    deadlines.end("done")
    async with asyncio.timeout(DEADLINE):
        assert [await told.get(), await told.get()] == ["soon", "late"]
    assert told.empty()
    assert len(deadlines) == 1
    deadlines.close()


async def test_what_begins_after_a_pause_has_its_deadline_too() -> None:
    told: asyncio.Queue[int] = asyncio.Queue()
    deadlines = Deadlines(told.put_nowait)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        for number in range(3):
            deadlines.begin(number, loop.time() + 0.001)
            assert await told.get() == number


async def test_what_is_told_may_end_others_and_begin_new_ones() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    def expire(name: str) -> None:
        told.put_nowait(name)
        deadlines.end("other")
        if name == "one":
            deadlines.begin("new", past)

    deadlines = Deadlines(expire)
    past = asyncio.get_running_loop().time() - 1
    deadlines.begin("one", past)
    deadlines.begin("other", past)
    async with asyncio.timeout(DEADLINE):
        assert [await told.get(), await told.get()] == ["one", "new"]
    assert told.empty()
    assert len(deadlines) == 0


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
