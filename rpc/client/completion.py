"""Waiting for several calls: without turning round and round, in threads and on event loops."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from gemstone_events.rpc.client.async_call import AsyncMethodCall, is_on_loop, loop_gone

T = TypeVar("T")

# All calls are done: what they tell is on its way from their event loop.
_GRACE_SECONDS = 5.0


class CompletedCalls(Iterator[AsyncMethodCall[T]], AsyncIterator[AsyncMethodCall[T]]):
    """Calls in the order in which they are done: for ``for`` in a thread, for ``async for`` on an event loop."""

    def __init__(self, calls: Iterable[AsyncMethodCall[T]]) -> None:
        self._calls = list(calls)
        for call in self._calls:
            if not isinstance(call, AsyncMethodCall):
                raise _no_call(call)
        self._in_thread = self._wait()
        self._on_loop = self._await()

    def __next__(self) -> AsyncMethodCall[T]:
        return next(self._in_thread)

    async def __anext__(self) -> AsyncMethodCall[T]:
        return await anext(self._on_loop)

    def _wait(self) -> Iterator[AsyncMethodCall[T]]:
        if is_on_loop():
            raise RuntimeError("waiting here would block the event loop: write async for")
        done: SimpleQueue[AsyncMethodCall[T]] = SimpleQueue()
        for call in self._calls:
            call.add_done_callback(done.put)
        for _ in self._calls:
            try:
                yield done.get(timeout=self._longest_wait())
            except Empty:
                raise loop_gone() from None

    async def _await(self) -> AsyncIterator[AsyncMethodCall[T]]:
        done: asyncio.Queue[AsyncMethodCall[T]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(call: AsyncMethodCall[T]) -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(done.put_nowait, call)

        for call in self._calls:
            call.add_done_callback(put)
        for _ in self._calls:
            try:
                async with asyncio.timeout(self._longest_wait()):
                    call = await done.get()
            except TimeoutError:
                raise loop_gone() from None
            yield call

    def _longest_wait(self) -> float:
        return max((call.longest_wait for call in self._calls if not call.finished()), default=_GRACE_SECONDS)


def as_completed(*calls: AsyncMethodCall[T]) -> CompletedCalls[T]:
    """Return an iterator over calls that yields each as soon as it is done, well or not.

        for call in as_completed(*calls):           # in a thread
            print(call.result())

        async for call in as_completed(*calls):     # on an event loop

    Raises:
        TypeError: something else is among them.
        OutcomeUnknownError: while it is gone through: the event loop that made a call does not run any more.
    """
    return CompletedCalls(calls)


# Any: a call in a thread, to be awaited on a loop. No type says "depends on where you are".
def first_completed(*calls: AsyncMethodCall[T]) -> Any:
    """Return the first call that is done, well or not; on an event loop it is to be awaited. The others go on.

    Raises:
        TypeError: something else is among them.
        ValueError: there are none.
    """
    if not calls:
        raise ValueError("there is no call to wait for")
    completed = CompletedCalls(calls)
    for call in calls:  # nobody may ask for those that come later: their failures are no news
        call.let_go()
    return anext(completed) if is_on_loop() else next(completed)


def make_callbacks(
    calls: Iterable[AsyncMethodCall[T]],
    on_result: Callable[[T], object],
    on_error: Callable[[BaseException], object],
    run_in_threads: bool = False,
) -> Coroutine[object, object, None] | None:
    """Wait for calls, and hand each result, or error, to a function as soon as it is there.

    It returns when all calls are done, and, without ``run_in_threads``, all functions have returned; on an event loop
    it is to be awaited. What a function raises ends the waiting, and is raised here: the remaining calls go on, and
    nobody is told of them.

    Args:
        calls: the calls.
        on_result: gets each result.
        on_error: gets the exception of each call that failed.
        run_in_threads: run each function in a thread of its own, and do not wait for it.

    Raises:
        TypeError: something else is among them.
    """

    def react(call: AsyncMethodCall[T]) -> None:
        error = call.error()
        tell = partial(on_result, call.result()) if error is None else partial(on_error, error)
        if run_in_threads:
            threading.Thread(target=tell).start()
        else:
            tell()

    completed = CompletedCalls(calls)
    if is_on_loop():
        return _react(completed, react)
    for call in completed:
        react(call)
    return None


def _no_call(given: object) -> TypeError:
    mend = ": write (*calls)" if isinstance(given, Iterable) and not isinstance(given, str) else ""
    return TypeError(f"only AsyncMethodCall objects can be waited for, not {type(given).__name__}{mend}")


async def _react(completed: CompletedCalls[T], react: Callable[[AsyncMethodCall[T]], None]) -> None:
    async for call in completed:
        react(call)
