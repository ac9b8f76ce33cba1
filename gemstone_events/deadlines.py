"""Many deadlines of one length, with one timer."""

import asyncio
from collections.abc import Callable


class Deadlines:
    """Calls back for what is not done in time.

    A timer of the event loop for each of some thousand short operations per second costs more than the operations,
    for cancelled timers stay in the loop's heap. Deadlines of one length expire in the order in which they began, so
    that one timer for the oldest is enough.

    Args:
        seconds: how long each may last.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: dict[object, tuple[float, Callable[[], object]]] = {}
        self._timer_loop: asyncio.AbstractEventLoop | None = None

    def begin(self, key: object, expire: Callable[[], object]) -> None:
        """Call ``expire`` unless ``end`` is called with the same key in time. What is begun again begins anew."""
        loop = asyncio.get_running_loop()
        self._due.pop(key, None)  # it would keep its place among those that began earlier
        self._due[key] = (loop.time() + self.seconds, expire)
        if self._timer_loop is not loop:
            self._timer_loop = loop
            loop.call_later(self.seconds, self._expire, loop)

    def end(self, key: object) -> None:
        """Forget a deadline; harmless where it expired."""
        self._due.pop(key, None)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._due:
                key, (when, expire) = next(iter(self._due.items()))
                if when > loop.time():
                    break
                del self._due[key]
                expire()  # it may raise, and begin or end others
        finally:
            self._timer_loop = loop if self._due else None
            for when, _ in list(self._due.values())[:1]:
                loop.call_at(when, self._expire, loop)
