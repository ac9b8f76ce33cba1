"""The fault proxy, between real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Self

import pytest

from gemstone_events.testing.proxy import FaultProxy, Link

DEADLINE = 20.0
PAYLOAD = bytes(range(256)) * 1024


class EchoServer:
    """Sends back what it gets and ends when its client ends; ``received`` holds all of it, over all connections."""

    def __init__(self) -> None:
        self.received = b""
        self.ended: list[str] = []
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.received += data
                writer.write(data)
                await writer.drain()
            self.ended.append("FIN")
        except ConnectionError:
            self.ended.append("RST")
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[EchoServer]:
    async with EchoServer() as echo:
        yield echo


@pytest.fixture
async def proxy(server: EchoServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", server.port) as between:
        yield between


class Client:
    """A client's side of one connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), DEADLINE)

    async def read_to_the_end(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), DEADLINE)

    async def hears_nothing(self) -> bool:
        """Whether nothing comes for a while: a wait that a proxy which lets bytes pass cuts short."""
        try:
            await asyncio.wait_for(self.reader.readexactly(1), 0.2)
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    made = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    yield made
    made.writer.transport.abort()


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + DEADLINE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"never: {what}"
        await asyncio.sleep(0.005)


async def test_by_default_all_bytes_pass_in_order(proxy: FaultProxy, server: EchoServer, client: Client) -> None:
    async with asyncio.TaskGroup() as both:
        both.create_task(client.send(PAYLOAD))
        echoed = both.create_task(client.read(len(PAYLOAD)))
    assert echoed.result() == PAYLOAD
    assert server.received == PAYLOAD
    assert (proxy.bytes_to_server, proxy.bytes_to_client) == (len(PAYLOAD), len(PAYLOAD))
    assert (proxy.connections, proxy.accepted) == (1, 1)


async def test_the_end_of_a_connection_passes(proxy: FaultProxy, server: EchoServer, client: Client) -> None:
    await client.send(b"last words")
    client.writer.write_eof()
    assert await client.read_to_the_end() == b"last words"
    assert server.ended == ["FIN"]
    await until(lambda: proxy.connections == 0, "the proxy forgets the connection")


async def test_a_refusing_proxy_resets_and_refuses_until_it_accepts_again(
    proxy: FaultProxy, server: EchoServer, client: Client
) -> None:
    await client.send(b"x")
    await client.read(1)
    port = proxy.port
    await proxy.refuse()
    with pytest.raises(ConnectionResetError):
        await client.read_to_the_end()
    await until(lambda: server.ended == ["RST"], "the server sees the reset")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await proxy.accept()
    again = Client(*await asyncio.open_connection("127.0.0.1", port))
    await again.send(b"y")
    assert await again.read(1) == b"y"
    again.writer.transport.abort()


async def test_a_reset_leaves_the_proxy_open_for_new_connections(proxy: FaultProxy, client: Client) -> None:
    await client.send(b"x")
    await client.read(1)
    proxy.reset_connections()
    with pytest.raises(ConnectionResetError):
        await client.read_to_the_end()
    again = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    await again.send(b"y")
    assert await again.read(1) == b"y"
    again.writer.transport.abort()


async def test_a_blackhole_to_the_server_holds_what_is_sent_until_it_is_lifted(
    proxy: FaultProxy, server: EchoServer, client: Client
) -> None:
    await client.send(b"before")
    await client.read(6)
    proxy.set(to_server=Link(blackhole=True))
    await client.send(b"held")
    assert await client.hears_nothing()
    assert server.received == b"before"
    proxy.set(to_server=Link())
    assert await client.read(4) == b"held"


async def test_a_blackhole_to_the_client_lets_the_server_hear(
    proxy: FaultProxy, server: EchoServer, client: Client
) -> None:
    proxy.set(to_client=Link(blackhole=True))
    await client.send(b"question")
    await until(lambda: server.received == b"question", "the server hears")
    assert await client.hears_nothing()
    proxy.set(both=Link())
    assert await client.read(8) == b"question"


async def test_a_blackhole_hides_the_death_of_the_client(proxy: FaultProxy, server: EchoServer, client: Client) -> None:
    await client.send(b"x")
    await client.read(1)
    proxy.set(both=Link(blackhole=True))
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.writer.transport.abort()
    new = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    assert await new.hears_nothing()
    assert server.ended == []
    new.writer.transport.abort()
    proxy.set(both=Link())
    await until(lambda: "RST" in server.ended, "the server learns of the reset")


