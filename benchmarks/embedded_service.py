"""The embedded default between two processes: from ``emit_event`` in one service to the handler in another, all durable.

Throughput: 64 tasks emit as fast as they can, each waiting until its event is stored (synchronous=FULL); the other
process handles them, each with its inbox mark committed. Latency: 1,000 events per second, from the call of
``emit_event`` to the handler. Beside them, in the same run, what the disk allows: one commit per event.

    python benchmarks/embedded_service.py [--events 30000] [--rounds 3]
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gemstone_events import MicroService, event_handler
from gemstone_events.runner import SWITCH_INTERVAL_SECONDS
from gemstone_events.store.sqlite import open_url

EMITTERS = 64
RATE = 1000
BODY = {"order": 42, "lines": [{"sku": "abc", "quantity": 2, "price": 9.99}] * 5, "customer": "x" * 120}


class Consumer(MicroService):
    """Handles ``count`` events and says how."""

    name = "consumer"
    port = None

    def __init__(self, count: int, **settings: object) -> None:
        super().__init__(**settings)
        self.count = count
        self.latencies: list[float] = []
        self.began = self.ended = 0.0

    @event_handler("order.placed", concurrency=200)
    async def handle(self, body: dict[str, float]) -> None:
        """Take the time."""
        now = time.time()
        self.began = self.began or now
        self.latencies.append(now - body["sent"])
        if len(self.latencies) == self.count:
            self.ended = now
            self.stop()


class Producer(MicroService):
    """Emits."""

    name = "producer"
    port = None

    async def emit_at_full_speed(self, count: int) -> float:
        """Emit ``count`` events from ``EMITTERS`` tasks; return the seconds until all are stored."""

        async def emit(times: int) -> None:
            for _ in range(times):
                await self.emit_event("order.placed", {**BODY, "sent": time.time()})

        began = time.perf_counter()
        await asyncio.gather(*(emit(count // EMITTERS) for _ in range(EMITTERS)))
        return time.perf_counter() - began

    async def emit_at_rate(self, count: int) -> None:
        """Emit ``count`` events, ``RATE`` a second, one at a time."""
        began = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            self.emit_event("order.placed", {**BODY, "sent": time.time()})


async def consume(folder: str, count: int) -> dict[str, float]:
    """Run the consumer; print when it is ready."""
    consumer = Consumer(count, data_dir=folder)
    async with consumer:
        print("ready", flush=True)
        await consumer.wait_stopped()
    latencies = sorted(consumer.latencies)
    return {
        "began": consumer.began,
        "ended": consumer.ended,
        "median_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
    }


async def one_commit_per_event(count: int) -> float:
    """Return events stored per second when each waits for the one before."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_url(f"sqlite:///{folder}/store.db")
        async with Producer(data_dir=folder, event_store=store, event_transports=[]) as producer:
            began = time.perf_counter()
            for _ in range(count):
                await producer.emit_event("order.placed", {**BODY, "sent": time.time()})
            return count / (time.perf_counter() - began)


async def emit_only(count: int) -> float:
    """Return events stored per second by ``EMITTERS`` tasks with no transport at work."""
    with tempfile.TemporaryDirectory() as folder:
        async with Producer(data_dir=folder, event_transports=[]) as producer:
            return count / await producer.emit_at_full_speed(count)


def run_pair(count: int, *, full_speed: bool) -> tuple[float, dict[str, float]]:
    """Run both processes; return the rate of emitting and what the consumer saw."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, __file__, "--role", "consume", "--folder", folder, "--events", str(count)]
        consumer = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == "ready\n"
        emitted = asyncio.run(_produce(Path(folder), count, full_speed=full_speed))
        report = json.loads(consumer.stdout.readline())
        consumer.wait(30)
        return emitted, report


async def _produce(folder: Path, count: int, *, full_speed: bool) -> float:
    async with Producer(data_dir=folder) as producer:
        if full_speed:
            return count / await producer.emit_at_full_speed(count)
        await producer.emit_at_rate(count)
        return RATE


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=32_000, help="a multiple of 64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--role", choices=["consume"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)  # as a started service does
    if options.role:
        print(json.dumps(asyncio.run(consume(options.folder, options.events))), flush=True)
        return
    alone, together, through, medians, p99s = [], [], [], [], []
    for _ in range(options.rounds):
        alone.append(asyncio.run(one_commit_per_event(2000)))
        together.append(asyncio.run(emit_only(options.events)))
        _, seen = run_pair(options.events, full_speed=True)
        through.append(options.events / (seen["ended"] - seen["began"]))
        _, seen = run_pair(4 * RATE, full_speed=False)
        medians.append(seen["median_ms"])
        p99s.append(seen["p99_ms"])
    print(f"emit, one commit per event          {statistics.median(alone):10,.0f} /s")
    ratio = statistics.median(b / a for a, b in zip(alone, together, strict=True))
    print(f"emit, {EMITTERS} handlers at once           {statistics.median(together):10,.0f} /s   {ratio:.1f}x")
    print(f"emit in one process, handle in another {statistics.median(through):7,.0f} /s")
    print(f"latency at {RATE} /s: median {statistics.median(medians):.2f} ms, p99 {statistics.median(p99s):.2f} ms")


if __name__ == "__main__":
    main()
