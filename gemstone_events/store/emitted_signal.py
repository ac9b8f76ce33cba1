"""Waking those who wait for the log to grow."""

import asyncio


class EmittedSignal:
    """Wakes everybody who waits, each time the log has grown. It belongs to one event loop."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def expect(self) -> "asyncio.Future[None]":
        """Return what is done at the next ``wake``; to be given to ``wait``, and always to ``forget``."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(future)
        return future

    async def wait(self, expected: "asyncio.Future[None]", timeout: float) -> None:
        """Return at the ``wake`` that is expected, or after ``timeout`` seconds."""
        await asyncio.wait((expected,), timeout=max(0.0, timeout))

    def forget(self, expected: "asyncio.Future[None]") -> None:
        """Expect it no more."""
        expected.cancel()
        self._waiters.discard(expected)

    def wake(self) -> None:
        """The log has grown."""
        for future in self._waiters:
            if not future.done():
                future.set_result(None)
