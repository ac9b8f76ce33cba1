"""Running services until a signal, and ending cleanly: what ``start`` and ``gemstone run`` share."""

import asyncio
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol, Self

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A thread that waits for the interpreter while the loop computes gets it after this many seconds; Python's default of
# 5 ms would be paid at each hand-over between the loop and the store's thread.
SWITCH_INTERVAL_SECONDS = 0.0005
THREAD_GRACE_SECONDS = 1.0

_log = logging.getLogger("gemstone_events")


class Service(Protocol):
    """What can be run."""

    @property
    def description(self) -> str:
        """One line for people: what runs where."""

    async def __aenter__(self) -> Self:
        """Start."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drain and stop."""

    async def wait_stopped(self) -> None:
        """Return when the service was told to stop."""


def run(services: Sequence[Service], loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Run services in this process until SIGTERM, SIGINT or the ``stop`` of one of them; then drain them.

    A second signal ends the draining early: what was being handled is given back.

    Args:
        services: started in order, stopped in reverse.
        loop: the loop to run on; by default a new one, uvloop's if it is installed.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    if loop is not None:
        loop.run_until_complete(_run(services))
    else:
        with asyncio.Runner(loop_factory=_loop_factory()) as asyncio_runner:
            asyncio_runner.run(_run(services))
    if stuck := _stuck_threads():
        # The interpreter would wait for them for ever; what they were handling is unacked and will come again.
        _log.error("%d blocking handlers did not end in time; leaving them: %s", len(stuck), ", ".join(stuck))
        logging.shutdown()
        sys.stdout.flush()
        os._exit(1)


async def _run(services: Sequence[Service]) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    main = asyncio.current_task()
    assert main is not None

    def on_signal() -> None:
        if stopping.is_set():
            _log.warning("stopping at once")
            main.cancel()
        stopping.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        async with AsyncExitStack() as running:
            for service in services:
                await running.enter_async_context(service)
                _log.info("%s", service.description)
            waiting = [loop.create_task(service.wait_stopped()) for service in services]
            waiting.append(loop.create_task(_wait(stopping)))
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            _log.info("stopping")
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return factory


def _stuck_threads() -> list[str]:
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    deadline = time.monotonic() + THREAD_GRACE_SECONDS
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in others if thread.is_alive()]
