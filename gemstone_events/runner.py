"""Running services until a signal, and ending cleanly: what ``start`` and ``gemstone run`` share."""

import asyncio
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from gemstone_events.cancellation import end
from gemstone_events.countdown import Countdown

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

    They stop at once, as those of several processes do: each has its whole ``shutdown_timeout``, and all together take
    no longer than the slowest. What one calls at another meanwhile finds it stopping, too.

    A signal before all have started ends the start, and drains those that run. A second signal ends the draining early,
    of all: what was being handled is given back.

    Args:
        services: started in order. Where one cannot start, those that run already are drained.
        loop: the loop to run on; by default a new one, uvloop's if it is installed.

    Raises:
        Exception: what kept a service from starting, or the first thing that went wrong while stopping.
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
    started, stopping = asyncio.Event(), asyncio.Event()
    main = asyncio.current_task()
    assert main is not None

    def on_signal() -> None:
        if stopping.is_set():
            _log.warning("stopping at once")
        if stopping.is_set() or not started.is_set():
            main.cancel()
        stopping.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        await _serve(services, started, stopping)
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


async def _serve(services: Sequence[Service], started: asyncio.Event, stopping: asyncio.Event) -> None:
    running: list[Service] = []
    failures: list[BaseException] = []
    try:
        for service in services:
            await service.__aenter__()
            running.append(service)
            _log.info("%s", service.description)
        started.set()
        told = [asyncio.ensure_future(each) for each in (stopping.wait(), *(one.wait_stopped() for one in running))]
        await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
        await end(*told)
        _log.info("stopping")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised when all have stopped
        failures.append(error)
    finally:
        await _stop(running, failures)


async def _stop(services: Sequence[Service], failures: list[BaseException]) -> None:
    """Stop services, all at the same time, and each whatever becomes of the others. The first failure is raised."""
    outcomes = await asyncio.gather(*(each.__aexit__(None, None, None) for each in services), return_exceptions=True)
    failures += [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for failure in failures[1:]:
        _log.error("another service did not stop well either", exc_info=failure)
    if failures:
        raise failures[0]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        return None
    return factory


def _stuck_threads() -> list[str]:
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    countdown = Countdown(THREAD_GRACE_SECONDS)
    for thread in others:
        thread.join(countdown.left)
    return [thread.name for thread in others if thread.is_alive()]
