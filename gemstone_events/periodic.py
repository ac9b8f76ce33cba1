"""Functions that run again and again, each run in a unit of work."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

RunInUnit: TypeAlias = Callable[[Callable[..., object], bool], Awaitable[object]]
"""Runs a function without arguments in a unit of work; the flag says that it is ``async def``."""


async def run_periodically(
    function: Callable[..., object], seconds: float, run_in_unit: RunInUnit, logger: logging.Logger
) -> None:
    """Run ``function`` every ``seconds`` seconds, for ever; cancel it to stop.

    A run that takes longer than its period delays the next; runs never overlap. A failure is logged, drops what the
    run would have written, and does not end the series.
    """
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        due = max(due + seconds, loop.time())
        try:
            await run_in_unit(function, inspect.iscoroutinefunction(_unwrapped(function)))
        except Exception:
            logger.exception("the periodic task %s failed", getattr(_unwrapped(function), "__qualname__", function))


def _unwrapped(function: Callable[..., object]) -> Callable[..., object]:
    while isinstance(function, partial):
        function = function.func
    return function
