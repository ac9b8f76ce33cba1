"""What a server has begun and not finished, so that stopping it can wait for that."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class InFlight:
    """Requests and connections in the middle of something.

    A connection is busy from the headers of a request until its response is written. A call is kept apart from its
    connection, for it runs on when the client hangs up.

    Attributes:
        draining: the server stops: nothing new is begun.
    """

    def __init__(self) -> None:
        self.draining = False
        self._connections: set[object] = set()
        self._calls: dict[object, asyncio.Task[object] | None] = {}

    def __len__(self) -> int:
        return len(self._connections | self._calls.keys())

    def begin(self, connection: object) -> None:
        """A request's headers have come in."""
        self._connections.add(connection)

    def end(self, connection: object) -> None:
        """The response is written, or the connection is gone."""
        self._connections.discard(connection)

    def is_busy(self, connection: object) -> bool:
        """Tell whether a request of the connection waits for its response."""
        return connection in self._connections

    def accept(self, call: object) -> None:
        """A call's body is complete: from here on it is run, whatever the client does."""
        self._calls[call] = None

    @contextmanager
    def running(self, call: object) -> Iterator[None]:
        """Keep the call of the current task until it is done."""
        self._calls[call] = asyncio.current_task()
        try:
            yield
        finally:
            self._calls.pop(call, None)

    async def abandon(self) -> None:
        """Cancel the calls that still run, and wait for them to take notice."""
        tasks = [task for task in self._calls.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
