"""Looking things up once at a time, however many ask."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Generic, TypeVar

from gemstone_events.cancellation import end
from gemstone_events.rpc.call_errors import ServiceUnreachableError

T = TypeVar("T")


class SharedSearches(Generic[T]):
    """Searches by name: whoever looks for the same at the same time waits for the same answer.

    Who gives up waiting ends nobody's search. Its methods belong to the event loop that is running.
    """

    def __init__(self) -> None:
        self._searches: dict[str, asyncio.Task[T]] = {}

    async def find(
        self, name: str, search: Callable[[], Coroutine[object, object, T]], timeout: float | None = None
    ) -> T:
        """Return what is found.

        Args:
            name: what is looked for.
            search: looks for it, unless somebody does so already.
            timeout: seconds to wait; None for as long as it takes.

        Raises:
            TimeoutError: it takes longer.
            ServiceUnreachableError: the searches were closed.
            Exception: what the search raised.
        """
        running = self.begin(name, search)
        done, _ = await asyncio.wait([running], timeout=timeout)
        if not done:
            raise TimeoutError
        if running.cancelled():
            raise ServiceUnreachableError(
                f"where {name!r} is was not found out before the search was closed: not called"
            )
        return running.result()

    def begin(self, name: str, search: Callable[[], Coroutine[object, object, T]]) -> asyncio.Task[T]:
        """Return the search for a name, which is begun where there is none."""
        running = self._searches.get(name)
        if running is None or running.done() or running.get_loop() is not asyncio.get_running_loop():
            # In a context of its own: it serves others, too, whose calls have other deadlines.
            running = self._searches[name] = asyncio.create_task(search(), context=Context())
            running.add_done_callback(lambda ended: self._end(name, ended))
        return running

    async def close(self) -> None:
        """End all searches of the running loop. Twice is harmless."""
        await end(*self._searches.values())

    def _end(self, name: str, ended: asyncio.Task[T]) -> None:
        if self._searches.get(name) is ended:
            del self._searches[name]
        if not ended.cancelled():
            ended.exception()  # whoever asked may be gone
