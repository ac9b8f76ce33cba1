"""Deadlines of any length for many futures, with one timer."""

import asyncio
import itertools
from heapq import heapify, heappop, heappush
from typing import Any

_MIN_STALE = 1000


class FutureDeadlines:
    """Fails futures with ``TimeoutError`` when their time is over.

    They are kept in a heap of tuples, which costs a small part of a timer of the event loop each. Futures that are done
    in time are cleared away when they are many.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, asyncio.Future[Any]]] = []
        self._numbers = itertools.count()
        self._stale = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, future: asyncio.Future[Any], when: float) -> None:
        """Fail ``future`` at ``when``, by the event loop's clock, unless it is done."""
        heappush(self._heap, (when, next(self._numbers), future))
        if self._timer is None or when < self._timer.when():
            self._set_timer()

    def forget_one(self) -> None:
        """Take notice that a future is done, whichever."""
        self._stale += 1
        if self._stale > _MIN_STALE and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[2].done()]
            heapify(self._heap)
            self._stale = 0

    def close(self) -> None:
        """Forget all of them."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._heap[0][0], self._expire) if self._heap else None

    def _expire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].done()):
            _, _, future = heappop(self._heap)
            if not future.done():
                future.set_exception(TimeoutError())
        self._set_timer()
