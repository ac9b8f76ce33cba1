"""Many deadlines with one timer.

A timer of the event loop for each of some thousand short operations per second costs more than the operations, for
cancelled timers stay in the loop's heap, and what they hold with them. Here one timer waits for the earliest deadline;
when it comes, most operations are long done, and what is left is looked through. Nothing is held of what is done.
"""

import asyncio
import math
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Generic, Self, TypeVar

Pending = TypeVar("Pending", bound=Hashable)


class Deadlines(Generic[Pending]):
    """Calls back for what is not done in time. It serves one event loop, or one after the other.

    Args:
        expire: called with what is not done in time.
    """

    def __init__(self, expire: Callable[[Pending], object]) -> None:
        self._expire = expire
        self._due: dict[Pending, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None  # of uvloop, one that is due at once does not know its time
        self._wakes_at = math.inf

    def __len__(self) -> int:
        return len(self._due)

    def begin(self, pending: Pending, when: float) -> None:
        """Call back for ``pending`` at ``when``, by the running loop's clock, unless it ends before.

        What is begun again has its new deadline only.
        """
        loop = asyncio.get_running_loop()
        self._due[pending] = when
        if self._timer is None or self._loop is not loop or when < self._wakes_at:
            self._set_timer(loop, when)

    def end(self, pending: Pending) -> None:
        """Take notice that it is done. Harmless where its time is over, and where it never began."""
        self._due.pop(pending, None)

    def close(self) -> None:
        """Forget all of them. Twice is harmless."""
        self._due.clear()
        self._clear_timer()

    def _set_timer(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        self._clear_timer()
        self._loop, self._wakes_at = loop, when
        self._timer = loop.call_at(when, self._look_through, loop)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_through(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now, earliest = loop.time(), math.inf
        for pending, when in sorted(self._due.items(), key=lambda item: item[1]):
            if when > now:
                earliest = when
                break
            loop.call_soon(self._tell, pending, now)  # each by itself: one that fails keeps no other from being told
        if earliest < math.inf:
            self._set_timer(loop, earliest)

    def _tell(self, pending: Pending, now: float) -> None:
        if self._due.get(pending, math.inf) <= now:
            del self._due[pending]
            self._expire(pending)


class Timeouts:
    """Ends blocks that take too long, as ``asyncio.timeout`` does."""

    def __init__(self) -> None:
        self._deadlines: Deadlines[Within] = Deadlines(Within.expire)

    def within(self, seconds: float | None) -> "Within":
        """Return a context manager that ends its block with ``TimeoutError`` after ``seconds``.

        None: its time begins only when ``Within.begin`` is called.
        """
        return Within(self._deadlines, seconds)


class Within:
    """A block that has to be done in time; ``Timeouts.within`` makes it.

    Its task is cancelled when the time is over, and where nobody else has cancelled that as well, the block ends with
    ``TimeoutError`` instead (as in ``asyncio.Timeout``, which has a timer of its own for each).
    """

    __slots__ = ("_cancellations", "_deadlines", "_is_expired", "_seconds", "_task")

    def __init__(self, deadlines: "Deadlines[Within]", seconds: float | None) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._cancellations = 0
        self._is_expired = False

    def begin(self, seconds: float) -> None:
        """End the block ``seconds`` from now."""
        self._deadlines.begin(self, asyncio.get_running_loop().time() + seconds)

    def expire(self) -> None:
        """End the block now."""
        if self._task is not None:
            self._is_expired = True
            self._task.cancel()

    def expired(self) -> bool:
        """Tell whether the block was ended because its time was over."""
        return self._is_expired

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a block is ended by cancelling its task: there is none here")
        self._cancellations = self._task.cancelling()
        if self._seconds is not None:
            self.begin(self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.end(self)
        task, self._task = self._task, None
        if not self._is_expired or task is None:
            return
        if task.uncancel() <= self._cancellations and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error
