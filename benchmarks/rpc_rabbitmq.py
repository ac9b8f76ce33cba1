"""How fast are calls through RabbitMQ, beside nameko, aio-pika's own RPC pattern and bare aiormq?

One server process and one client process on one private node. ``gemstone`` is all of it: a ``MicroService`` with an
``async def`` method and no port, called through ``RemoteService``. Sequential calls give the median latency, 64 in
flight the rate. Every measurement is a pair of processes of its own; they take turns, and each ratio is the median of
the rounds'.

    python benchmarks/rpc_rabbitmq.py [--rounds 3] [--calls 2000] [--many 6000]

It needs ``nameko``, which is no dependency of ours.
"""

import argparse
import asyncio
import importlib
import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from pathlib import Path

import aio_pika
import aiormq
from aiormq.abc import DeliveredMessage

from gemstone_events import MicroService, RemoteService, exposed_method
from gemstone_events.runner import SWITCH_INTERVAL_SECONDS
from gemstone_events.testing.servers import RabbitMQ

IN_FLIGHT = 64
TEXT = "x" * 250
NAME = "benchmark"
REPLIES = "amq.rabbitmq.reply-to"
NAMEKO = str(Path(__file__).parent / "peers" / "nameko_rpc.py")
PEERS = ["gemstone", "nameko", "pattern", "aiormq"]

Echo = Callable[[str], Awaitable[object]]


async def measure(echo: Echo, calls: int, many: int) -> dict[str, float]:
    """Return the median latency of sequential calls in seconds, and the calls per second with 64 in flight."""
    for _ in range(100):
        await echo(TEXT)
    latencies = []
    for _ in range(calls):
        began = time.perf_counter()
        answer = await echo(TEXT)
        latencies.append(time.perf_counter() - began)
        assert answer == TEXT, answer
    left = iter(range(many))

    async def caller() -> None:
        for _ in left:
            assert await echo(TEXT) == TEXT

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return {"median": statistics.median(latencies), "rate": many / (time.perf_counter() - began)}


class Benchmark(MicroService):
    """Answers with what it is called with."""

    name = NAME
    port = None

    @exposed_method()
    async def echo(self, text: str) -> str:
        """Return the text."""
        return text


async def serve_gemstone(url: str) -> None:
    """Serve until killed."""
    async with Benchmark(event_transports=[url], event_store="memory:") as service:
        print("ready", flush=True)
        await service.wait_stopped()


async def call_gemstone(url: str, calls: int, many: int) -> dict[str, float]:
    """Call the service."""
    async with RemoteService(f"{url}#{NAME}") as remote:
        return await measure(remote.methods.echo, calls, many)


def _rpc_pattern() -> object:
    # It unpickles whatever comes: good enough for a private node that nobody else can reach, and for nothing else.
    return importlib.import_module("aio_pika.patterns").RPC


async def serve_pattern(url: str) -> None:
    """Serve until killed."""
    connection = await aio_pika.connect_robust(url)
    rpc = await _rpc_pattern().create(await connection.channel())

    async def echo(*, text: str) -> str:
        return text

    await rpc.register(NAME, echo, auto_delete=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def call_pattern(url: str, calls: int, many: int) -> dict[str, float]:
    """Call the server."""
    connection = await aio_pika.connect_robust(url)
    rpc = await _rpc_pattern().create(await connection.channel())

    async def echo(text: str) -> object:
        return await rpc.call(NAME, kwargs={"text": text})

    async with connection:
        return await measure(echo, calls, many)


async def serve_aiormq(url: str) -> None:
    """Serve until killed: JSON both ways, no confirms, an ack each."""
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=False)
    await channel.basic_qos(prefetch_count=256)
    queue = f"{NAME}.aiormq"
    await channel.queue_declare(queue, auto_delete=True)

    async def answer(message: DeliveredMessage) -> None:
        properties = message.header.properties
        body = json.dumps({"result": json.loads(message.body)["params"][0]}).encode()
        await channel.basic_publish(
            body,
            routing_key=properties.reply_to,
            properties=aiormq.spec.Basic.Properties(correlation_id=properties.correlation_id),
        )
        await channel.basic_ack(message.delivery.delivery_tag)

    await channel.basic_consume(queue, answer)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def call_aiormq(url: str, calls: int, many: int) -> dict[str, float]:
    """Call the server."""
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=False)
    waiting: dict[str, asyncio.Future[object]] = {}

    async def take(message: DeliveredMessage) -> None:
        future = waiting.pop(message.header.properties.correlation_id)
        future.set_result(json.loads(message.body)["result"])

    await channel.basic_consume(REPLIES, take, no_ack=True)
    loop = asyncio.get_running_loop()

    async def echo(text: str) -> object:
        key = uuid.uuid4().hex
        future = waiting[key] = loop.create_future()
        await channel.basic_publish(
            json.dumps({"method": "echo", "params": [text]}).encode(),
            routing_key=f"{NAME}.aiormq",
            properties=aiormq.spec.Basic.Properties(reply_to=REPLIES, correlation_id=key),
        )
        return await future

    measured = await measure(echo, calls, many)
    await connection.close()
    return measured


