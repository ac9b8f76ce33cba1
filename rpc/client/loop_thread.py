"""An event loop in a thread of its own, for programs that have none."""

import asyncio
import atexit
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gemstone_events.rpc.call_errors import ServiceUnreachableError

_CLOSE_SECONDS = 5.0
# After the closing, what is left is cancelled, and may need a moment.
_EXIT_SECONDS = _CLOSE_SECONDS + 1.0


class LoopThread:
    """Runs an event loop in a daemon thread until it is told to stop, at the latest when the program ends.

    What lives on the loop is then closed first, while all of its tasks still run. Whatever is pending after that is
    cancelled, and asynchronous generators are closed, as ``asyncio.run`` does it.

    Args:
        close: closes what lives on the loop; it is given up after 5 s.
    """

    def __init__(self, close: Callable[[], Awaitable[None]]) -> None:
        self._close = close
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="gemstone_events-calls", daemon=True)

    def start(self) -> asyncio.AbstractEventLoop:
        """Start the thread, and return its loop, running.

        Raises:
            ServiceUnreachableError: the system has no means for another loop.
        """
        atexit.register(self.stop)
        try:
            self._thread.start()
            self._started.wait()
        except RuntimeError as error:
            atexit.unregister(self.stop)
            raise ServiceUnreachableError(f"no thread can be started for the connections: {error}") from error
        if self._loop is None:
            raise ServiceUnreachableError("no event loop can be started for the connections: see the traceback above")
        return self._loop

    def request_stop(self) -> None:
        """Make the loop end, without waiting for it. Twice is harmless."""
        if self._loop is not None and self._thread.is_alive() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)

    def stop(self) -> None:
        """Make the loop end, and wait for it, but not for long. Twice is harmless."""
        self.request_stop()
        if threading.current_thread() is not self._thread:
            self._thread.join(_EXIT_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._wait())
        finally:
            self._started.set()
            atexit.unregister(self.stop)

    async def _wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started.set()
        await self._stopping.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._close()
