"""What a service does when its store or its broker is in trouble: it waits, loses nothing and does nothing twice."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from gemstone_events import MicroService, RetryPolicy, event_handler
from gemstone_events.errors import (
    ServiceConfigurationError,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnavailableError,
    TransportRefusedError,
    UnknownSchemeError,
)
from gemstone_events.event import new_id
from gemstone_events.store.memory import MemoryStore
from gemstone_events.store.sqlite import SqliteStore
from tests.waiting import until


class Sink(MicroService):
    name = "sink"
    port = None

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.got: list[object] = []

    @event_handler("a", retry=RetryPolicy(attempts=1))
    async def take(self, body):
        self.got.append(body)


class FailingStore(MemoryStore):
    """A store whose commits of inbox marks fail while ``trouble`` is set."""

    trouble: Exception | None = None
    failures = 0

    async def commit(self, changes):
        """Fail, or do as usual."""
        if self.trouble is not None and changes.handled:
            self.failures += 1
            raise self.trouble
        await super().commit(changes)


@pytest.mark.parametrize("trouble", [StoreFullError("the disk is full"), StoreUnavailableError("locked")])
async def test_an_outcome_waits_for_the_store_and_the_handler_does_not_run_again(trouble):
    store = FailingStore()
    store.trouble = trouble
    address = f"memory://{new_id()}"
    async with Sink(event_transports=[address], event_store=store) as sink:
        await sink.emit_event("a", 1)
        await until(lambda: store.failures >= 3)
        store.trouble = None
        await until(lambda: not sink._current_run.messaging.subscribers[0]._open)
        assert sink.got == [1]
        assert await store.list_dead_letters() == []


async def test_readiness_says_that_events_wait_for_the_store_until_they_need_not():
    store = FailingStore()
    store.trouble = StoreFullError("the disk is full")
    async with Sink(event_transports=[f"memory://{new_id()}"], event_store=store) as sink:
        await sink.emit_event("a", 1)
        await until(lambda: sink._current_run.messaging.trouble() == {"memory:": "events wait: the disk is full"})
        store.trouble = None
        await until(lambda: not sink._current_run.messaging.trouble())


async def test_a_store_that_can_be_read_and_not_written_is_told_of_once_until_it_can_be_written(caplog):
    store = FailingStore()
    store.trouble = StoreFullError("the disk is full")
    async with Sink(event_transports=[f"memory://{new_id()}"], event_store=store) as sink:
        subscriber = sink._current_run.messaging.subscribers[0]
        for number in range(10):
            await sink.emit_event("a", number)
            await until(lambda failures=store.failures: store.failures > failures)
            assert subscriber.store_trouble
        assert sum("events wait" in record.getMessage() for record in caplog.records) == 1
        store.trouble = None
        await until(lambda: not subscriber.store_trouble and not subscriber._open)


async def test_what_is_claimed_while_the_service_is_told_to_stop_is_not_kept_from_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("gemstone_events.subscribing.retrier.CLAIM_SECONDS", 3600.0)
    claimed = asyncio.Event()

    class Slow(SqliteStore):
        async def claim_retries(self, *claim):
            found = await super().claim_retries(*claim)
            claimed.set()
            await asyncio.sleep(0.05)  # the service does not know of them yet
            return found

    class Broken(MicroService):
        name = "broken"
        port = None

        @event_handler("b", retry=RetryPolicy(attempts=1000, first_delay=0.001, max_delay=0.001))
        async def fail(self, body):
            raise ValueError("not now")

    path = str(tmp_path / "store.db")
    async with Broken(event_transports=[f"memory://{new_id()}"], event_store=Slow(path)) as service:
        await service.emit_event("b", 1)
        await asyncio.wait_for(claimed.wait(), 10)
    store = SqliteStore(path)
    await store.open()
    assert await store.seconds_to_next_retry(["broken:b:Broken.fail"]) < 60
    await store.close()


async def test_a_drain_that_is_cut_short_begins_nothing_new():
    class Hanging(MicroService):
        name = "hanging"
        port = None
        began = 0

        @event_handler("a", concurrency=1)
        async def hang(self, body):
            self.began += 1
            await asyncio.Event().wait()

    async with Hanging(event_transports=[f"memory://{new_id()}"], event_store="memory:") as service:
        for number in range(3):
            await service.emit_event("a", number)
        subscriber = service._current_run.messaging.subscribers[0]
        await until(lambda: service.began == 1 and subscriber._turns.waiting)
        await service._current_run.messaging.close()
        await until(lambda: not subscriber._tasks)
        assert service.began == 1


async def test_more_than_the_store_can_ever_take_is_a_failure_of_the_handler():
    store = FailingStore()
    store.trouble = StoreError("a unit of work cannot be stored: string or blob too big")
    async with Sink(event_transports=[f"memory://{new_id()}"], event_store=store) as sink:
        await sink.emit_event("a", 1)
        await until(lambda: store._letters)
        (letter,) = await store.list_dead_letters()
        assert letter.reason == "exhausted"
        assert "too big" in letter.error
        assert not sink._current_run.messaging.trouble()


async def emit_for_ever(service: MicroService) -> None:
    """Emit one event after the other."""
    while True:
        await service.emit_event("b", "x" * 5000)


async def test_a_full_store_refuses_what_is_emitted_and_keeps_what_it_had_taken(tmp_path):
    store = SqliteStore(str(tmp_path / "small.db"), max_pages=60)
    async with Sink(event_transports=[], event_store=store) as sink:
        await sink.emit_event("b", "the first")
        with pytest.raises(StoreFullError):
            await emit_for_ever(sink)
        kept = await store.read_emitted(0, 1000)
    assert len(kept) > 3
    assert kept[0].message.body == b'"the first"'


async def test_a_file_that_is_no_database_is_refused_at_start_up(tmp_path):
    (tmp_path / "sink.db").write_bytes(b"this is no database, but a letter to somebody" * 100)
    with pytest.raises(StoreRefusedError, match=r"sink\.db"):
        async with Sink(data_dir=tmp_path):
            pass


async def test_a_bus_that_is_no_database_is_refused_at_start_up(tmp_path):
    (tmp_path / "bus.db").write_bytes(b"this is no database, but a letter to somebody" * 100)
    with pytest.raises(TransportRefusedError, match=r"bus\.db"):
        async with Sink(data_dir=tmp_path):
            pass


@pytest.mark.parametrize("settings", [{"event_transports": ["kafka://x"]}, {"event_store": "mongodb://x"}])
async def test_an_unknown_scheme_is_refused_with_those_that_are_known(settings, tmp_path):
    with pytest.raises(UnknownSchemeError, match=r"installed are .*sqlite"):
        async with Sink(data_dir=tmp_path, **settings):
            pass


async def test_two_services_on_one_port_are_told_so(tmp_path):
    async with Sink(port=0, data_dir=tmp_path) as first:
        with pytest.raises(ServiceConfigurationError, match=str(first.bound_port)):
            async with Sink(port=first.bound_port, data_dir=tmp_path):
                pass


async def test_a_service_that_anybody_could_call_refuses_to_listen_beyond_loopback(tmp_path):
    with pytest.raises(ServiceConfigurationError, match="authenticate_request"):
        async with Sink(port=0, host="0.0.0.0", data_dir=tmp_path):
            pass


async def test_a_data_folder_that_cannot_be_is_refused_at_start_up(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreRefusedError):
        async with Sink(data_dir=tmp_path / "file"):
            pass


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep the write lock of an SQLite file, as a process that was suspended in the middle of a commit does."""
    other = apsw.Connection(str(file))
    try:
        other.set_busy_timeout(10_000)
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


