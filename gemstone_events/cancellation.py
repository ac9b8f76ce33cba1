"""Cancelling tasks, and telling a cancellation of one's own task from one that came out of what it awaits."""

import asyncio

_LAST_SECONDS = 0.1


def is_cancelled() -> bool:
    """Tell whether somebody cancelled the running task; what it awaited may have been cancelled without that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def end(*tasks: asyncio.Task[object] | None, timeout: float = 1.0) -> None:
    """Cancel tasks and wait until they have ended; what they return or raise is nobody's concern any more.

    They have ``timeout`` seconds for what they do when they are cancelled. Those that go on after that are cancelled once
    more, in the middle of it, and left alone a tenth of a second later: a library may swallow a cancellation, as redis
    does when its timeout is due, but it does not twice.

    Args:
        tasks: None is passed over, and so is a task of another event loop, which only that can end.
        timeout: seconds, for all at the same time.
    """
    loop = asyncio.get_running_loop()
    unfinished = {task for task in tasks if task is not None and task.get_loop() is loop}
    for seconds in (timeout, _LAST_SECONDS):
        for task in unfinished:
            task.cancel()
        if unfinished:
            done, unfinished = await asyncio.wait(unfinished, timeout=seconds)
            for task in done:
                if not task.cancelled():
                    task.exception()  # nobody else asks for it
