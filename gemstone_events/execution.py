"""Running what authors wrote: ``async def`` on the loop, ``def`` in the service's threads."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import MappingProxyType
from typing import cast

_NOTHING: Mapping[str, object] = MappingProxyType({})


def _nothing() -> None:
    pass


class Threads:
    """The threads of one service. A call waits for a free one before it begins; a call that hangs keeps its own.

    Args:
        number: how many there are.
        name: what they are called, for debuggers.
    """

    def __init__(self, number: int, name: str) -> None:
        self.executor = ThreadPoolExecutor(number, name)
        self._free = asyncio.Semaphore(number)

    async def run(self, call: Callable[[], object], begins: Callable[[], None]) -> object:
        """Run ``call`` in a thread and return its result; ``begins`` is called when one is free."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        future = self.executor.submit(call)
        future.add_done_callback(partial(self._release, loop))
        begins()
        return await asyncio.wrap_future(future)

    def _release(self, loop: asyncio.AbstractEventLoop, done: "Future[object]") -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._free.release)


async def run(
    function: Callable[..., object],
    arguments: Sequence[object],
    keywords: Mapping[str, object] = _NOTHING,
    *,
    is_coroutine: bool,
    threads: Threads,
    begins: Callable[[], None] = _nothing,
) -> object:
    """Call a function where it belongs and return its result.

    A ``def`` runs in a thread with the caller's context, so that it sees the caller's unit of work, and never blocks
    the loop. If the caller is cancelled, a thread that runs already goes on to its end; its unit of work is closed by
    then. ``begins`` is called when the function is about to run, after a thread was waited for.
    """
    if is_coroutine:
        begins()
        return await cast(Awaitable[object], function(*arguments, **keywords))
    call = partial(copy_context().run, _shielded, function, arguments, keywords)
    result = await threads.run(call, begins)
    # A def may hand back an awaitable, for example a partial of a coroutine function or a Tornado coroutine.
    return await result if isinstance(result, Awaitable) else result


def _shielded(function: Callable[..., object], arguments: Sequence[object], keywords: Mapping[str, object]) -> object:
    try:
        return function(*arguments, **keywords)
    except (StopIteration, GeneratorExit) as error:  # the one no future carries, the other would end who waits for it
        raise RuntimeError(f"{getattr(function, '__qualname__', function)} raised {type(error).__name__}") from error
