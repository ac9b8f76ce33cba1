"""Tasks that somebody answers for: none is lost, none ends by a defect in silence, and all end together."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context


class TaskSet:
    """The tasks of one owner.

    Args:
        on_defect: called with the exception that ended a task.
    """

    def __init__(self, on_defect: Callable[[BaseException], object]) -> None:
        self._on_defect = on_defect
        self._context = copy_context()
        self._tasks: set[asyncio.Task[None]] = set()
        self.are_cancelled = False
        """``cancel`` was called, and nobody waits for what would be started now."""

    def __len__(self) -> int:
        """How many tasks run."""
        return len(self._tasks)

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Run ``work`` in a task of its own, and in a context of its own: what it sets there is nobody else's concern."""
        task = asyncio.get_running_loop().create_task(work, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._end)

    async def wait(self, timeout: float) -> None:
        """Return when all have ended, or after ``timeout`` seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    def cancel(self) -> int:
        """Cancel those that run, and return how many those are. Twice is harmless."""
        self.are_cancelled = True
        for task in self._tasks:
            task.cancel()
        return len(self._tasks)

    def take_back_cancellation(self) -> bool:
        """Have the running task go on, although it was cancelled; False where it was ``cancel`` that did it."""
        task = asyncio.current_task()
        if self.are_cancelled or task is None:
            return False
        task.uncancel()
        return True

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_defect(error)
