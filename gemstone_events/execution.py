"""Running what authors wrote: ``async def`` on the loop, ``def`` in the service's threads, each in its unit of work."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import MappingProxyType
from typing import cast


async def run(
    function: Callable[..., object],
    arguments: Sequence[object],
    keywords: Mapping[str, object] = MappingProxyType({}),
    *,
    is_coroutine: bool,
    executor: ThreadPoolExecutor,
) -> object:
    """Call a function where it belongs and return its result.

    A ``def`` runs in ``executor`` with the caller's context, so that it sees the caller's unit of work, and never
    blocks the loop. If the caller is cancelled, a thread that runs already goes on to its end; its unit of work is
    closed by then.
    """
    if is_coroutine:
        return await cast(Awaitable[object], function(*arguments, **keywords))
    call = partial(copy_context().run, function, *arguments, **keywords)
    result = await asyncio.get_running_loop().run_in_executor(executor, call)
    # A def may hand back an awaitable, for example a partial of a coroutine function or a Tornado coroutine.
    return await result if isinstance(result, Awaitable) else result
