"""Ending tasks: all of them, whatever they do when they are cancelled."""

import asyncio
import threading

from gemstone_events.cancellation import end


async def _begun(work: object) -> asyncio.Task[object]:
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    await asyncio.sleep(0)
    return task


async def test_tasks_have_ended_when_they_were_told_to_end() -> None:
    done: list[str] = []

    async def save() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            done.append("saved")

    tasks = [await _begun(save()) for _ in range(2)]
    await end(*tasks, None)
    assert (done, [task.cancelled() for task in tasks]) == (["saved", "saved"], [True, True])


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again() -> None:
    async def swallow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = await _begun(swallow())
    await end(task, timeout=0.01)
    assert task.cancelled()


async def test_a_task_that_cannot_be_ended_is_left_alone() -> None:
    enough = asyncio.Event()

    async def go_on() -> None:
        while not enough.is_set():
            try:
                await enough.wait()
            except asyncio.CancelledError:
                continue

    task = await _begun(go_on())
    await end(task, timeout=0.01)
    assert not task.done()
    enough.set()
    await task


async def test_what_an_ended_task_raises_is_nobody_s_concern(caplog) -> None:
    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("at the end")

    task = await _begun(fail())
    failed = await _begun(asyncio.sleep(0))
    await end(task, failed)
    assert task.done()
    del task
    assert not caplog.records


async def test_a_task_of_another_loop_is_left_to_it() -> None:
    release, begun = threading.Event(), asyncio.Event()
    tasks: list[asyncio.Task[object]] = []
    here = asyncio.get_running_loop()

    async def elsewhere() -> None:
        tasks.append(await _begun(asyncio.to_thread(release.wait)))
        here.call_soon_threadsafe(begun.set)
        await tasks[0]

    other = asyncio.ensure_future(asyncio.to_thread(asyncio.run, elsewhere()))
    await begun.wait()
    await end(*tasks)
    assert not tasks[0].done()
    release.set()
    await other
