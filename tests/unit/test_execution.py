"""Running what authors wrote."""

import asyncio
from collections.abc import Iterator

import pytest

from gemstone_events import execution
from gemstone_events.execution import Threads

PATIENCE = 10.0


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(1, "test")
    yield threads
    threads.executor.shutdown()


@pytest.mark.parametrize("kind", [StopIteration, GeneratorExit])
async def test_what_no_future_carries_becomes_an_error_of_the_function(
    threads: Threads, kind: type[BaseException]
) -> None:
    def work() -> None:
        raise kind

    async with asyncio.timeout(PATIENCE):
        for _ in range(2):  # the thread is free again
            with pytest.raises(RuntimeError, match=rf"work raised {kind.__name__}"):
                await execution.run(work, (), is_coroutine=False, threads=threads)
