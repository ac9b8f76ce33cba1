"""Running what blocks, whoever wrote it, so that it holds up neither the loop nor the end of the process."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def begin_in_thread(call: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Begin to run a function in a daemon thread of its own.

    Args:
        call: the function.
        name: the thread's, for people.

    Returns:
        A future of the running loop. Cancelling it ends no thread; ``asyncio.shield`` it where the end matters. What
        no future carries, or would end whoever waits for it (``StopIteration``, ``SystemExit``, a cancellation), is a
        ``RuntimeError`` there.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, failure: Exception | None) -> None:
        if outcome.done():
            return  # nobody waits any more
        if failure is not None:
            outcome.set_exception(failure)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        failure: Exception | None = None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, who waits has to be told
            if isinstance(error, Exception) and not isinstance(error, StopIteration):
                failure = error
            else:
                failure = RuntimeError(f"it raised {type(error).__name__}")
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as error:  # the system has no means for another thread
        outcome.set_exception(error)
    return outcome
