"""A TCP proxy that breaks connections on purpose: put it between a client and its server and make the network bad.

    async with FaultProxy("127.0.0.1", 5672) as proxy:
        transport = make_transport(proxy.through("amqp://guest:guest@127.0.0.1:5672//"), settings)
        ...
        proxy.set(to_client=Link(blackhole=True))   # the broker hears us, we hear nothing
        proxy.set(both=Link(latency=0.5))           # healed, but slow
        await proxy.refuse()                        # gone: open connections reset, new ones refused
        await proxy.accept()                        # back, on the same port

It is modelled on toxiproxy (https://github.com/Shopify/toxiproxy) and belongs to one event loop. Bytes are never lost
or reordered within a connection, as in TCP: what a blackhole holds flows on when it is lifted.
"""

import asyncio
import contextlib
import re
import socket
import struct
from dataclasses import dataclass
from typing import Self

_CHUNK_BYTES = 65536
_CHUNKS_IN_FLIGHT = 64
_THROTTLE_SECONDS = 0.05
_BACKLOG = 1024
_LOOPBACK = "127.0.0.1"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of the network, for all connections through the proxy. The default is a perfect one.

    Attributes:
        blackhole: nothing passes, not even the end of a connection; connections stay open, new ones are accepted.
        latency: seconds that every byte takes; throughput stays the same.
        bytes_per_second: the bandwidth of each connection; None for no limit.
        slice_bytes: the largest piece that is sent at once, each on its own: 1 for a byte at a time; None for no limit.
        cut_after: reset each connection once so many of its bytes, from its start, have passed; None for never.
    """

    blackhole: bool = False
    latency: float = 0.0
    bytes_per_second: float | None = None
    slice_bytes: int | None = None
    cut_after: int | None = None

    def __post_init__(self) -> None:
        positive = (self.bytes_per_second, self.slice_bytes)
        if self.latency < 0 or any(value is not None and value <= 0 for value in positive):
            raise ValueError("latency must be at least 0, bytes_per_second and slice_bytes must be above 0")
        if self.cut_after is not None and self.cut_after < 0:
            raise ValueError("cut_after must be at least 0")


class FaultProxy:
    """Listens on 127.0.0.1 and passes connections on to ``host:port``.

    Attributes:
        port: where it listens; 0 before the first ``accept``.
        accepted: how many connections it has taken so far.
    """

    def __init__(self, host: str, port: int) -> None:
        """Name the server, without connecting."""
        self.port = 0
        self.accepted = 0
        self._server_address = (host, port)
        self._to_server = _Direction()
        self._to_client = _Direction()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    @property
    def bytes_to_server(self) -> int:
        """How many bytes were passed on to the server so far, over all connections."""
        return self._to_server.passed

    @property
    def bytes_to_client(self) -> int:
        """How many bytes were passed on to clients so far, over all connections."""
        return self._to_client.passed

    def through(self, url: str) -> str:
        """Return a URL with host and port replaced by those of the proxy, so that a client goes through it."""
        return re.sub(r"(?<=://)((?:[^@/?#]*@)?)[^/?#]*", rf"\g<1>{_LOOPBACK}:{self.port}", url, count=1)

    def set(self, *, both: Link | None = None, to_server: Link | None = None, to_client: Link | None = None) -> None:
        """Change one direction or both, at once, for open connections and new ones; ``set(both=Link())`` heals."""
        for direction, link in ((self._to_server, to_server or both), (self._to_client, to_client or both)):
            if link is not None:
                direction.change(link)

    def reset_connections(self) -> None:
        """Reset (RST) every open connection, on both sides; new ones are accepted."""
        for connection in list(self._connections):
            connection.cancel()

    def end_towards_client(self) -> None:
        """Half-close: end (FIN) what open connections send to their clients; what clients send still passes."""
        for connection in self._connections.values():
            connection.to_client.end()

    def end_towards_server(self) -> None:
        """Half-close: end (FIN) what open connections send to the server; what it sends still passes."""
        for connection in self._connections.values():
            connection.to_server.end()

    async def accept(self) -> None:
        """Take connections, always on the same port. Harmless where it does so already."""
        if self._listener is None:
            self._listener = _listen(self.port)
            self.port = self._listener.getsockname()[1]
            self._accepting = asyncio.create_task(self._accept(self._listener))

    async def refuse(self) -> None:
        """Be down: reset every open connection and refuse new ones, until ``accept``."""
        ending: list[asyncio.Task[None]] = list(self._connections)
        if self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            ending.append(self._accepting)
            self._accepting = None
        self.reset_connections()
        await asyncio.gather(*ending, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def close(self) -> None:
        """Reset every connection and stop. Twice is harmless."""
        await self.refuse()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            self.accepted += 1
            connection = _Connection(client, self._to_server, self._to_client)
            task = asyncio.create_task(connection.run(self._server_address))
            self._connections[task] = connection
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        orderly = not task.cancelled() and task.exception() is None
        self._connections.pop(task).close(orderly=orderly)


class _CutError(Exception):
    """A connection has passed as many bytes as it may."""


class _Direction:
    """The link of all connections in one direction."""

    def __init__(self) -> None:
        self.link = Link()
        self.passed = 0
        self._changed = asyncio.Event()

    def change(self, link: Link) -> None:
        self.link = link
        self._changed.set()
        self._changed = asyncio.Event()

    async def passable(self) -> Link:
        """Wait until bytes may pass."""
        while self.link.blackhole:
            await self._changed.wait()
        return self.link


class _Stream:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, target: socket.socket, direction: _Direction) -> None:
        self._source = source
        self._target = target
        self._direction = direction
        self._in_flight: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_IN_FLIGHT)
        self._passed = 0
        self._ended = False

    def end(self) -> None:
        """Send FIN; what comes later from the source is thrown away."""
        self._ended = True
        # The peer may be gone already.
        with contextlib.suppress(OSError):
            self._target.shutdown(socket.SHUT_WR)

    async def receive(self) -> None:
        loop = asyncio.get_running_loop()
        data = b"begin"
        while data:
            try:
                data = await loop.sock_recv(self._source, _CHUNK_BYTES)
            except OSError:
                # A blackhole hides from the other side even that this one is dead.
                await self._direction.passable()
                raise
            await self._in_flight.put((loop.time() + self._direction.link.latency, data))

    async def send(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self._in_flight.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._direction.passable()
            if not data:
                self.end()
                return
            await self._send(memoryview(data))

    async def _send(self, data: memoryview) -> None:
        loop = asyncio.get_running_loop()
        while data:
            link = await self._direction.passable()
            size = self._next_size(link, len(data))
            try:
                if not self._ended:
                    await loop.sock_sendall(self._target, data[:size])
            except BrokenPipeError:
                # Ended while it was sending.
                if not self._ended:
                    raise
            data = data[size:]
            self._passed += size
            self._direction.passed += size
            if link.cut_after is not None and self._passed >= link.cut_after:
                raise _CutError
            await asyncio.sleep(size / link.bytes_per_second if link.bytes_per_second else 0)

    def _next_size(self, link: Link, size: int) -> int:
        if link.slice_bytes is not None:
            size = min(size, link.slice_bytes)
        if link.bytes_per_second is not None:
            size = min(size, max(1, int(link.bytes_per_second * _THROTTLE_SECONDS)))
        if link.cut_after is not None:
            size = min(size, max(0, link.cut_after - self._passed))
        return size


class _Connection:
    """A client's connection and ours to the server."""

    def __init__(self, client: socket.socket, to_server: _Direction, to_client: _Direction) -> None:
        self._client = client
        self._server = socket.socket()
        for end in (self._client, self._server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.to_server = _Stream(self._client, self._server, to_server)
        self.to_client = _Stream(self._server, self._client, to_client)

    async def run(self, server_address: tuple[str, int]) -> None:
        """Pass bytes on until both sides have ended; any error or cancellation means that both are to be reset."""
        await asyncio.get_running_loop().sock_connect(self._server, server_address)
        async with asyncio.TaskGroup() as tasks:
            for stream in (self.to_server, self.to_client):
                tasks.create_task(stream.receive())
                tasks.create_task(stream.send())

    def close(self, *, orderly: bool) -> None:
        for end in (self._client, self._server):
            if not orderly:
                # Linger of no seconds: close sends RST instead of FIN (socket(7)).
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            end.close()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((_LOOPBACK, port))
    listener.listen(_BACKLOG)
    return listener
