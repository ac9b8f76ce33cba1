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
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def begin(self, pending: Pending, when: float) -> None:
        """Call back for ``pending`` at ``when``, by the running loop's clock, unless it ends before.

        What is begun again has its new deadline only.
        """
        loop = asyncio.get_running_loop()
        self._due[pending] = when
        if self._timer is None or self._loop is not loop or when < self._timer.when():
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
        self._loop = loop
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
        self._deadlines: Deadlines[asyncio.Timeout] = Deadlines(lambda timeout: timeout.reschedule(0))

    def within(self, seconds: float | None) -> "Within":
        """Return a context manager that ends its block with ``TimeoutError`` after ``seconds``.

        None: its time begins only when ``Within.begin`` is called.
        """
        return Within(self._deadlines, seconds)


class Within:
    """A block that has to be done in time; ``Timeouts.within`` makes it."""

    __slots__ = ("_deadlines", "_seconds", "_timeout")

    def __init__(self, deadlines: Deadlines[asyncio.Timeout], seconds: float | None) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)

    def begin(self, seconds: float) -> None:
        """End the block ``seconds`` from now."""
        self._deadlines.begin(self._timeout, asyncio.get_running_loop().time() + seconds)

    def expired(self) -> bool:
        """Tell whether the block was ended because its time was over."""
        return self._timeout.expired()

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        if self._seconds is not None:
            self.begin(self._seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.end(self._timeout)
        await self._timeout.__aexit__(kind, error, traceback)