async def test_latency_delays_what_passes_and_keeps_its_order(proxy: FaultProxy, client: Client) -> None:
    loop = asyncio.get_running_loop()
    proxy.set(both=Link(latency=0.1))
    # Only a lower bound is asserted: it holds on any machine, however busy.
    began = loop.time()
    async with asyncio.TaskGroup() as both:
        both.create_task(client.send(PAYLOAD))
        echoed = both.create_task(client.read(len(PAYLOAD)))
    assert echoed.result() == PAYLOAD
    assert loop.time() - began >= 0.2


async def test_a_throttled_link_keeps_its_bandwidth(proxy: FaultProxy, client: Client) -> None:
    loop = asyncio.get_running_loop()
    proxy.set(to_client=Link(bytes_per_second=10_000))
    began = loop.time()
    await client.send(PAYLOAD[:3_000])
    assert await client.read(3_000) == PAYLOAD[:3_000]
    # The last piece is not waited for.
    assert loop.time() - began >= 0.2


async def test_a_slicer_changes_the_pieces_and_not_the_bytes(proxy: FaultProxy, client: Client) -> None:
    proxy.set(both=Link(slice_bytes=1))
    await client.send(PAYLOAD[:2_000])
    assert await client.read(2_000) == PAYLOAD[:2_000]


@pytest.mark.parametrize("size", [0, 1, 7, 70_000])
async def test_a_connection_is_cut_after_exactly_so_many_bytes(
    proxy: FaultProxy, server: EchoServer, client: Client, size: int
) -> None:
    proxy.set(to_server=Link(cut_after=size))
    client.writer.write(PAYLOAD)
    with pytest.raises(ConnectionError):
        await client.read_to_the_end()
    await until(lambda: server.ended == ["RST"], "the server sees the reset")
    assert proxy.bytes_to_server == size
    assert server.received == PAYLOAD[:size]


async def test_a_half_close_towards_the_client_still_lets_it_speak(
    proxy: FaultProxy, server: EchoServer, client: Client
) -> None:
    await client.send(b"x")
    await client.read(1)
    proxy.end_towards_client()
    assert await client.read_to_the_end() == b""
    await client.send(b"still here")
    await until(lambda: server.received == b"xstill here", "the server hears")
    assert proxy.connections == 1


async def test_a_half_close_towards_the_server_lets_it_finish(
    proxy: FaultProxy, server: EchoServer, client: Client
) -> None:
    await client.send(b"x")
    await client.read(1)
    proxy.end_towards_server()
    assert await client.read_to_the_end() == b""
    assert server.ended == ["FIN"]


async def test_a_client_of_a_server_that_is_down_is_reset(unused_tcp_port: int) -> None:
    async with FaultProxy("127.0.0.1", unused_tcp_port) as proxy:
        lonely = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
        with pytest.raises(ConnectionResetError):
            await lonely.read_to_the_end()
        lonely.writer.transport.abort()


async def test_closing_twice_and_while_everything_is_held_is_harmless(server: EchoServer) -> None:
    proxy = FaultProxy("127.0.0.1", server.port)
    await proxy.close()
    await proxy.accept()
    held = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    await until(lambda: proxy.connections == 1, "the proxy takes the connection")
    proxy.set(both=Link(blackhole=True))
    await held.send(PAYLOAD)
    await proxy.close()
    await proxy.close()
    assert proxy.connections == 0
    held.writer.transport.abort()


def test_a_url_is_led_through_the_proxy_with_everything_else_kept() -> None:
    proxy = FaultProxy("127.0.0.1", 5672)
    proxy.port = 4711
    assert proxy.through("amqp://me:pass@broker:5672//?heartbeat=5") == "amqp://me:pass@127.0.0.1:4711//?heartbeat=5"
    assert proxy.through("redis://localhost/0") == "redis://127.0.0.1:4711/0"


@pytest.mark.parametrize(
    "impossible",
    [{"latency": -1.0}, {"bytes_per_second": 0.0}, {"slice_bytes": 0}, {"cut_after": -1}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_an_impossible_link_is_refused(impossible: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Link(**impossible)  # type: ignore[arg-type]
