"""The event loop on which a client's connections live, whoever uses them from wherever."""

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.client.async_call import AsyncMethodCall, is_on_loop
from gemstone_events.rpc.client.caller import Wires
from gemstone_events.rpc.client.loop_thread import LoopThread
from gemstone_events.rpc.wire import ClientSettings, ClientWire
from gemstone_events.rpc.wire_pool import WirePool

T = TypeVar("T")

_CLOSE_SECONDS = 10.0
_RETIRE_SECONDS = 0.1


class Home:
    """Runs calls on the one event loop that the connections belong to, from all threads and loops.

    The loop is the one that was running when it was first used, or else one in a thread of its own. When that loop has
    ended, or the process was forked, the next use finds another, with fresh connections. They are closed by ``close``
    or ``aclose``, when the loop ends, when nobody refers to this object any more, or when the program ends: whichever
    comes first.

    Args:
        settings: what the wires are made with.
        pool: connections that somebody lends, and closes himself.
        loop: the loop of ``pool``; the running one where it is left out.

    Raises:
        TypeError: the loop of the pool is missing, or there is one without a pool.
    """

    def __init__(
        self,
        settings: ClientSettings,
        pool: WirePool | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._settings = settings
        self._locks: dict[int, threading.RLock] = {}
        self._inherited: list[_Place] = []
        self._place: _Place | None = None
        self._finalizer: weakref.finalize[..., Home] | None = None
        self._is_lent = pool is not None
        if pool is not None:
            if loop is None and not is_on_loop():
                raise TypeError("pool= is used outside of an event loop: say with loop= which one it belongs to")
            self._place = _Place(loop or asyncio.get_running_loop(), pool, is_lent=True)
        elif loop is not None:
            raise TypeError("loop= is that of pool=: leave it out, or give the pool too")

    def run(self, function: Callable[[Wires], Coroutine[object, object, T]], deadline: float) -> AsyncMethodCall[T]:
        """Begin a call, and return at once.

        Args:
            function: makes the call with the wires that it is given.
            deadline: when the call is given up, by ``time.monotonic``.

        Raises:
            ServiceUnreachableError: who lends the connections does not run any more.
        """
        place = self._find()
        coroutine = place.carry_out(function)
        if place.is_here:
            return AsyncMethodCall.begin(coroutine, deadline)
        return AsyncMethodCall(place.hand_over(coroutine), deadline)

    def wire_for(self, url: str) -> ClientWire | None:
        """Return the wire by which a URL is called at present, if there is a home."""
        place = self._place
        with suppress(ServiceUnreachableError):  # lent, and closed by who lent it
            return None if place is None else place.pool.wire_for(url)
        return None

    def close(self) -> None:
        """Close the connections; calls under way fail. On an event loop this only begins it. Twice is harmless."""
        place = self._leave()
        if place is None or not place.is_usable:
            return
        if is_on_loop():
            place.retire()
            return
        with suppress(ServiceUnreachableError, TimeoutError, concurrent.futures.CancelledError):
            place.submit(place.close()).result(_CLOSE_SECONDS)
        place.end()

    async def aclose(self) -> None:
        """Close the connections; calls under way fail. Twice is harmless."""
        place = self._leave()
        if place is None or not place.is_usable:
            return
        if place.is_here:
            await place.close()
            return
        with suppress(ServiceUnreachableError, TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(place.submit(place.close())), _CLOSE_SECONDS)
        await asyncio.to_thread(place.end)

    @property
    def _lock(self) -> threading.RLock:
        """The process's lock: that of a parent may be held for ever. A signal's handler may come while it is held."""
        return self._locks.setdefault(os.getpid(), threading.RLock())

    def _find(self) -> "_Place":
        place = self._place
        if place is not None and place.is_usable:
            return place
        with self._lock:
            place = self._place
            if place is not None and place.is_usable:
                return place
            if self._is_lent:
                raise ServiceUnreachableError("the service that lent its connections does not run any more")
            if place is not None and place.is_inherited:
                self._inherited.append(place)  # its sockets are the parent's: they must not be closed here
            self._forget_place()
            self._place = place = self._settle()
            # At the end of the program, the thread looks after itself, and so does every loop that is ended properly.
            self._finalizer = weakref.finalize(self, place.retire)
            self._finalizer.atexit = False
            return place

    def _settle(self) -> "_Place":
        pool = WirePool(self._settings)
        if is_on_loop():
            return _Place(asyncio.get_running_loop(), pool)
        thread = LoopThread(pool.close)
        return _Place(thread.start(), pool, thread)

    def _leave(self) -> "_Place | None":
        if self._is_lent:
            return None
        with self._lock:
            place = self._place
            self._forget_place()
        return place

    def _forget_place(self) -> None:
        self._place = None
        if self._finalizer is not None:
            self._finalizer.detach()


class _Place:
    """A running loop, and the connections that belong to it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: WirePool,
        thread: LoopThread | None = None,
        *,
        is_lent: bool = False,
    ) -> None:
        self.loop = loop
        self.pool = pool
        self._is_lent = is_lent
        self.tasks: set[asyncio.Task[object]] = set()
        self._handed_over: set[concurrent.futures.Future[Any]] = set()
        self._thread = thread
        self._process = os.getpid()
        self._keeper: AsyncGenerator[None, None] | None = None
        self._is_closed = False
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_inherited(self) -> bool:
        return self._process != os.getpid()

    @property
    def is_usable(self) -> bool:
        return not self._is_closed and not self.is_inherited and self.loop.is_running()

    @property
    def is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    def wire_for(self, url: str) -> ClientWire:
        if self._is_closed:
            raise ServiceUnreachableError("the client was closed: not sent")
        return self.pool.wire_for(url)

    def submit(self, coroutine: Coroutine[object, object, T]) -> concurrent.futures.Future[T]:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError as error:  # it ended a moment ago
            coroutine.close()
            raise ServiceUnreachableError("the event loop of the connections has ended: not sent") from error

    def hand_over(self, coroutine: Coroutine[object, object, T]) -> concurrent.futures.Future[T]:
        """Submit a call, which ends with the loop at the latest."""
        future = self.submit(coroutine)
        self._handed_over.add(future)
        future.add_done_callback(self._handed_over.discard)
        if self._is_closed:
            future.cancel()
        return future

    async def carry_out(self, function: Callable[[Wires], Coroutine[object, object, T]]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)  # a loop by itself holds its tasks weakly only
        try:
            if self._keeper is None and not self._is_lent:
                self._keeper = self._until_the_loop_ends()
                await anext(self._keeper)
            return await function(self)
        finally:
            self.tasks.discard(task)

    def retire(self) -> None:
        """Close, without waiting for it, from any thread.

        The loop may be about to end, and would then cancel the closing half-way. So it is given a moment, in which it
        can close the connections itself.
        """
        self._is_closed = True
        if self.is_inherited:
            return
        if self._thread is not None:
            self._thread.request_stop()
            return
        with suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self.loop.call_later, _RETIRE_SECONDS, self._begin_closing)

    def _begin_closing(self) -> None:
        self._closing = self.loop.create_task(self.close())

    async def close(self) -> None:
        self._is_closed = True
        await self.pool.close()
        if self._keeper is not None:
            with suppress(RuntimeError):  # the loop is ending, and closes it at the same moment
                await self._keeper.aclose()

    def end(self) -> None:
        if self._thread is not None:
            self._thread.stop()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        """Close the pool when the loop closes its asynchronous generators: at the end of ``asyncio.run``, for one."""
        try:
            yield
        finally:
            if not self._is_closed:
                self._is_closed = True
                for future in list(self._handed_over):
                    future.cancel()  # the loop may have no turn left for it, and nobody else would end it
            await self.pool.close()
