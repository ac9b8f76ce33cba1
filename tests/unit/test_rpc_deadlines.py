"""Many deadlines with one timer."""

import asyncio

from gemstone_events.deadlines import Deadlines


async def test_what_is_not_ended_expires_in_the_order_of_its_beginning() -> None:
    deadlines, expired = Deadlines(0.01), asyncio.Queue[str]()
    deadlines.begin("a", lambda: expired.put_nowait("a"))
    deadlines.begin("b", lambda: expired.put_nowait("b"))
    deadlines.begin("c", lambda: expired.put_nowait("c"))
    deadlines.end("b")

    async with asyncio.timeout(5):
        assert [await expired.get(), await expired.get()] == ["a", "c"]
    assert expired.empty()


async def test_a_deadline_that_begins_after_all_others_have_ended_expires_too() -> None:
    deadlines, expired = Deadlines(0.01), asyncio.Queue[str]()
    for key in ("a", "b"):
        deadlines.begin(key, lambda key=key: expired.put_nowait(key))  # type: ignore[misc]
        async with asyncio.timeout(5):
            assert await expired.get() == key
        deadlines.end(key)


def test_deadlines_serve_one_event_loop_after_the_other() -> None:
    deadlines = Deadlines(0.01)

    async def expire_once() -> None:
        expired = asyncio.Event()
        deadlines.begin(expired, expired.set)
        await asyncio.wait_for(expired.wait(), 5)

    async def leave_a_timer_behind() -> None:
        deadlines.begin("never ended", lambda: None)

    asyncio.run(leave_a_timer_behind())
    asyncio.run(expire_once())
