"""Connections to Redis that last a moment: none is left open, whenever who uses it is cancelled."""

import asyncio
import gc
import warnings
from contextlib import suppress

import pytest

from gemstone_events.rpc.discovery.redis_entries import RedisEntries


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_is_closed_although_its_user_is_cancelled_meanwhile(redis_url: str, turns: int) -> None:
    entries, used = RedisEntries(redis_url), asyncio.Event()

    async def use() -> None:
        async with entries.connected() as redis:
            await redis.ping()
            used.set()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        using = asyncio.create_task(use())
        await used.wait()
        for _ in range(turns):  # of the loop, while the connection is being closed
            await asyncio.sleep(0)
        using.cancel()
        with suppress(asyncio.CancelledError):
            await using
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)
        del using, others
        gc.collect()
    assert not [str(each.message) for each in caught]
