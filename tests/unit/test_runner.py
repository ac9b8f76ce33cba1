"""Several services in one process: started in order, stopped at once, whatever becomes of one of them."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Self

import pytest

from gemstone_events import runner

PATIENCE = 10.0


class Recorded:
    """A service that writes down what becomes of it.

    Args:
        log: where to.
        name: who it is.

    Attributes:
        starts, drains: what starting and stopping wait for.
        started, stopping: it has started, and is stopping.
        told: tells it to stop.
    """

    def __init__(self, log: list[str], name: str) -> None:
        self.log = log
        self.description = name
        self.fails_at_start: BaseException | None = None
        self.fails_at_stop: BaseException | None = None
        self.starts = asyncio.Event()
        self.starts.set()
        self.started = asyncio.Event()
        self.stopping = asyncio.Event()
        self.drains = asyncio.Event()
        self.drains.set()
        self.told = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.log.append(f"{self.description} starts")
        await asyncio.wait_for(self.starts.wait(), PATIENCE)
        if self.fails_at_start is not None:
            raise self.fails_at_start
        self.started.set()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.log.append(f"{self.description} stops")
        self.stopping.set()
        try:
            await asyncio.wait_for(self.drains.wait(), PATIENCE)
        except asyncio.CancelledError:
            self.log.append(f"{self.description} is cut off")
            raise
        self.log.append(f"{self.description} has stopped")
        if self.fails_at_stop is not None:
            raise self.fails_at_stop

    async def wait_stopped(self) -> None:
        await self.told.wait()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop to run services on; signals and the switch interval are as before when it ends."""
    interval = sys.getswitchinterval()
    with asyncio.Runner() as own:
        yield own.get_loop()
    sys.setswitchinterval(interval)


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def services(log: list[str]) -> list[Recorded]:
    return [Recorded(log, "first"), Recorded(log, "second")]


def run(services: list[Recorded], loop: asyncio.AbstractEventLoop, *events: object) -> None:
    """Run services, and let things happen meanwhile, one after the other."""

    async def happen() -> None:
        for event in events:
            await asyncio.wait_for(event, PATIENCE)  # type: ignore[arg-type]

    happening = loop.create_task(happen())
    runner.run(services, loop)
    loop.run_until_complete(happening)


async def _signalled() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def _set(*events: asyncio.Event) -> None:
    for event in events:
        event.set()


def test_services_start_in_order_and_stop_at_the_same_time(services, loop, log) -> None:
    first, second = services
    first.drains.clear()
    second.drains.clear()
    run(
        services,
        loop,
        _set(first.told),
        first.stopping.wait(),
        second.stopping.wait(),  # neither waits for the other's draining
        _set(first.drains, second.drains),
    )
    assert log[:2] == ["first starts", "second starts"]
    assert sorted(log[2:4]) == ["first stops", "second stops"]
    assert sorted(log[4:]) == ["first has stopped", "second has stopped"]


def test_a_second_signal_ends_the_draining_of_all(services, loop, log) -> None:
    for service in services:
        service.drains.clear()
    stopping = (service.stopping.wait() for service in services)
    run(services, loop, services[1].started.wait(), _signalled(), *stopping, _signalled())
    assert sorted(log[4:]) == ["first is cut off", "second is cut off"]


def test_a_service_that_cannot_start_stops_those_that_run(services, loop, log) -> None:
    services[1].fails_at_start = ValueError("no")
    third = Recorded(log, "third")
    with pytest.raises(ValueError, match="no"):
        run([*services, third], loop)
    assert log == ["first starts", "second starts", "first stops", "first has stopped"]


def test_a_service_that_fails_to_stop_keeps_no_other_from_stopping(services, loop, log, caplog) -> None:
    third = Recorded(log, "third")
    services[0].fails_at_stop = ValueError("first")
    services[1].fails_at_stop = ValueError("second")
    third.told.set()
    with caplog.at_level(logging.ERROR, "gemstone_events"), pytest.raises(ValueError, match="first"):
        run([*services, third], loop)
    assert {"first has stopped", "second has stopped", "third has stopped"} <= set(log)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["second"]


def test_what_keeps_a_service_from_starting_is_raised_even_if_another_fails_to_stop(services, loop, caplog) -> None:
    services[0].fails_at_stop = ValueError("stop")
    services[1].fails_at_start = ValueError("start")
    with caplog.at_level(logging.ERROR, "gemstone_events"), pytest.raises(ValueError, match="start"):
        run(services, loop)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["stop"]


def test_a_signal_ends_a_start_that_takes_for_ever_and_drains_what_runs(services, loop, log) -> None:
    services[1].starts.clear()

    async def starting() -> None:
        while "second starts" not in log:
            await asyncio.sleep(0)

    run(services, loop, starting(), _signalled())
    assert log == ["first starts", "second starts", "first stops", "first has stopped"]
