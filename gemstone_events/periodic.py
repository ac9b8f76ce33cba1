"""Functions that run again and again, each run in a unit of work."""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from gemstone_events.cancellation import is_cancelled

RunInUnit: TypeAlias = Callable[[Callable[..., object], bool], Awaitable[object]]
"""Runs a function without arguments in a unit of work; the flag says that it is ``async def``."""


async def run_periodically(
    function: Callable[..., object],
    seconds: float,
    run_in_unit: RunInUnit,
    stopping: asyncio.Event,
    logger: logging.Logger,
) -> None:
    """Run ``function`` every ``seconds`` seconds until ``stopping`` is set; a run that has begun is finished.

    A run that takes longer than its period delays the next; runs never overlap. A failure is logged, drops what the
    run would have written, and does not end the series.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    while not await _is_set_by(stopping, due):
        due = max(due + seconds, loop.time())
        try:
            await run_in_unit(function, inspect.iscoroutinefunction(_unwrapped(function)))
        except (Exception, SystemExit):
            logger.exception("the periodic task %s failed", _name(function))
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            logger.exception("the periodic task %s awaited something that was cancelled", _name(function))


async def _is_set_by(event: asyncio.Event, when: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(when):
            await event.wait()
    return event.is_set()


def _name(function: Callable[..., object]) -> str:
    return str(getattr(_unwrapped(function), "__qualname__", function))


def _unwrapped(function: Callable[..., object]) -> Callable[..., object]:
    while isinstance(function, partial):
        function = function.func
    return function
