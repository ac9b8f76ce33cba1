"""A call on its way between two event loops of one process, which may run in different threads."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

from gemstone_events.rpc.call_errors import OutcomeUnknownError
from gemstone_events.rpc.wire import WireCounts


class RefusedError(Exception):
    """The instance does not take calls any more and did not begin this one: another instance may."""


class MemoryCall:
    """A call, made on its caller's event loop.

    Args:
        body: what to carry out.
        headers: what goes with it.
        timeout: seconds that the caller waits.
        peer: who calls.
        counts: the caller's.

    Attributes:
        outcome: the answer, or the exception that stands for it.
        expires: when it is given up, by ``time.monotonic``, which is one clock for all threads.
    """

    def __init__(self, body: bytes, headers: Mapping[str, str], timeout: float, peer: str, counts: WireCounts) -> None:
        self.body = body
        self.headers = headers
        self.peer = peer
        self.expires = time.monotonic() + timeout
        self.loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[bytes | None] = self.loop.create_future()
        self._counts = counts

    @property
    def seconds_left(self) -> float:
        """How long its caller still waits."""
        return self.expires - time.monotonic()

    def answer(self, body: bytes | None) -> None:
        """Tell what came of it. From any thread; what is told first counts."""
        self._tell(body, None)

    def fail(self, error: Exception) -> None:
        """Tell that there is no answer. From any thread; what is told first counts."""
        self._tell(None, error)

    def lose(self) -> None:
        """Tell that it was begun, and that nobody knows how far it came."""
        self.fail(OutcomeUnknownError("the service gave the call up before its end"))

    def abandon(self) -> None:
        """Take notice that nobody waits for it any more. On its caller's event loop."""
        if not self.outcome.cancel() and not self.outcome.cancelled():
            self.outcome.exception()  # seen, also where the caller was cancelled in the same moment

    def _tell(self, body: bytes | None, error: Exception | None) -> None:
        with suppress(RuntimeError):  # its caller's loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._settle, body, error)

    def _settle(self, body: bytes | None, error: Exception | None) -> None:
        if self.outcome.cancelled():
            self._counts.late += error is None
        elif self.outcome.done():
            return
        elif error is None:
            self.outcome.set_result(body)
        else:
            self.outcome.set_exception(error)
