"""What a server has begun and not finished, so that stopping it can wait for that."""

import asyncio

from gemstone_events.cancellation import end

_CANCEL_SECONDS = 1.0


class InFlight:
    """Requests and calls in the middle of something.

    A connection is busy from the headers of a request until its response is written. A call is kept apart from its
    connection, for it runs on when the client hangs up.

    Attributes:
        draining: the server stops: nothing new is begun.
    """

    def __init__(self) -> None:
        self.draining = False
        self._connections: set[object] = set()
        self._calls: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return max(len(self._connections), len(self._calls))

    def begin(self, connection: object) -> None:
        """A request's headers have come in."""
        self._connections.add(connection)

    def end(self, connection: object) -> None:
        """The response is written, or the connection is gone."""
        self._connections.discard(connection)

    def is_busy(self, connection: object) -> bool:
        """Tell whether a request of the connection waits for its response."""
        return connection in self._connections

    def begin_call(self, call: asyncio.Task[None]) -> None:
        """A call has come in whole: from here on it is run, whatever its client does."""
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def abandon(self) -> None:
        """Cancel the calls that still run, and wait for them to take notice, but not for long."""
        await end(*self._calls, timeout=_CANCEL_SECONDS)
