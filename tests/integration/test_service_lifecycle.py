"""The ends of a service's run: whatever fails there, everything is closed, and the first failure is the one that is told."""

import asyncio
import logging
import sys
from abc import ABC

import aiohttp
import pytest

from gemstone_events import BasePlugin, MicroService, RemoteService, exposed_method
from gemstone_events.adapters import make_transport
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.event import new_id
from gemstone_events.management import AbstractComponent, Component, component, implementation
from gemstone_events.rpc.call_errors import OutcomeUnknownError
from gemstone_events.store.memory import MemoryStore
from gemstone_events.transport import TransportSettings
from tests.waiting import until

PATIENCE = 20.0


class Shop(MicroService):
    name = "shop"
    event_store = "memory:"
    event_transports = ()
    port = None


class Recorder(BasePlugin):
    """A plugin that writes down what it is told."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self._told = told
        super().__init__()

    def on_service_start(self) -> None:
        """Write it down."""
        self._told.append(f"{self.name} starts")

    def on_service_stop(self) -> None:
        """Write it down."""
        self._told.append(f"{self.name} stops")


class Failing(Recorder):
    """A plugin that cannot start."""

    def on_service_start(self) -> None:
        """Fail."""
        raise ValueError("a plugin")


class RecordedStore(MemoryStore):
    """A store that knows whether it is open."""

    is_open = False

    async def open(self):
        """Open it."""
        await super().open()
        self.is_open = True

    async def close(self):
        """Close it."""
        await super().close()
        self.is_open = False


async def test_a_transport_that_cannot_be_closed_keeps_nothing_else_open(monkeypatch):
    store = RecordedStore()
    transports = [make_transport(f"memory://{new_id()}", TransportSettings()) for _ in range(2)]

    async def fail():
        raise RuntimeError("a cable")

    monkeypatch.setattr(transports[0], "close", fail)
    with pytest.raises(RuntimeError, match="a cable"):
        async with Shop(event_store=store, event_transports=transports):
            assert store.is_open
    assert not store.is_open


async def test_why_a_start_failed_is_raised_even_if_the_stop_fails_too(caplog):
    class Broken(Shop):
        def on_service_stop(self):
            raise KeyError("stop")

    with (
        caplog.at_level(logging.ERROR, "gemstone_events"),
        pytest.raises(ServiceConfigurationError, match="no address"),
    ):
        await Broken(port=0, host="no..name", allow_unauthenticated=True).__aenter__()
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]


async def test_plugins_that_were_told_of_the_start_are_told_of_the_stop_whatever_fails():
    class Broken(Shop):
        def on_service_stop(self):
            raise KeyError("stop")

    told: list[str] = []
    with pytest.raises(KeyError, match="stop"):
        async with Broken(plugins=[Recorder("one", told), Recorder("two", told)]):
            pass
    assert told == ["one starts", "two starts", "two stops", "one stops"]
    told.clear()
    with pytest.raises(ValueError, match="a plugin"):
        await Shop(plugins=[Recorder("one", told), Failing("two", told), Recorder("three", told)]).__aenter__()
    assert told == ["one starts", "one stops"]


async def _never_ends(enough: asyncio.Event) -> None:
    while not enough.is_set():
        try:
            await enough.wait()
        except asyncio.CancelledError:
            continue


async def test_a_hook_that_swallows_its_cancellation_holds_up_the_stop_no_longer_than_it_may(caplog):
    enough = asyncio.Event()

    class Stubborn(Shop):
        async def on_service_stop(self):
            await _never_ends(enough)

    async with asyncio.timeout(PATIENCE):
        async with Stubborn(shutdown_timeout=0.1):
            pass
    enough.set()
    assert "on_service_stop did not end in time" in caplog.text


@component(services=[])
class Stock(Component, ABC):
    """What is there."""


async def test_a_component_that_does_not_shut_down_holds_up_the_stop_no_longer_than_it_may(caplog):
    enough = asyncio.Event()

    @implementation()
    class Warehouse(AbstractComponent, Stock):
        async def shutdown(self):
            """Never come to an end."""
            await _never_ends(enough)

    async with asyncio.timeout(PATIENCE):
        async with Shop(components=[Warehouse()], shutdown_timeout=0.1):
            pass
    enough.set()
    assert "stopping the components did not end in time" in caplog.text


async def test_a_drain_that_is_cut_short_ends_the_calls_over_http_too():
    marks: list[str] = []

    class Slow(Shop):
        port = 0

        @exposed_method()
        async def wait(self):
            marks.append("begun")
            try:
                await asyncio.Event().wait()
            finally:
                marks.append("ended")

    slow = Slow()
    running = asyncio.create_task(slow.serve())
    await until(lambda: slow.bound_port)
    async with aiohttp.ClientSession() as client:
        calling = asyncio.create_task(client.post(slow.url, json={"jsonrpc": "2.0", "id": 1, "method": "wait"}))
        await until(lambda: marks)
        running.cancel()
        # It is draining when it listens no more.
        await until(lambda: slow._current_run.calling._http._application.in_flight.draining)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert marks == ["begun", "ended"]
        with pytest.raises(aiohttp.ClientConnectionError):
            await calling


async def test_a_method_that_cancels_itself_keeps_no_caller_over_http_waiting():
    class Odd(Shop):
        port = 0

        @exposed_method()
        async def give_up(self):
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    async with Odd() as odd, RemoteService(odd.url, timeout=PATIENCE) as service:
        with pytest.raises(OutcomeUnknownError):
            await service.methods.give_up()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are eager since Python 3.12")
async def test_calls_that_end_before_their_task_is_known_keep_no_place(tmp_path):
    class Adding(Shop):
        port = 0
        max_concurrent_calls = 2

        @exposed_method()
        async def add(self, a, b):
            return a + b

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    wires = [f"memory://{new_id()}", f"sqlite:///{tmp_path}/bus.db"]
    async with Adding(rpc_transports=wires) as adding:
        for url in adding.urls:
            async with RemoteService(url, timeout=PATIENCE) as service:
                assert [await service.methods.add(1, n) for n in range(4)] == [1, 2, 3, 4]
        assert not len(adding._current_run.calling._http._application.in_flight)
