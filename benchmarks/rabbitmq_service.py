"""How fast does a whole service handle events from RabbitMQ, beside FastStream, and how fast does it publish beside C?

Publishing: the transport, with confirms, beside FastStream and a C program on librabbitmq (``peers/publish.c``).
Handling: a ``MicroService`` with a trivial ``async def`` handler, acks included, on the memory store and on SQLite with
synchronous=FULL, beside FastStream's handler, which has no store at all. One private node, quorum queues, events of
about 350 bytes. Every measurement is a process of its own; they take turns, and each ratio is the median of the rounds'.

    python benchmarks/rabbitmq_service.py [--rounds 3] [--messages 20000]

It needs ``faststream[rabbit]``, a C compiler and librabbitmq-dev; none of them is a dependency of ours.
"""

import argparse
import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from urllib.parse import urlsplit

import rabbitmq_transport as transport_benchmark

from gemstone_events import MicroService, event_handler
from gemstone_events.runner import SWITCH_INTERVAL_SECONDS
from gemstone_events.testing.servers import RabbitMQ

IN_FLIGHT = transport_benchmark.IN_FLIGHT


class Consumer(MicroService):
    """Handles what ``publish-gemstone`` left in the work queue."""

    name = "consumer"
    port = None
    namespace = transport_benchmark.NAMESPACE

    def __init__(self, count: int, **settings: object) -> None:
        super().__init__(**settings)
        self.count = count
        self.seen = 0
        self.began = 0.0

    @event_handler(transport_benchmark.TYPE, concurrency=IN_FLIGHT // 2)
    async def handle(self, body: dict[str, object]) -> None:
        """Count."""
        self.began = self.began or time.perf_counter()
        self.seen += 1
        if self.seen >= self.count:
            self.stop()


async def _handle(url: str, count: int, store: str) -> float:
    consumer = Consumer(count, event_transports=[url], event_store=store)
    async with consumer:
        await consumer.wait_stopped()
        return time.perf_counter() - consumer.began


async def handle_on_memory(url: str, count: int) -> float:
    """Handle ``count`` events with the memory store; return the seconds from the first to the last."""
    return await _handle(url, count, "memory:")


async def handle_on_sqlite(url: str, count: int) -> float:
    """Handle ``count`` events with SQLite, synchronous=FULL; return the seconds from the first to the last."""
    with tempfile.TemporaryDirectory() as folder:
        return await _handle(url, count, f"sqlite:///{folder}/store.db")


ROLES: dict[str, Callable[[str, int], Coroutine[object, object, float]]] = {
    "handle-memory": handle_on_memory,
    "handle-sqlite": handle_on_sqlite,
}


def measure_c(program: Path, url: str, count: int) -> float:
    """Run the C program; return messages per second."""
    argv = [str(program), str(urlsplit(url).port), "benchmark.c", str(count), str(IN_FLIGHT)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True, timeout=300)
    return count / float(done.stdout)


def compare(url: str, rounds: int, count: int, program: Path) -> None:
    """Print the rates and the ratios."""
    rates: dict[str, list[float]] = {}

    def note(what: str, rate: float) -> None:
        rates.setdefault(what, []).append(rate)

    for _ in range(rounds):
        note("publish, C", measure_c(program, url, count))
        note("publish, FastStream", transport_benchmark.measure("publish-faststream", url, count))
        note("publish", transport_benchmark.measure("publish-gemstone", url, count))
        note("handle, memory", transport_benchmark.measure("handle-memory", url, count, __file__))
        transport_benchmark.measure("publish-gemstone", url, count)
        note("handle, SQLite", transport_benchmark.measure("handle-sqlite", url, count, __file__))
        note("handle, FastStream", transport_benchmark.measure("consume-faststream", url, count))
    print(f"{'events per second':22} {'median':>10}")
    for what, measured in rates.items():
        print(f"{what:22} {statistics.median(measured):10,.0f}")
    for ours, theirs in [
        ("publish", "publish, FastStream"),
        ("publish", "publish, C"),
        ("handle, memory", "handle, FastStream"),
        ("handle, SQLite", "handle, FastStream"),
    ]:
        ratio = statistics.median(a / b for a, b in zip(rates[ours], rates[theirs], strict=True))
        print(f"{ours} : {theirs} = {ratio:.2f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=20_000, help="a multiple of 400")
    parser.add_argument("--url", help="a broker that may be written to; default: a private one")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)  # as a started service does
        print(asyncio.run(ROLES[options.role](options.url, options.messages)))
        return
    with tempfile.TemporaryDirectory() as folder, RabbitMQ(schedulers=2) as node:
        program = Path(folder) / "publish"
        compiler = shutil.which("cc") or "gcc"
        source = Path(__file__).parent / "peers" / "publish.c"
        subprocess.run([compiler, "-O2", "-o", program, source, "-lrabbitmq"], check=True)
        compare(options.url or node.url, options.rounds, options.messages, program)


if __name__ == "__main__":
    main()