SERVERS: dict[str, Callable[[str], Coroutine[object, object, None]]] = {
    "gemstone": serve_gemstone,
    "pattern": serve_pattern,
    "aiormq": serve_aiormq,
}
CLIENTS: dict[str, Callable[[str, int, int], Coroutine[object, object, dict[str, float]]]] = {
    "gemstone": call_gemstone,
    "pattern": call_pattern,
    "aiormq": call_aiormq,
}


def measure_pair(peer: str, url: str, calls: int, many: int, nameko: str) -> dict[str, float]:
    """Start a server and a client; return what the client measured."""
    program = [nameko, "-P", NAMEKO] if peer == "nameko" else [sys.executable, "-P", __file__]
    argv = [*program, "--url", url]
    server = subprocess.Popen([*argv, "--serve", peer], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == "ready", f"{peer} does not start"
        client = [*argv, "--call", peer, "--calls", str(calls), "--many", str(many)]
        done = subprocess.run(client, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
        measured: dict[str, float] = json.loads(done.stdout)
        return measured
    finally:
        server.kill()
        server.wait()


def compare(what: str, peers: Sequence[str], rounds: int, measure_peer: Callable[[str], dict[str, float]]) -> None:
    """Measure the peers in turns, and print medians, rates, and the ratios of the first one to each other."""
    measured: dict[str, list[dict[str, float]]] = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            measured[peer].append(measure_peer(peer))
    print(f"{what:24} {'median':>10} {f'{IN_FLIGHT} in flight':>14}")
    for peer in peers:
        median = statistics.median(round_["median"] for round_ in measured[peer])
        rate = statistics.median(round_["rate"] for round_ in measured[peer])
        print(f"{peer:24} {1000 * median:7.2f} ms {rate:12,.0f}/s")
    for peer in peers[1:]:
        pairs = list(zip(measured[peers[0]], measured[peer], strict=True))
        latency = statistics.median(ours["median"] / theirs["median"] for ours, theirs in pairs)
        rate = statistics.median(ours["rate"] / theirs["rate"] for ours, theirs in pairs)
        print(f"{peers[0]} : {peer}: median latency = {latency:.2f}, {IN_FLIGHT} in flight = {rate:.2f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=2000, help="one after the other")
    parser.add_argument("--many", type=int, default=6000, help="64 in flight")
    parser.add_argument("--url", help="a broker that may be written to; default: a private one")
    parser.add_argument("--nameko", default=sys.executable, help="the Python that has nameko; default: this one")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--call", choices=CLIENTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)  # as a started service does
        asyncio.run(SERVERS[options.serve](options.url))
    elif options.call:
        print(json.dumps(asyncio.run(CLIENTS[options.call](options.url, options.calls, options.many))))
    else:
        with nullcontext(options) if options.url else RabbitMQ(schedulers=2) as broker:
            compare(
                "calls through RabbitMQ",
                PEERS,
                options.rounds,
                lambda peer: measure_pair(peer, broker.url, options.calls, options.many, options.nameko),
            )


if __name__ == "__main__":
    main()
