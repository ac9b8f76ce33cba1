"""How fast is JSON-RPC over HTTP, beside a bare Tornado handler that does the least a JSON endpoint can do?

Both servers run at once, each in a process of its own, and are loaded in turn by a third process that keeps 64
connections busy. The ratio is the median of the rounds' ratios, so that other work on the machine weighs little.

    python benchmarks/rpc_http.py [--rounds 5] [--seconds 3] [--connections 64]
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from gemstone_events import MicroService, exposed_method

BODY = b'{"jsonrpc":"2.0","method":"add","params":{"a":19,"b":23},"id":1}'
REQUEST = b"POST /api HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class BareHandler(RequestHandler):
    """The measure: reads JSON, calls the function, writes JSON, checks nothing."""

    async def post(self) -> None:
        """Answer a call of ``add``."""
        request = json.loads(self.request.body)
        result = await add(**request["params"])
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps({"jsonrpc": "2.0", "result": result, "id": request["id"]}))
        self.finish()


class Adder(MicroService):
    """The framework's: a whole service, each call in a unit of work."""

    name = "adder"
    port = 0

    @exposed_method()
    async def add(self, a: int, b: int) -> int:
        """Add two numbers."""
        return await add(a, b)


async def serve_bare() -> int:
    """Start the bare handler; return its port."""
    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(Application([("/api", BareHandler)])).add_sockets(sockets)
    return int(sockets[0].getsockname()[1])


async def serve(kind: str) -> None:
    """Run one server until the process is ended, and print its port."""
    if kind == "bare":
        print(await serve_bare(), flush=True)
        await asyncio.Event().wait()
    with tempfile.TemporaryDirectory() as folder:
        async with Adder(data_dir=folder) as service:
            print(service.bound_port, flush=True)
            await asyncio.Event().wait()


class Client(asyncio.Protocol):
    """Sends the request again as soon as it is answered, on one connection."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.answered = 0
        self.done = asyncio.get_running_loop().create_future()
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        """Count the answer, when it is whole."""
        self._received += data
        if not self._received.endswith(b"}"):
            return
        head, _, body = self._received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or (self.answered == 0 and json.loads(body)["result"] != 42):
            raise RuntimeError(f"unexpected answer: {self._received!r}")
        self._received = b""
        self.answered += 1
        if time.monotonic() < self.until:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        assert self._transport is not None
        self._transport.write(REQUEST)


async def load(port: int, seconds: float, connections: int) -> None:
    """Load a server and print its rate in answers per second."""
    loop = asyncio.get_running_loop()
    started = time.monotonic()
    clients = [
        (await loop.create_connection(lambda: Client(started + seconds), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for client in clients))
    print(sum(client.answered for client in clients) / (time.monotonic() - started))


def measure(port: int, seconds: float, connections: int) -> float:
    """Load a server from a process of its own and return its rate."""
    command = [
        sys.executable,
        __file__,
        "--load",
        str(port),
        "--seconds",
        str(seconds),
        "--connections",
        str(connections),
    ]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(rounds: int, seconds: float, connections: int) -> None:
    """Measure both servers in turn and print the rates and their ratio."""
    servers = {
        kind: subprocess.Popen([sys.executable, __file__, "--serve", kind], stdout=subprocess.PIPE, text=True)
        for kind in ("bare", "rpc")
    }
    try:
        ports = {kind: int(server.stdout.readline()) for kind, server in servers.items() if server.stdout}
        for port in ports.values():
            measure(port, 0.5, connections)
        rates: dict[str, list[float]] = {"bare": [], "rpc": []}
        for _ in range(rounds):
            for kind, port in ports.items():
                rates[kind].append(measure(port, seconds, connections))
            print(f"bare {rates['bare'][-1]:8.0f}/s   rpc {rates['rpc'][-1]:8.0f}/s")
    finally:
        for server in servers.values():
            server.terminate()
            server.wait()
    ratio = statistics.median(rpc / bare for rpc, bare in zip(rates["rpc"], rates["bare"], strict=True))
    medians = {kind: statistics.median(values) for kind, values in rates.items()}
    print(f"median: bare {medians['bare']:.0f}/s, rpc {medians['rpc']:.0f}/s, ratio {ratio:.2f}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--serve", choices=["bare", "rpc"], help=argparse.SUPPRESS)
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
    elif options.load:
        asyncio.run(load(options.load, options.seconds, options.connections))
    else:
        compare(options.rounds, options.seconds, options.connections)


if __name__ == "__main__":
    main()
