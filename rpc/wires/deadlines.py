"""Deadlines of any length for what is pending, with one timer."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Pending = TypeVar("Pending", bound=Hashable)


class Deadlines(Generic[Pending]):
    """Calls back for what is not done in time.

    A timer of the event loop for each of some thousand short calls per second costs more than the calls, for cancelled
    timers stay in the loop's heap, and what they hold with them. Here one timer waits for the earliest deadline; when it
    comes, most calls are long done, and what is left is looked through. Nothing is held of what is done.

    It belongs to the event loop that runs when it is made.

    Args:
        expire: called with what is not done in time.
    """

    def __init__(self, expire: Callable[[Pending], None]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._due: dict[Pending, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def begin(self, pending: Pending, when: float) -> None:
        """Call back for ``pending`` at ``when``, by the event loop's clock, unless it ends before."""
        self._due[pending] = when
        if self._timer is None or when < self._timer.when():
            self._set_timer(when)

    def end(self, pending: Pending) -> None:
        """Take notice that it is done. Harmless where its time is over, and where it never began."""
        self._due.pop(pending, None)

    def close(self) -> None:
        """Forget all of them. Twice is harmless."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look_through)

    def _look_through(self) -> None:
        self._timer = None
        now = self._loop.time()
        over = [pending for pending, when in self._due.items() if when <= now]
        for pending in over:
            if self._due.pop(pending, None) is not None:
                self._expire(pending)
        if self._due:
            self._set_timer(min(self._due.values()))
