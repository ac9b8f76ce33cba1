"""Telling a cancellation of one's own task from one that came out of what it awaits."""

import asyncio


def is_cancelled() -> bool:
    """Tell whether somebody cancelled the running task; what it awaited may have been cancelled without that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
