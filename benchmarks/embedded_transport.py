"""The embedded bus between two processes: rates by batch, latency at a steady rate, and the cost of an idle consumer.

    python benchmarks/embedded_transport.py [--messages 20000]

Everything is durable (synchronous=FULL). Rates are shown beside what bare SQLite inserts do in the same run on the same
disk: compare the ratios, not the numbers, between machines. The consumer runs, acks, and keeps up in its own process.
"""

import argparse
import asyncio
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import apsw

from gemstone_events.event import new_id
from gemstone_events.message import Message
from gemstone_events.transport import Delivery, Outcome, Subscription, TransportSettings
from gemstone_events.transports.embedded import open_url

BODY = b'{"order":"' + b"x" * 330 + b'"}'
PREFETCH = 500


def order(body: bytes = BODY) -> Message:
    """Return a message as a service would send it, about 550 bytes in all."""
    attributes = {
        "specversion": "1.0",
        "id": new_id(),
        "type": "order.placed",
        "source": "benchmark",
        "time": "2026-01-02T03:04:05.678901+00:00",
        "datacontenttype": "application/json",
    }
    return Message(attributes, body)


def stamped() -> Message:
    """Return a message that carries the time of its making."""
    return order(str(time.monotonic_ns()).encode().ljust(len(BODY)))


def consumer_process(url: str, orders: Connection) -> None:
    """Run the consumer until it is told to end."""
    asyncio.run(consume(url, orders))


async def consume(url: str, pipe: Connection) -> None:
    """Count and ack; on an order ``(count, stamped)`` answer with seconds and latencies when so many have come."""
    arrivals: list[tuple[float, int]] = []
    news = asyncio.Event()

    def receive(_: Subscription, deliveries: Sequence[Delivery]) -> None:
        now = time.monotonic_ns()
        for delivery in deliveries:
            body = delivery.message.body
            arrivals.append((now / 1e9, now - int(body) if body[:1] != b"{" else 0))
            delivery.ack()
        news.set()

    transport = open_url(url, TransportSettings())
    await transport.open()
    await transport.subscribe([Subscription("benchmark", "order.*", prefetch=PREFETCH)], receive)
    pipe.send("ready")
    while (count := await asyncio.to_thread(pipe.recv)) is not None:
        if count == 0:
            used, since = time.process_time(), time.monotonic()
            await asyncio.sleep(3.0)
            pipe.send((time.process_time() - used) / (time.monotonic() - since))
            continue
        while len(arrivals) < count:
            news.clear()
            await news.wait()
        latencies = sorted(latency / 1e6 for _, latency in arrivals)
        pipe.send((arrivals[-1][0] - arrivals[0][0], latencies))
        arrivals.clear()
    await transport.close()


def bare_inserts(folder: Path, batch: int, count: int) -> float:
    """Return the rate of bare inserts of the same rows with the same durability."""
    connection = apsw.Connection(str(folder / f"bare-{batch}.db"))
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, attributes TEXT, body BLOB)")
    message = order()
    rows = [(str(dict(message.attributes)), message.body)] * batch
    started = time.perf_counter()
    for _ in range(count // batch):
        with connection:
            connection.executemany("INSERT INTO rows (attributes, body) VALUES (?, ?)", rows)
    rate = count / (time.perf_counter() - started)
    connection.close()
    return rate


async def measure_rate(url: str, pipe: Connection, batch: int, count: int) -> tuple[float, float]:
    """Return the rates of publishing and, while that goes on, of consuming in the other process."""
    transport = open_url(url, TransportSettings())
    await transport.open()
    pipe.send(count)
    batches = [[order() for _ in range(batch)] for _ in range(count // batch)]
    started = time.perf_counter()
    for messages in batches:
        outcomes = await transport.publish(messages)
        assert set(outcomes) == {Outcome.CONFIRMED}
    publishing = count / (time.perf_counter() - started)
    seconds, _ = await asyncio.to_thread(pipe.recv)
    await transport.close()
    return publishing, count / seconds


async def measure_latency(url: str, pipe: Connection, rate: int, count: int) -> Sequence[float]:
    """Return the milliseconds from publish to receive, one message per publish call, at a steady rate."""
    transport = open_url(url, TransportSettings())
    await transport.open()
    pipe.send(count)
    started = time.perf_counter()
    calls: set[asyncio.Task[Sequence[Outcome]]] = set()
    for number in range(count):
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        call = asyncio.create_task(transport.publish([stamped()]))
        calls.add(call)
        call.add_done_callback(calls.discard)
    answer: tuple[float, list[float]] = await asyncio.to_thread(pipe.recv)
    await transport.close()
    return answer[1]


async def main(count: int, folder: Path) -> None:
    """Measure and print."""
    url = f"sqlite:///{folder}/bus.db"
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=consumer_process, args=(url, theirs))
    process.start()
    try:
        await asyncio.to_thread(ours.recv)
        for batch in (1, 10, 100, 500):
            number = count // (10 if batch == 1 else 1)
            bare = bare_inserts(folder, batch, number)
            published, consumed = await measure_rate(url, ours, batch, number)
            print(
                f"batch {batch:3}: publish {published:7,.0f}/s ({published / bare:.2f} of bare inserts), "
                f"consume {consumed:7,.0f}/s ({consumed / published:.2f} of publish)"
            )
        for rate in (100, 1000):
            latencies = await measure_latency(url, ours, rate, rate * 3)
            p99 = statistics.quantiles(latencies, n=100)[98]
            print(f"latency at {rate}/s: median {statistics.median(latencies):.2f} ms, p99 {p99:.2f} ms")
        ours.send(0)
        print(f"idle consumer: {await asyncio.to_thread(ours.recv):.2%} of a core")
        ours.send(None)
    finally:
        process.join(5)
        process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000, help="messages for each rate; a tenth in batches of 1")
    scratch = Path(tempfile.mkdtemp(prefix="gemstone-benchmark-"))
    try:
        asyncio.run(main(parser.parse_args().messages, scratch))
    finally:
        shutil.rmtree(scratch)
