"""All ways to call a service behind one contract."""

import socket
import uuid
from pathlib import Path

import pytest

from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.wire import ServerSettings, WireStatus
from gemstone_events.rpc.wires.http.application import HttpLimits, make_application
from gemstone_events.rpc.wires.http.client import HttpClientWire
from gemstone_events.rpc.wires.http.guard import HttpGuard
from gemstone_events.rpc.wires.http.server import HttpServer
from gemstone_events.testing.rpc_contract import MakeClient, MakeServer, RpcContract, RpcFeatures


class TestMemory(RpcContract):
    @pytest.fixture
    def wire_url(self) -> str:
        return f"memory://{uuid.uuid4().hex}"


class TestEmbedded(RpcContract):
    @pytest.fixture
    def wire_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/bus.db"


class TestRabbitMQ(RpcContract):
    features = RpcFeatures(knows_at_once=False)

    @pytest.fixture
    def wire_url(self, rabbitmq_url: str) -> str:
        return rabbitmq_url


class ServedByHttp:
    """A dispatcher behind an HTTP server."""

    def __init__(self, dispatcher: Dispatcher, settings: ServerSettings) -> None:
        guard = HttpGuard.for_service("127.0.0.1", None, (), ())
        self._application = make_application(dispatcher, guard, limits=HttpLimits(body_bytes=settings.body_bytes))
        self._server = HttpServer(self._application, port=0)
        self._is_started = False
        self._unused = _unused_port()

    @property
    def url(self) -> str:
        """Where it is called; before it is started, where nobody listens."""
        return f"http://127.0.0.1:{self._server.port or self._unused}/api"

    async def start(self) -> None:
        """See ``Served``."""
        await self._server.start()
        self._is_started = True

    async def stop(self, timeout: float) -> bool:
        """See ``Served``."""
        return await self._server.stop(timeout)

    async def close(self) -> None:
        """See ``Served``."""
        await self._server.stop(0)

    def status(self) -> WireStatus:
        """See ``Served``."""
        return WireStatus(self._is_started and not self._application.in_flight.draining)


class TestHttp(RpcContract):
    features = RpcFeatures(finds=False, shares=False, bounds=False, absent=ServiceUnreachableError)

    @pytest.fixture
    def make_client(self) -> MakeClient:
        return HttpClientWire

    @pytest.fixture
    def make_server(self) -> MakeServer:
        return ServedByHttp


def _unused_port() -> int:
    """Return a port where nobody listens, for it was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port
