"""An HTTP client that sends byte by byte what the test says."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from gemstone_events.rpc.wires.http.application import RpcApplication
from gemstone_events.rpc.wires.http.server import HttpServer
from tests.waiting import until

PATIENCE = 10.0
"""Seconds that anything may take before a test fails."""


@dataclass
class Response:
    """What a client reads."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class Client:
    """One connection, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, raw: bytes) -> None:
        self.writer.write(raw)
        await self.writer.drain()

    async def receive(self) -> Response:
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin1")
            start, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Response(int(start.split()[1]), headers, body)

    async def ask(self, raw: bytes) -> Response:
        await self.send(raw)
        return await self.receive()

    async def is_closed_by_server(self) -> bool:
        """Wait until the server closes, and tell whether it did so without another byte."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@dataclass
class Served:
    """An application that is served on a port of this machine."""

    server: HttpServer
    application: RpcApplication

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Open a connection."""
        async with connected(self.server.port) as client:
            yield client

    async def ask(self, raw: bytes) -> Response:
        """Ask by a connection of its own."""
        async with self.client() as client:
            return await client.ask(raw)

    async def begin_to_stop(self, seconds: float = 1000.0) -> "asyncio.Task[bool]":
        """Stop the server, and return when it takes no more connections."""
        stopping = asyncio.create_task(self.server.stop(seconds))
        await until(lambda: not self._is_listening())
        return stopping

    def _is_listening(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.server.port), 1.0).close()
        except OSError:
            return False
        return True


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """Open a connection to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
