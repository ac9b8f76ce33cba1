"""How fast are calls over HTTP, client and server, beside a bare Tornado pair?

One server process and one client process. ``gemstone`` is a ``MicroService`` called through ``RemoteService``;
``tornado`` is a bare handler that reads and writes JSON, called through Tornado's own ``AsyncHTTPClient``, which opens a
connection per call; ``aiohttp`` is an aiohttp session, which keeps connections, at the same bare handler. Sequential
calls give the median latency, 64 in flight the rate. They take turns, and each ratio is the median of the rounds'.

    python benchmarks/rpc_http_pair.py [--rounds 3] [--calls 2000] [--many 6000]
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine

import aiohttp
from rpc_rabbitmq import IN_FLIGHT, Benchmark, compare, measure
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from gemstone_events import RemoteService
from gemstone_events.runner import SWITCH_INTERVAL_SECONDS

PEERS = ["gemstone", "tornado", "aiohttp"]
JSON = {"Content-Type": "application/json"}


async def serve_gemstone() -> None:
    """Serve until killed."""
    async with Benchmark(port=0, event_transports=[], event_store="memory:") as service:
        print(service.url, flush=True)
        await service.wait_stopped()


class EchoHandler(RequestHandler):
    """The least that answers a call."""

    def post(self) -> None:
        """Answer."""
        request = json.loads(self.request.body)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"jsonrpc": "2.0", "result": request["params"][0], "id": request["id"]}))


async def serve_tornado() -> None:
    """Serve until killed."""
    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(Application([("/api", EchoHandler)])).add_sockets(sockets)
    print(f"http://127.0.0.1:{sockets[0].getsockname()[1]}/api", flush=True)
    await asyncio.Event().wait()


async def call_gemstone(url: str, calls: int, many: int) -> dict[str, float]:
    """Call through our client."""
    async with RemoteService(url) as remote:
        return await measure(remote.methods.echo, calls, many)


def _body(text: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": "echo", "params": [text], "id": 1}).encode()


async def call_tornado(url: str, calls: int, many: int) -> dict[str, float]:
    """Call through Tornado's client."""
    client = AsyncHTTPClient(max_clients=IN_FLIGHT)

    async def echo(text: str) -> object:
        response = await client.fetch(url, method="POST", headers=JSON, body=_body(text))
        return json.loads(response.body)["result"]

    return await measure(echo, calls, many)


async def call_aiohttp(url: str, calls: int, many: int) -> dict[str, float]:
    """Call through aiohttp."""
    async with aiohttp.ClientSession() as session:

        async def echo(text: str) -> object:
            async with session.post(url, data=_body(text), headers=JSON) as response:
                return json.loads(await response.read())["result"]

        return await measure(echo, calls, many)


SERVERS: dict[str, Callable[[], Coroutine[object, object, None]]] = {
    "gemstone": serve_gemstone,
    "tornado": serve_tornado,
    "aiohttp": serve_tornado,
}
CLIENTS: dict[str, Callable[[str, int, int], Coroutine[object, object, dict[str, float]]]] = {
    "gemstone": call_gemstone,
    "tornado": call_tornado,
    "aiohttp": call_aiohttp,
}


def measure_pair(peer: str, calls: int, many: int) -> dict[str, float]:
    """Start a server and a client; return what the client measured."""
    argv = [sys.executable, __file__]
    server = subprocess.Popen([*argv, "--serve", peer], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        client = [*argv, "--call", peer, "--url", url, "--calls", str(calls), "--many", str(many)]
        done = subprocess.run(client, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
        measured: dict[str, float] = json.loads(done.stdout)
        return measured
    finally:
        server.kill()
        server.wait()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=2000, help="one after the other")
    parser.add_argument("--many", type=int, default=6000, help="64 in flight")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--call", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)  # as a started service does
        asyncio.run(SERVERS[options.serve]())
        return
    if options.call:
        print(json.dumps(asyncio.run(CLIENTS[options.call](options.url, options.calls, options.many))))
        return
    compare("calls over HTTP", PEERS, options.rounds, lambda peer: measure_pair(peer, options.calls, options.many))


if __name__ == "__main__":
    main()
