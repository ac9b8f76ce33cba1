"""The embedded bus among real processes: killed, stopped, racing, and with files that cannot be used."""

import asyncio
import itertools
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from gemstone_events.errors import TransportRefusedError
from gemstone_events.testing.transport_contract import DEADLINE, Recorder, eventually, keep, message, messages, publish
from gemstone_events.transport import Outcome, Subscription, Transport, TransportSettings
from gemstone_events.transports.embedded import EmbeddedTransport, open_url
from gemstone_events.transports.embedded_bell import Bells
from gemstone_events.transports.embedded_bus import Bus, Row
from gemstone_events.transports.embedded_file import BusFile
from tests.integration.peer_process import Peer

PEER = Path(__file__).with_name("embedded_peer.py")
BILLING = Subscription("billing", "order.*")
SHIPPING = Subscription("shipping", "order.*")


class Bench:
    """One bus file, the transports of this process on it, and its peers."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bus.db"
        self.url = f"sqlite:///{self.path}"
        self._folder = folder
        self._transports: list[Transport] = []
        self._peers: list[Peer] = []
        self._numbers = itertools.count()

    async def open(self, *, max_pages: int | None = None, confirm_timeout: float = 10.0) -> EmbeddedTransport:
        """Return an open transport of this process."""
        settings = TransportSettings(confirm_timeout=confirm_timeout)
        transport = EmbeddedTransport(self.path, settings, max_pages=max_pages)
        await transport.open()
        self._transports.append(transport)
        return transport

    async def consume(self, recorder: Recorder, *subscriptions: Subscription) -> EmbeddedTransport:
        """Return a consuming transport of this process."""
        transport = await self.open()
        await transport.subscribe(subscriptions, recorder)
        return transport

    async def start(self, role: str, *arguments: str) -> Peer:
        """Start a peer and wait until it is ready."""
        ledger = self._folder / f"ledger-{next(self._numbers)}"
        peer = await Peer.start(ledger, PEER, role, self.url, str(ledger), *arguments)
        self._peers.append(peer)
        assert await peer.hear() == "ready"
        return peer

    def query(self, statement: str) -> object:
        """Return the single value of a statement on the file."""
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(5000)
        try:
            return connection.execute(statement).get
        finally:
            connection.close()

    async def close(self) -> None:
        """End everything."""
        await asyncio.gather(*(peer.kill() for peer in self._peers))
        await asyncio.gather(*(transport.close() for transport in self._transports))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await bench.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's write lock, as a process that hangs in a transaction does."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5000)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def test_what_a_killed_consumer_had_claimed_comes_again_to_its_group_only(bench: Bench) -> None:
    shipping, billing = Recorder(), Recorder()
    await bench.consume(shipping, SHIPPING)
    publisher = await bench.open()
    doomed = await bench.start("consume", "billing", "--prefetch", "10", "--hold")
    await publish(publisher, messages("order.placed", 10))
    await eventually(lambda: len(doomed.lines()) == 10, "the claims")
    await doomed.kill()
    await bench.consume(billing, BILLING)
    await billing.until_count(10)
    assert billing.ids() == doomed.lines()
    assert all(delivery.redelivered for delivery in billing.deliveries())
    assert shipping.ids() == doomed.lines()


async def test_publishers_may_be_killed_at_any_point(bench: Bench) -> None:
    source = random.Random()
    seed = source.randrange(2**32)
    source.seed(seed)
    recorder = Recorder()
    await bench.consume(recorder, Subscription("billing", "order.*", prefetch=500))
    accepted: list[str] = []
    for round_number in range(5):
        peers = await asyncio.gather(
            *(bench.start("publish", f"{round_number}.{n}", "1000000", "10") for n in range(4))
        )
        for peer in peers:
            await eventually(lambda peer=peer: len(peer.lines()) > 0, "the first confirmed batch")  # type: ignore[misc]
            await asyncio.sleep(source.uniform(0.0, 0.03))  # no wait for something: the point of the kill is random
            await peer.kill()
            accepted += peer.lines()
    await publish(await bench.open(), [message("order.placed", "end")])
    await recorder.until_id("end")
    counts = recorder.counts()
    del counts["end"]
    assert not set(accepted) - set(counts), f"lost with seed {seed}"
    assert set(counts.values()) == {1}, f"duplicated with seed {seed}"
    unconfirmed = len(counts) - len(accepted)
    assert len(set(accepted)) == len(accepted)
    assert unconfirmed >= 0
    assert unconfirmed % 10 == 0, "a batch is there as a whole or not at all"
    assert unconfirmed <= 20 * 10, "at most the batch that was under way"
    assert bench.query("PRAGMA integrity_check") == "ok"


async def test_a_process_stopped_for_longer_than_its_lease_causes_duplicates_and_no_loss(bench: Bench) -> None:
    publisher = await bench.open()
    sleeper = await bench.start("consume", "billing", "--prefetch", "10", "--hold")
    await publish(publisher, messages("order.placed", 10, prefix="before-"))
    await eventually(lambda: len(sleeper.lines()) == 10, "the claims")
    await publisher.close()  # so that nobody but the other consumer can notice
    sleeper.signal(signal.SIGSTOP)
    recorder = Recorder()
    awake = await bench.consume(recorder, BILLING)
    await recorder.until_count(10)
    sleeper.signal(signal.SIGCONT)
    sleeper.tell()
    assert await sleeper.hear() == "acked"
    publisher = await bench.open()
    await publish(publisher, messages("order.placed", 50, prefix="after-"))
    await eventually(lambda: len(sleeper.lines()) + len(recorder.arrived) >= 70, "the rest")
    await awake.close()
    await publish(publisher, [message("order.placed", "end")])
    await eventually(lambda: "end" in sleeper.lines(), "the stopped process to take part again")
    counts = Counter(sleeper.lines()) + recorder.counts()
    expected = {f"before-{n}": 2 for n in range(10)} | {f"after-{n}": 1 for n in range(50)} | {"end": 1}
    assert counts == expected
    await eventually(lambda: bench.query("SELECT count(*) FROM deliveries") == 0, "the last acks")


async def test_processes_of_a_group_compete_without_duplicates(bench: Bench) -> None:
    peers = [await bench.start("consume", "billing", "--prefetch", "10", "--hold") for _ in range(2)]
    await publish(await bench.open(), messages("order.placed", 15))
    await eventually(lambda: sum(len(peer.lines()) for peer in peers) == 15, "all 15")
    assert all(len(peer.lines()) >= 5 for peer in peers)
    for peer in peers:
        peer.tell()
    await publish(await bench.open(), messages("order.placed", 1000, prefix="more-"))
    await eventually(lambda: sum(len(peer.lines()) for peer in peers) >= 1015, "all")
    counts = Counter(peers[0].lines()) + Counter(peers[1].lines())
    assert len(counts) == 1015
    assert set(counts.values()) == {1}


async def test_eight_processes_share_the_file(bench: Bench) -> None:
    consumers = [await bench.start("consume", group) for group in ("billing", "billing", "shipping", "shipping")]
    publishers = await asyncio.gather(*(bench.start("publish", str(n), "2000", "20") for n in range(4)))
    for publisher in publishers:
        assert await publisher.hear() == "done"
    sent = Counter(line for publisher in publishers for line in publisher.lines())
    assert sent.total() == 8000
    for first, second in (consumers[:2], consumers[2:]):
        await eventually(lambda a=first, b=second: len(a.lines()) + len(b.lines()) >= 8000, "all")  # type: ignore[misc]
        assert Counter(first.lines()) + Counter(second.lines()) == sent
    assert bench.query("PRAGMA integrity_check") == "ok"


async def test_the_own_queue_of_a_killed_instance_is_dropped_even_by_a_mere_publisher(bench: Bench) -> None:
    publisher = await bench.open()
    doomed = await bench.start("consume", "cache-1", "--per-instance")
    await publish(publisher, messages("order.placed", 1))
    await eventually(lambda: len(doomed.lines()) == 1, "its copy")
    await doomed.kill()
    await publish(publisher, messages("order.placed", 5))
    await eventually(lambda: bench.query("SELECT count(*) FROM queues") == 0, "the queue to go")
    assert bench.query("SELECT count(*) FROM deliveries") == 0
    await eventually(lambda: not list(bench.path.parent.glob("*-bell-*")), "the dead instance's bell to be removed")
    assert list(await publisher.publish(messages("order.placed", 1))) == [Outcome.CONFIRMED], "it knows of the change"


async def test_a_forked_process_may_not_use_the_transport_of_its_parent(bench: Bench) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, PEER, "fork", bench.url, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), DEADLINE)
    child, parent = output.decode().splitlines()
    assert "every process opens a transport of its own" in child
    assert parent == "confirmed"


async def test_a_full_disk_refuses_and_recovers_by_itself(bench: Bench) -> None:
    consumer = await bench.consume(Recorder(), BILLING)
    await consumer.close()
    publisher = await bench.open(max_pages=200)
    outcome = Outcome.CONFIRMED
    taken: list[str] = []
    while outcome is Outcome.CONFIRMED:
        sent = message("order.placed", str(len(taken)), body=b"x" * 20_000)
        (outcome,) = await publisher.publish([sent])
        if outcome is Outcome.CONFIRMED:
            taken.append(sent.id)
    assert outcome is Outcome.REFUSED
    await eventually(lambda: not publisher.status().publishing, "the status to say so")
    assert "full" in publisher.status().detail
    recorder = Recorder()
    await bench.consume(recorder, BILLING)
    await recorder.until_count(len(taken))
    assert recorder.ids() == taken
    await eventually(lambda: publisher.status().publishing, "the recovery, without another publish")
    assert list(await publisher.publish([message("order.placed", "end", body=b"x" * 20_000)])) == [Outcome.CONFIRMED]
    await recorder.until_id("end")


async def test_while_another_process_holds_the_lock_publishing_is_refused_in_time(bench: Bench) -> None:
    recorder = Recorder()
    consumer = await bench.consume(recorder, BILLING)
    publisher = await bench.open(confirm_timeout=1.0)
    with locked(bench.path):
        assert list(await publisher.publish(messages("order.placed", 2))) == [Outcome.REFUSED] * 2
        await eventually(lambda: not publisher.status().publishing, "the status to say so")
        assert "locked" in publisher.status().detail
        async with asyncio.timeout(5.0):
            await consumer.close()
    await eventually(lambda: publisher.status().publishing, "the recovery")
    await bench.consume(recorder, BILLING)
    await publish(publisher, messages("order.placed", 1, prefix="after-"))
    await recorder.until_id("after-0")


async def test_a_removed_file_is_noticed_and_made_again(bench: Bench) -> None:
    recorder = Recorder()
    consumer = await bench.consume(recorder, BILLING)
    for path in bench.path.parent.glob("bus.db*"):
        path.unlink()
    publisher = await bench.open()
    await eventually(lambda: bench.query("SELECT count(*) FROM consumers") == 1, "the consumer to move")
    await publish(publisher, messages("order.placed", 3))
    await recorder.until_count(3)
    assert consumer.status().ready


async def test_a_late_ack_of_a_removed_file_does_not_hit_a_delivery_of_the_new_one(bench: Bench) -> None:
    recorder = Recorder(keep)
    consumer = await bench.consume(recorder, BILLING)
    await publish(await bench.open(), messages("order.placed", 3, prefix="old-"))
    await recorder.until_count(3)
    for path in bench.path.parent.glob("bus.db*"):
        path.unlink()
    publisher = await bench.open()
    await eventually(lambda: bench.query("SELECT count(*) FROM consumers") == 1, "the consumer to move")
    await publish(publisher, messages("order.placed", 3, prefix="new-"))
    await recorder.until_count(6)
    for delivery in recorder.deliveries()[:3]:
        delivery.ack()
    await consumer.close()
    after = Recorder()
    await bench.consume(after, BILLING)
    await after.until_count(3)
    assert after.ids() == ["new-0", "new-1", "new-2"]


async def test_deliveries_arrive_where_the_file_system_knows_no_fifos(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_fifos(*_: object) -> None:
        raise OSError("Operation not supported")

    monkeypatch.setattr(os, "mkfifo", no_fifos)
    recorder = Recorder()
    await bench.consume(recorder, BILLING)
    await publish(await bench.open(), messages("order.placed", 10))
    await recorder.until_count(10)
    assert not list(bench.path.parent.glob("*-bell-*"))


async def test_a_lost_ring_delays_and_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    await bench.consume(recorder, BILLING)
    publisher = await bench.open()
    monkeypatch.setattr(Bells, "ring", lambda *_: None)  # as if every sender died between its commit and the ring
    await publish(publisher, messages("order.placed", 10))
    await recorder.until_count(10)


def test_claims_of_a_transaction_whose_outcome_never_became_known_are_given_back(tmp_path: Path) -> None:
    file = BusFile(tmp_path / "bus.db")
    file.open()
    bus = Bus(file, "test", "test")
    bus.attach()
    (queue,) = bus.register([BILLING], ())
    bus.publish([Row("order.placed", True, "{}", str(number).encode()) for number in range(3)])
    (claimed,) = bus.settle_and_claim((), (), {queue: 10}).values()
    assert [delivery.body for delivery in claimed] == [b"0", b"1", b"2"]
    assert bus.settle_and_claim((), (), {queue: 10}) == {}
    bus.register([BILLING], [claimed[0].id])
    (again,) = bus.settle_and_claim((), (), {queue: 10}).values()
    assert [(delivery.body, delivery.redelivered) for delivery in again] == [(b"1", 1), (b"2", 1)]
    file.close()


async def test_a_bell_that_somebody_removed_is_hung_again(bench: Bench) -> None:
    await bench.consume(Recorder(), BILLING)
    (bell,) = bench.path.parent.glob("*-bell-*")
    bell.unlink()
    await eventually(bell.exists, "the bell")


async def test_attributes_that_somebody_spoiled_do_not_stop_the_queue(bench: Bench) -> None:
    recorder = Recorder(keep)
    (await bench.consume(recorder, BILLING)).status()
    connection = apsw.Connection(str(bench.path))
    connection.set_busy_timeout(5000)
    for attributes in ("no JSON", "[1]", '{"type": 7}'):
        connection.execute(
            "INSERT INTO deliveries (queue, attributes, body) SELECT id, ?, x'00' FROM queues", (attributes,)
        )
    connection.close()
    await publish(await bench.open(), messages("order.placed", 1))
    await recorder.until_count(4)
    assert [delivery.message.id for delivery in recorder.deliveries()] == ["", "", "", "0"]


async def test_file_and_folder_belong_to_their_user_alone(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "new" / "bus.db"
    transport = open_url(f"sqlite:///{path}", TransportSettings())
    await transport.open()
    await transport.subscribe([BILLING], Recorder())
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert {file.name for file in path.parent.iterdir()} == {"bus.db", "bus.db-wal", "bus.db-shm", "bus.db-bell-1"}
    await transport.close()
    assert [file.name for file in path.parent.iterdir()] == ["bus.db"]


async def test_calls_after_close_are_answered_and_a_closed_transport_opens_again(bench: Bench) -> None:
    recorder = Recorder()
    transport = await bench.consume(recorder, BILLING)
    with pytest.raises(RuntimeError, match="called once"):
        await transport.subscribe([BILLING], recorder)
    with pytest.raises(RuntimeError, match="open already"):
        await transport.open()
    await transport.close()
    await transport.stop_consuming()
    with pytest.raises(RuntimeError, match="not open"):
        await transport.subscribe([BILLING], recorder)
    await transport.open()
    await transport.subscribe([BILLING], recorder)
    await publish(transport, messages("order.placed", 2))
    await recorder.until_count(2)


def test_a_transport_whose_event_loop_ended_without_close_gives_back_its_claims(tmp_path: Path) -> None:
    transport = EmbeddedTransport(tmp_path / "bus.db", TransportSettings())

    async def forget_to_close() -> None:
        recorder = Recorder(keep)
        await transport.open()
        await transport.subscribe([BILLING], recorder)
        await publish(transport, messages("order.placed", 3))
        await recorder.until_count(3)

    async def go_on() -> list[str]:
        recorder = Recorder()
        other = EmbeddedTransport(tmp_path / "bus.db", TransportSettings())
        await other.open()
        await other.subscribe([BILLING], recorder)
        await publish(other, messages("order.placed", 3, prefix="more-"))  # it wakes the thread of the first one, too
        await recorder.until_count(6)
        await other.close()
        return recorder.ids()

    asyncio.run(forget_to_close())
    assert set(asyncio.run(go_on())) == {"0", "1", "2", "more-0", "more-1", "more-2"}


async def test_many_transports_may_create_the_file_at_once(bench: Bench) -> None:
    transports = await asyncio.gather(*(bench.open() for _ in range(8)))
    await eventually(lambda: all(transport.status().publishing for transport in transports), "all of them")


def _no_database(path: Path) -> None:
    path.write_bytes(b"this is a text, and long enough to be read as the header of a database that it is not" * 10)


def _other_program(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE recipes (id)")
    connection.close()


def _other_application(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA application_id=7")
    connection.close()


def _newer_format(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA application_id={0x47454D42}; PRAGMA user_version=99")
    connection.close()


@pytest.mark.parametrize(
    ("prepare", "mend"),
    [
        (_no_database, "name another file"),
        (_other_program, "belongs to another program: name another file"),
        (_other_application, "belongs to another program: name another file"),
        (_newer_format, "format 99 .* use the same version"),
        (Path.mkdir, "needs write access"),
    ],
)
async def test_a_file_that_is_no_bus_is_refused_and_left_alone(tmp_path: Path, prepare: object, mend: str) -> None:
    path = tmp_path / "bus.db"
    prepare(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else b""
    transport = open_url(f"sqlite:///{path}", TransportSettings())
    with pytest.raises(TransportRefusedError, match=mend):
        await transport.open()
    await transport.close()
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert [file.name for file in tmp_path.iterdir()] == ["bus.db"]


@pytest.mark.parametrize("folder", ["/proc", "/proc/no/such/folder"])
async def test_a_folder_that_cannot_be_written_is_refused(folder: str) -> None:
    transport = open_url(f"sqlite:///{folder}/bus.db", TransportSettings())
    with pytest.raises(TransportRefusedError, match="needs write access to the file and to the folder"):
        await transport.open()


async def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransportRefusedError, match="cannot be opened for writing"):
        await open_url(f"sqlite:///{tmp_path}/file/bus.db", TransportSettings()).open()
