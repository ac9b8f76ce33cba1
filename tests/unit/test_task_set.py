"""Tasks that somebody answers for."""

import asyncio
from contextvars import ContextVar

import pytest

from gemstone_events.subscribing.task_set import TaskSet

DEADLINE = 10.0
WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture
def defects() -> list[BaseException]:
    return []


@pytest.fixture
async def tasks(defects: list[BaseException]) -> TaskSet:
    return TaskSet(defects.append)


async def test_a_defect_is_told_and_ends_nothing_else(tasks: TaskSet, defects: list[BaseException]) -> None:
    release = asyncio.Event()

    async def fail() -> None:
        raise ZeroDivisionError("a defect")

    async def wait() -> None:
        await release.wait()

    tasks.start(wait())
    tasks.start(fail())
    await tasks.wait(0.01)
    assert len(tasks) == 1
    assert [type(error) for error in defects] == [ZeroDivisionError]
    release.set()
    await tasks.wait(DEADLINE)
    assert len(tasks) == 0


async def test_what_one_task_sets_in_its_context_no_other_sees(tasks: TaskSet) -> None:
    seen = []

    async def work(name: str) -> None:
        seen.append(WHO.get())
        WHO.set(name)

    for name in "ab":
        tasks.start(work(name))
        await tasks.wait(DEADLINE)
    assert seen == ["nobody", "nobody"]


async def test_all_are_cancelled_together_and_that_is_no_defect(tasks: TaskSet, defects: list[BaseException]) -> None:
    for _ in range(3):
        tasks.start(asyncio.Event().wait())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert tasks.cancel() == 3
    assert tasks.are_cancelled
    await tasks.wait(DEADLINE)
    assert tasks.cancel() == 0
    assert defects == []


async def test_a_task_that_a_stranger_cancelled_may_go_on(tasks: TaskSet) -> None:
    ended = []

    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(DEADLINE)
        except asyncio.CancelledError:
            assert tasks.take_back_cancellation()
        await asyncio.sleep(0)
        ended.append(task.cancelling())

    tasks.start(cancel_itself())
    await tasks.wait(DEADLINE)
    assert ended == [0]


async def test_whom_its_owner_cancelled_has_to_end(tasks: TaskSet) -> None:
    answers = []

    async def insist() -> None:
        try:
            await asyncio.sleep(DEADLINE)
        except asyncio.CancelledError:
            answers.append(tasks.take_back_cancellation())
            raise

    tasks.start(insist())
    await asyncio.sleep(0)
    tasks.cancel()
    await tasks.wait(DEADLINE)
    assert answers == [False]