async def test_a_locked_store_holds_up_the_stop_no_longer_than_it_may(tmp_path):
    class Hanging(Sink):
        begun = False

        @event_handler("b")
        async def hang(self, body):
            self.begun = True
            await asyncio.Event().wait()

    store = SqliteStore(str(tmp_path / "sink.db"), lock_timeout=60.0)
    threads = set(threading.enumerate())
    service = Hanging(event_transports=[f"memory://{new_id()}"], event_store=store)
    async with service:
        messaging = service._current_run.messaging
        await service.emit_event("b", 1)
        await until(lambda: service.begun)
        emitting = []
        with locked(tmp_path / "sink.db"):
            async with asyncio.timeout(20):  # a third of what the store would wait
                emitting.append(service.emit_event("b", 2))
                await messaging.drain(0.2)
                await messaging.flush(0.1)
                await messaging.close(0.1)
        await until(lambda: set(threading.enumerate()) <= threads | {threading.main_thread()})
        with contextlib.suppress(StoreUnavailableError):
            await emitting[0]


async def test_a_locked_bus_holds_up_the_stop_no_longer_than_it_may(tmp_path):
    async with Sink(data_dir=tmp_path) as service:
        messaging = service._current_run.messaging
        with locked(tmp_path / "bus.db"):
            async with asyncio.timeout(20):
                await messaging.drain(0.2)
                await messaging.close(0.1)


async def until_ready(service: MicroService, ready: bool, seconds: float) -> None:
    """Wait until ``GET /health/ready`` would say so."""
    async with asyncio.timeout(seconds):
        while (await service._readiness()).ok is not ready:
            await asyncio.sleep(0.02)


async def test_services_work_over_rabbitmq_through_a_restart_of_the_broker(rabbitmq_node, namespace):
    settings = {"event_transports": [rabbitmq_node.url], "event_store": "memory:", "namespace": namespace}
    sink = Sink(**settings)
    async with sink:
        await sink.emit_event("a", 1)
        await until(lambda: sink.got == [1])
        await asyncio.to_thread(rabbitmq_node.stop)
        await sink.emit_event("a", 2)
        await until_ready(sink, False, 20)
        await asyncio.to_thread(rabbitmq_node.start)
        await until(lambda: sorted(sink.got) == [1, 2], seconds=60)
        await until_ready(sink, True, 60)


async def test_wrong_credentials_are_refused_at_start_up_without_showing_them(rabbitmq_url, tmp_path):
    url = rabbitmq_url.replace("guest:guest", "guest:wrong-secret")
    with pytest.raises(TransportRefusedError) as refused:
        async with Sink(data_dir=tmp_path, event_transports=[url]):
            pass
    assert "wrong-secret" not in str(refused.value)
