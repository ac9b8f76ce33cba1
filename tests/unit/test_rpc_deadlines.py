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


async def test_one_that_expires_may_end_others() -> None:
    deadlines, expired = Deadlines(0.01), asyncio.Queue[str]()

    def expire() -> None:
        deadlines.end("b")
        expired.put_nowait("a")

    deadlines.begin("a", expire)
    deadlines.begin("b", lambda: expired.put_nowait("b"))
    deadlines.begin("c", lambda: expired.put_nowait("c"))

    async with asyncio.timeout(5):
        assert [await expired.get(), await expired.get()] == ["a", "c"]


async def test_one_whose_expiry_fails_keeps_no_other_from_expiring() -> None:
    deadlines, expired = Deadlines(0.01), asyncio.Queue[str]()
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    def fail() -> None:
        raise RuntimeError("a defect")

    deadlines.begin("a", fail)
    deadlines.begin("b", lambda: expired.put_nowait("b"))

    async with asyncio.timeout(5):
        assert await expired.get() == "b"
    assert len(told) == 1


async def test_what_is_begun_again_holds_up_none_that_began_before() -> None:
    deadlines, expired = Deadlines(0.1), asyncio.Queue[str]()
    deadlines.begin("a", lambda: expired.put_nowait("a"))
    deadlines.begin("b", lambda: expired.put_nowait("b"))
    deadlines.begin("a", lambda: expired.put_nowait("a again"))

    async with asyncio.timeout(5):
        assert [await expired.get(), await expired.get()] == ["b", "a again"]
