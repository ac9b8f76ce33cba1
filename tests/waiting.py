"""Waiting for what announces itself to nobody."""

import asyncio
from collections.abc import Callable

PATIENCE = 20.0


async def until(condition: Callable[[], object], what: str = "a condition", seconds: float = PATIENCE) -> None:
    """Wait until ``condition`` holds.

    Raises:
        AssertionError: it did not within ``seconds``; the message names ``what`` was waited for.
    """
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None
