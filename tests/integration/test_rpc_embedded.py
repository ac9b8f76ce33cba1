"""Calls over the embedded bus among real processes: killed, frozen, forked, and with strangers at the socket."""

import asyncio
import gc
import itertools
import json
import os
import random
import resource
import signal
import socket
import stat
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    OutcomeUnknownError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings, ServerSettings, WireRequest
from gemstone_events.rpc.wires.embedded.client import EmbeddedClientWire
from gemstone_events.rpc.wires.embedded.folder import BusFolder, label_of
from gemstone_events.rpc.wires.embedded.frames import FROM_CLIENT, FrameReader, Kind, write_frame
from gemstone_events.rpc.wires.embedded.server import EmbeddedServerWire, open_url
from gemstone_events.rpc.wires.embedded.session import ServerSession
from gemstone_events.testing.rpc_contract import DEADLINE, eventually
from tests.integration.peer_process import Peer

PEER = Path(__file__).with_name("rpc_embedded_peer.py")
SOON = 0.5
"""Seconds of deadlines that are meant to pass."""


def begun(peer: Peer) -> Counter[str]:
    """Return how often a process has begun each call."""
    return Counter(peer.lines())


class Bench:
    """One bus, a client of this process, and services in this one and others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bus = folder / "bus.db"
        self.sockets = folder / "bus.db.rpc"
        self.url = f"sqlite:///{self.bus}"
        self.orders = f"{self.url}#orders"
        self.client = EmbeddedClientWire(ClientSettings())
        self.contexts: list[CallContext] = []
        self._servers: list[EmbeddedServerWire] = []
        self._peers: list[Peer] = []
        self._numbers = itertools.count()

    async def spawn(self, role: str) -> Peer:
        """Return a process in any role."""
        ledger = self.folder / f"ledger-{next(self._numbers)}"
        peer = await Peer.start(ledger, PEER, role, self.url, str(ledger))
        self._peers.append(peer)
        return peer

    async def peer(self) -> Peer:
        """Return a process that serves."""
        peer = await self.spawn("serve")
        assert await peer.hear() == "ready"
        return peer

    async def serve(self, *, service: str = "orders", namespace: str = "gemstone") -> EmbeddedServerWire:
        """Return a service of this process: it answers with what came."""
        settings = ServerSettings(
            service=service, namespace=namespace, presence=lambda: Presence(service=service, instance="here")
        )
        server = open_url(self.url, settings)
        self._servers.append(server)
        await server.start(self.echo)
        return server

    async def call(self, body: bytes, *, timeout: float = DEADLINE) -> bytes | None:
        """Call the service, and insist that something comes of it soon after its deadline."""
        async with asyncio.timeout(timeout + DEADLINE):
            return await self.client.call(self.orders, WireRequest(body, timeout))

    def names(self) -> list[str]:
        """Return what is in the folder of the sockets."""
        return sorted(os.listdir(self.sockets))

    def only_socket(self) -> Path:
        """Return the one socket that is there."""
        (name,) = self.names()
        return self.sockets / name

    def connect(self) -> socket.socket:
        """Return a bare connection to the one instance that is there."""
        return BusFolder(self.bus).connect(self.only_socket().name)

    async def close(self) -> None:
        """End everything."""
        await self.client.close()
        for server in self._servers:
            await server.close()
        for peer in self._peers:
            await peer.kill()

    def sessions(self) -> list[ServerSession]:
        """Return the connections to the services of this process."""
        return [session for server in self._servers for session in server._sessions]

    async def echo(self, body: bytes, context: CallContext) -> bytes | None:
        """Answer with what came."""
        self.contexts.append(context)
        return body


class Impostor:
    """Something that listens where an instance would, and behaves as it is told."""

    def __init__(self, bench: Bench) -> None:
        self._folder = BusFolder(bench.bus)
        self._folder.make()
        self._socket, self.path = self._folder.listen(label_of("gemstone", "orders"), 10)
        self._reader = FrameReader(FROM_CLIENT, 1_000_000)
        self._connection: socket.socket | None = None

    async def accept(self) -> None:
        """Take a connection."""
        self._connection, _ = await asyncio.get_running_loop().sock_accept(self._socket)

    async def send(self, *frames: bytes) -> None:
        """Send frames, or what pretends to be."""
        assert self._connection is not None
        await asyncio.get_running_loop().sock_sendall(self._connection, b"".join(frames))

    async def next_call(self) -> int:
        """Return the id of the next call that comes in."""
        assert self._connection is not None
        while True:
            data = await asyncio.get_running_loop().sock_recv(self._connection, 65536)
            assert data, "the client has left"
            for frame in self._reader.feed(data):
                return frame.call

    def hang_up(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """Close everything."""
        self.hang_up()
        self._socket.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="bus-") as folder:  # tmp_path is as long as a path to a socket may be
        given = Bench(Path(folder))
        yield given
        await given.close()


@pytest.fixture
async def impostor(bench: Bench) -> AsyncIterator[Impostor]:
    given = Impostor(bench)
    yield given
    given.close()


@contextmanager
def as_a_common_user(folder: Path) -> Iterator[None]:
    """Be somebody whom the permissions of files bind, in a folder of his own."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    os.chown(folder, nobody, -1)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """Let this process open so many descriptors more, and no others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    with ExitStack() as filled:
        while True:  # the gaps, of which nobody knows the number
            gap = os.open(os.devnull, os.O_RDONLY)
            filled.callback(os.close, gap)
            if gap > highest:
                break
        resource.setrlimit(resource.RLIMIT_NOFILE, (gap + 1 + number, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def tally(calls: "list[asyncio.Task[bytes | None]]", sent: list[bytes]) -> Counter[str]:
    """Return what became of calls, and check that nobody got another's answer."""
    counts: Counter[str] = Counter(calls=len(calls))
    for call, body in zip(calls, sent, strict=True):
        try:
            assert await call == body
            counts["answered"] += 1
        except ServiceUnreachableError:
            counts["failed"] += 1
        except OutcomeUnknownError:
            counts["unknown"] += 1
    assert counts["calls"] == counts["answered"] + counts["failed"] + counts["unknown"]
    return counts


def report(scenario: str, counts: Counter[str]) -> None:
    """Print what became of the calls of a scenario as one line of JSON."""
    print(
        json.dumps({"scenario": scenario, **{key: counts[key] for key in ("calls", "answered", "failed", "unknown")}})
    )


async def test_killing_the_service_in_the_middle_of_a_hundred_calls_leaves_none_hanging(bench: Bench) -> None:
    peer = await bench.peer()
    loop = asyncio.get_running_loop()
    bodies = [b"quick-%d" % number for number in range(50)] + [b"hold-%d" % number for number in range(100)]
    calls = [loop.create_task(bench.call(body)) for body in bodies]
    await eventually(lambda: len(begun(peer)) == 150 and all(call.done() for call in calls[:50]), "100 pending calls")
    await peer.kill()
    after = [b"after-%d" % number for number in range(10)]
    calls += [loop.create_task(bench.call(body)) for body in after]
    counts = await tally(calls, bodies + after)
    report("killed with 100 pending", counts)
    assert counts == Counter(calls=160, answered=50, unknown=100, failed=10)
    assert bench.client.counts.unknown == 100
    assert set(begun(peer).values()) == {1}


async def test_killing_the_service_at_any_moment_is_told_honestly(bench: Bench) -> None:
    counts: Counter[str] = Counter()
    for round_number in range(5):
        peer = await bench.peer()
        bodies = [b"quick-%d-%d" % (round_number, number) for number in range(2000)]
        calls: list[asyncio.Task[bytes | None]] = []
        limit = asyncio.Semaphore(100)
        doomed_after = random.randrange(200, 1500)

        async def call(body: bytes, limit: asyncio.Semaphore = limit) -> bytes | None:
            async with limit:
                return await bench.call(body)

        calls = [asyncio.get_running_loop().create_task(call(body)) for body in bodies]
        await eventually(lambda calls=calls, n=doomed_after: sum(c.done() for c in calls) >= n, "calls")  # type: ignore[misc]
        peer.signal(signal.SIGKILL)
        here = await tally(calls, bodies)
        carried_out = begun(peer)
        assert set(carried_out.values()) == {1}
        for ended, body in zip(calls, bodies, strict=True):
            if isinstance(ended.exception(), ServiceUnreachableError):
                assert body.decode() not in carried_out, "a call that was not carried out was carried out"
        assert here["answered"] >= doomed_after
        counts += here
    report("killed at any moment, 5 times", counts)
    assert counts["failed"]


async def test_calls_go_to_the_next_instance_when_one_is_killed(bench: Bench) -> None:
    first, second = await bench.peer(), await bench.peer()
    for number in range(10):
        await bench.call(b"warm-%d" % number)
    assert begun(first)
    assert begun(second)
    await first.kill()
    for number in range(50):
        assert await bench.call(b"after-%d" % number) == b"after-%d" % number
    assert sum(count for body, count in begun(second).items() if body.startswith("after")) == 50


async def test_a_service_that_was_killed_and_started_again_is_called(bench: Bench) -> None:
    first = await bench.peer()
    assert await bench.call(b"one") == b"one"
    await first.kill()
    second = await bench.peer()
    assert await bench.call(b"two") == b"two"
    assert begun(second) == {"two": 1}
    assert len(bench.names()) == 1, "the new instance removes what the dead one has left"


async def test_the_socket_of_a_dead_instance_is_removed_by_who_finds_it(bench: Bench) -> None:
    peer = await bench.peer()
    await peer.kill()
    assert bench.only_socket().is_socket()
    with pytest.raises(ServiceNotFoundError):
        await bench.call(b"hello")
    assert bench.names() == []


async def test_an_instance_that_is_just_starting_is_left_alone(bench: Bench) -> None:
    bench.sockets.mkdir(0o700)
    starting = bench.sockets / "gemstone~orders~1-abc.new"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(starting))  # and does not listen yet
        await bench.serve()
        assert await bench.call(b"hello") == b"hello"
        assert starting.is_socket()
        os.utime(starting, (0, 0))
        await bench.serve()
        assert not starting.exists(), "it never came to listen"


async def test_a_frozen_instance_is_not_there_and_holds_up_no_call(bench: Bench) -> None:
    frozen, awake = await bench.peer(), await bench.peer()
    frozen.signal(signal.SIGSTOP)
    found = await bench.client.find(bench.url, "orders", SOON)
    assert [presence.instance for presence in found] == [str(awake.pid)]
    for number in range(4):
        assert await bench.call(b"%d" % number, timeout=2.0) == b"%d" % number
    frozen.signal(signal.SIGCONT)
    newcomer = EmbeddedClientWire(ClientSettings())
    for _ in range(2):  # each takes its turn
        assert await newcomer.call(bench.orders, WireRequest(b"later", DEADLINE)) == b"later"
    await newcomer.close()
    assert begun(frozen) == {"later": 1}
    assert begun(awake) == {"0": 1, "1": 1, "2": 1, "3": 1, "later": 1}


async def test_a_service_of_which_all_instances_are_frozen_cannot_be_reached(bench: Bench) -> None:
    peer = await bench.peer()
    peer.signal(signal.SIGSTOP)
    with pytest.raises(ServiceUnreachableError) as caught:
        await bench.call(b"hello", timeout=SOON)
    assert not isinstance(caught.value, ServiceNotFoundError)
    peer.signal(signal.SIGCONT)
    assert await bench.call(b"again") == b"again"
    assert begun(peer) == {"again": 1}


async def test_an_instance_that_freezes_in_the_middle_of_calls_holds_up_one_and_no_more(bench: Bench) -> None:
    frozen, awake = await bench.peer(), await bench.peer()
    for number in range(2):  # each takes its turn
        await bench.call(b"warm-%d" % number)
    frozen.signal(signal.SIGSTOP)
    ends = await asyncio.gather(
        *(bench.call(b"%d" % number, timeout=SOON) for number in range(2)), return_exceptions=True
    )
    assert sorted(isinstance(end, CallTimeoutError) for end in ends) == [False, True]
    for number in range(4):
        assert await bench.call(b"after-%d" % number) == b"after-%d" % number
    assert sum(body.startswith("after") for body in begun(awake)) == 4
    frozen.signal(signal.SIGCONT)


async def test_a_child_that_holds_the_sockets_of_a_dead_service_is_no_instance(bench: Bench) -> None:
    peer = await bench.peer()
    child = int(await bench.call(b"fork") or b"")
    newcomer = EmbeddedClientWire(ClientSettings())
    try:
        await peer.kill()
        with pytest.raises(CallTimeoutError):
            await bench.call(b"hello", timeout=SOON)  # over a connection that the child holds
        with pytest.raises(ServiceNotFoundError):
            await bench.call(b"hello", timeout=SOON)
        await bench.peer()
        assert await bench.call(b"hello") == await newcomer.call(bench.orders, WireRequest(b"hello", DEADLINE))
    finally:
        os.kill(child, signal.SIGKILL)
        await newcomer.close()


class Counted(set[ServerSession]):
    """Remembers all that were ever in it."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: list[ServerSession] = []

    def add(self, session: ServerSession) -> None:
        self.ever.append(session)
        super().add(session)


async def test_a_child_uses_no_connection_of_its_parent(bench: Bench) -> None:
    server = await bench.serve()
    connections = server._sessions = Counted()
    forker = await bench.spawn("fork")
    assert sorted([await forker.hear(), await forker.hear()]) == ["b'child'", "b'parent'"]
    assert len(connections.ever) == 2


async def test_a_call_is_written_to_no_disk_and_seen_by_no_other_user(bench: Bench) -> None:
    await bench.serve()
    assert await bench.call(b"hello") == b"hello"
    assert os.listdir(bench.folder) == ["bus.db.rpc"]
    assert stat.S_IMODE(bench.sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE(bench.only_socket().stat().st_mode) == 0o600


async def test_the_kernel_tells_who_calls(bench: Bench) -> None:
    await bench.serve()
    await bench.call(b"hello")
    assert bench.contexts[0].peer == f"unix:uid={os.getuid()}"
    assert bench.contexts[0].wire == "bus"


async def test_a_folder_with_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 200) / ("b" * 200)
    deep.mkdir(parents=True)
    bench = Bench(deep)
    try:
        server = await bench.serve()
        assert await bench.call(b"hello") == b"hello"
        assert [found.instance for found in await bench.client.find(bench.url, "*", DEADLINE)] == ["here"]
        await server.stop(DEADLINE)
        with pytest.raises(ServiceNotFoundError):
            await bench.call(b"hello")
    finally:
        await bench.close()


async def test_long_names_are_told_apart(bench: Bench) -> None:
    namespace = "n" * 200
    first, second = "s" * 199 + "1", "s" * 199 + "2"
    await bench.serve(service=first, namespace=namespace)
    client = EmbeddedClientWire(ClientSettings(namespace=namespace))
    assert await client.call(f"{bench.url}#{first}", WireRequest(b"hello", DEADLINE)) == b"hello"
    with pytest.raises(ServiceNotFoundError):
        await client.call(f"{bench.url}#{second}", WireRequest(b"hello", DEADLINE))
    assert [found.service for found in await client.find(bench.url, "s*1", DEADLINE)] == [first]
    assert await client.find(bench.url, "s*2", DEADLINE) == []
    await client.close()


async def test_dots_make_no_service_of_another_namespace(bench: Bench) -> None:
    await bench.serve(service="c", namespace="a.b")
    client = EmbeddedClientWire(ClientSettings(namespace="a"))
    with pytest.raises(ServiceNotFoundError):
        await client.call(f"{bench.url}#b.c", WireRequest(b"hello", DEADLINE))
    await client.close()


async def test_a_folder_where_others_may_write_is_refused(bench: Bench) -> None:
    bench.sockets.mkdir()
    bench.sockets.chmod(0o777)
    with pytest.raises(ServiceConfigurationError, match="chmod 700"):
        await bench.serve()
    with pytest.raises(ServiceConfigurationError, match="chmod 700"):
        await bench.call(b"hello")


async def test_a_link_in_place_of_the_folder_is_refused(bench: Bench, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(0o700)
    bench.sockets.symlink_to(elsewhere)
    with pytest.raises(ServiceConfigurationError, match="remove it"):
        await bench.serve()
    with pytest.raises(ServiceConfigurationError, match="remove it"):
        await bench.call(b"hello")


async def test_a_place_that_cannot_hold_sockets_is_an_error_that_names_it(bench: Bench) -> None:
    bench.sockets.write_text("a file")
    with pytest.raises(ServiceConfigurationError, match=r"bus\.db\.rpc"):
        await bench.serve()


async def test_a_socket_that_was_removed_is_made_again(bench: Bench) -> None:
    server = await bench.serve()
    bench.only_socket().unlink()
    assert "removed" in server.status().detail
    await eventually(lambda: server.status().serving, "a new socket")
    assert await bench.call(b"hello") == b"hello"


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        bytes(range(256)) * 100,
        b"\x00" * 1000,
        write_frame(Kind.ANSWER, 1, b"", b"{}"),
        write_frame(Kind.CALL, 1, b"not JSON", b"{}"),
        write_frame(Kind.CALL, 1, b'{"a": 1}', b"{}"),
        write_frame(Kind.CALL, 1, b"[" * 16000, b"{}"),
        write_frame(Kind.CALL, 1, b"x" * 20000, b"{}"),
    ],
    ids=["HTTP", "bytes", "zeros", "an answer", "headers no JSON", "headers no text", "headers deep", "headers long"],
)
async def test_garbage_ends_its_connection_and_nothing_else(bench: Bench, garbage: bytes) -> None:
    await bench.serve()
    assert await bench.call(b"before") == b"before"
    reader, writer = await asyncio.open_unix_connection(sock=bench.connect())
    writer.write(garbage)
    async with asyncio.timeout(DEADLINE):
        with suppress(ConnectionError):
            assert await reader.read() == write_frame(Kind.HELLO)
    writer.close()
    assert await bench.call(b"after") == b"after"
    assert len(bench.contexts) == 2


async def test_half_a_call_is_never_carried_out(bench: Bench) -> None:
    await bench.serve()
    _, writer = await asyncio.open_unix_connection(sock=bench.connect())
    writer.write(write_frame(Kind.CALL, 1, b"", b"hello")[:-1])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await bench.call(b"after") == b"after"
    assert len(bench.contexts) == 1


async def test_a_client_that_reads_no_answers_is_not_read_any_more(bench: Bench) -> None:
    await bench.serve()
    with bench.connect() as greedy:
        sent = 0
        frame = write_frame(Kind.CALL, 1, b"", b"x" * 65536)
        left = memoryview(frame)
        refusals = 0
        while refusals < 100 and sent < 1000:
            try:
                left = left[greedy.send(left) :]
                refusals = 0
            except BlockingIOError:
                refusals += 1
                assert await bench.call(b"honest") == b"honest"
            if not left:
                sent, left = sent + 1, memoryview(frame)
    assert refusals == 100, "the server took in without bound what it could not give out"
    assert sent < 100


async def test_answers_that_nobody_asked_for_are_counted_and_ignored(bench: Bench, impostor: Impostor) -> None:
    call = asyncio.get_running_loop().create_task(bench.call(b"hello"))
    await impostor.accept()
    await impostor.send(write_frame(Kind.HELLO))
    number = await impostor.next_call()
    right = write_frame(Kind.ANSWER, number, b"", b"right")
    await impostor.send(write_frame(Kind.ANSWER, number + 7, b"", b"forged"), right, right)
    assert await call == b"right"
    await eventually(lambda: bench.client.counts.unexpected == 2, "two answers too many")


async def test_what_pretends_to_be_an_answer_ends_the_connection(bench: Bench, impostor: Impostor) -> None:
    call = asyncio.get_running_loop().create_task(bench.call(b"hello"))
    await impostor.accept()
    await impostor.send(write_frame(Kind.HELLO))
    await impostor.next_call()
    await impostor.send(b"HTTP/1.1 200 OK\r\n\r\n")
    with pytest.raises(OutcomeUnknownError):
        await call


async def test_a_call_goes_on_to_the_next_where_an_instance_hangs_up_before_its_greeting(
    bench: Bench, impostor: Impostor
) -> None:
    await bench.serve()

    async def hang_up() -> None:
        while True:
            await impostor.accept()
            impostor.hang_up()

    hanging_up = asyncio.get_running_loop().create_task(hang_up())
    for number in range(10):
        assert await bench.call(b"%d" % number) == b"%d" % number
    hanging_up.cancel()
    await asyncio.wait([hanging_up])
    assert [context.wire for context in bench.contexts] == ["bus"] * 10


async def test_a_call_that_an_instance_refuses_as_it_leaves_goes_to_the_next(bench: Bench, impostor: Impostor) -> None:
    call = asyncio.get_running_loop().create_task(bench.call(b"hello"))
    await impostor.accept()
    await impostor.send(write_frame(Kind.HELLO))
    number = await impostor.next_call()
    await bench.serve()
    await impostor.send(write_frame(Kind.GOODBYE), write_frame(Kind.REFUSED, number))
    assert await call == b"hello"


async def test_headers_that_are_too_long_are_not_sent(bench: Bench) -> None:
    await bench.serve()
    with pytest.raises(ServiceConfigurationError, match="headers"):
        await bench.client.call(bench.orders, WireRequest(b"hello", DEADLINE, {"x-long": "x" * 20_000}))
    assert bench.contexts == []


async def test_ten_thousand_calls_leave_nothing_behind(bench: Bench) -> None:
    await bench.serve()
    for _ in range(100):
        await asyncio.gather(*(bench.call(b"hello") for _ in range(100)))
    assert len(bench.contexts) == 10_000
    assert len(os.listdir("/proc/self/fd")) < 100
    assert (bench.client.counts.late, bench.client.counts.unexpected, bench.client.counts.unknown) == (0, 0, 0)


async def test_services_start_while_others_start_and_leave(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.listdir

    def list_what_is_gone(path: str) -> list[str]:
        return [*listed(path), "gemstone~orders~1-abc.new", "gemstone~orders~1-abc.sock"]

    monkeypatch.setattr(os, "listdir", list_what_is_gone)
    await bench.serve()
    assert await bench.call(b"hello") == b"hello"


async def test_a_folder_that_is_closed_to_its_service_for_a_while_is_trouble_and_no_end(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    with as_a_common_user(bench.folder):
        server = await bench.serve()
        bench.sockets.chmod(0)
        assert not server.status().serving
        with pytest.raises(ServiceUnreachableError, match="Permission denied"):
            await bench.call(b"hello")
        await eventually(lambda: "cannot be made again" in caplog.text, "an attempt to make it again")
        bench.sockets.chmod(0o700)
        assert await bench.call(b"hello") == b"hello"
        bench.only_socket().unlink()
        await eventually(lambda: server.status().serving, "a new socket")


async def test_a_mistyped_path_is_pointed_out(bench: Bench) -> None:
    await bench.serve()
    with pytest.raises(ServiceNotFoundError, match=r"on the bus /.*/typo/bus\.db; is that the path"):
        await bench.client.call(f"sqlite:///{bench.folder}/typo/bus.db#orders", WireRequest(b"[1]", DEADLINE))
    with pytest.raises(ServiceNotFoundError, match=r"runs$"):
        await bench.client.call(f"sqlite:///{bench.bus}#typo", WireRequest(b"[1]", DEADLINE))


async def test_a_link_to_the_bus_file_means_the_same_bus(bench: Bench) -> None:
    await bench.serve()
    bench.bus.touch()
    (bench.folder / "link.db").symlink_to(bench.bus)
    url = f"sqlite:///{bench.folder}/link.db"
    assert await bench.client.call(f"{url}#orders", WireRequest(b"hello", DEADLINE)) == b"hello"
    assert len(await bench.client.find(url, "*", DEADLINE)) == 1


async def test_a_service_with_all_the_clients_that_it_takes_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemstone_events.rpc.wires.embedded.server._MAX_SESSIONS", 1)
    await bench.serve()
    assert await bench.call(b"first") == b"first"
    second = EmbeddedClientWire(ClientSettings())
    with pytest.raises(ServiceUnreachableError, match="no more clients") as caught:
        await second.call(bench.orders, WireRequest(b"second", DEADLINE))
    assert not isinstance(caught.value, ServiceNotFoundError)
    await bench.client.close()
    await eventually(lambda: not bench.sessions(), "the end of the first")
    assert await second.call(bench.orders, WireRequest(b"second", DEADLINE)) == b"second"
    await second.close()


async def test_many_clients_may_come_at_once(bench: Bench) -> None:
    await bench.serve()
    with ExitStack() as waiting:
        for _ in range(300):  # and the service does not run meanwhile
            waiting.enter_context(bench.connect())
        assert await bench.call(b"hello") == b"hello"


async def test_more_instances_are_found_than_there_are_descriptors(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemstone_events.rpc.wires.embedded.client._MAX_ASKED", 5, raising=False)
    for _ in range(40):
        await bench.serve()
    with descriptors_left(20):
        assert len(await bench.client.find(bench.url, "*", DEADLINE)) == 40


async def test_a_service_that_has_no_descriptor_left_answers_all_the_same(bench: Bench) -> None:
    await bench.serve()
    with descriptors_left(2):  # one for each end of the connection
        assert await bench.call(b"hello") == b"hello"
    assert bench.contexts[0].peer == "unix:"


async def test_an_instance_that_cannot_say_who_it_is_is_not_found(bench: Bench) -> None:
    def broken() -> Presence:
        raise RuntimeError("no health today")

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, complaint: complaints.append(complaint))
    server = open_url(bench.url, ServerSettings(service="orders", presence=broken))
    await server.start(bench.echo)
    assert await bench.client.find(bench.url, "*", DEADLINE) == []
    assert await bench.call(b"hello") == b"hello"
    assert complaints == []
    await server.close()


@pytest.mark.parametrize("turns", range(1, 8))
async def test_a_client_that_is_closed_while_it_connects_calls_nobody(bench: Bench, turns: int) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, complaint: complaints.append(complaint))
    first, second = await bench.serve(), await bench.serve()
    call = asyncio.get_running_loop().create_task(bench.call(b"hello"))
    for _ in range(turns):
        await asyncio.sleep(0)
    await bench.client.close()
    with suppress(ServiceUnreachableError, OutcomeUnknownError):
        await call
    await eventually(lambda: not first._sessions and not second._sessions, "the end of all connections")
    del call
    gc.collect()
    assert complaints == []
