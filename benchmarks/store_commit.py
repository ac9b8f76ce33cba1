"""How fast the SQLite store commits units of work: group commit against one physical commit per unit.

    python benchmarks/store_commit.py [--seconds 2] [--folder FOLDER]

A unit of work is one emitted message (a body of about 350 bytes, 8 attributes) and one inbox mark. Compare only within
one run: the numbers are those of this disk. "busy" runs a task beside the commits that never lets the event loop rest:
turns of the given length, one after the other. "loop" is how much of its own work that task still got done.
"""

import argparse
import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw

from gemstone_events.event import new_id
from gemstone_events.message import Message
from gemstone_events.store.port import Changes, InboxKey
from gemstone_events.store.sqlite import SqliteStore
from gemstone_events.store.sqlite_author import AuthorSql
from gemstone_events.store.sqlite_schema import connect_writer
from gemstone_events.store.sqlite_units import Unit, commit_group, prepare_units

BODY = json.dumps(
    {"order": "4711", "customer": {"name": "x" * 100}, "lines": [{"n": n, "price": 9.5} for n in range(9)]}
)


def unit_of_work() -> Changes:
    """Return what a handler that emits one event makes."""
    event_id = new_id()
    attributes = {
        "specversion": "1.0",
        "id": event_id,
        "type": "invoice.issued",
        "source": "billing",
        "time": "2026-01-02T03:04:05.678901+00:00",
        "datacontenttype": "application/json",
        "correlationid": event_id,
        "causationid": event_id,
    }
    return Changes([Message(attributes, BODY.encode())], [InboxKey("billing:order.placed:Billing.charge", event_id)])


@dataclass
class Load:
    """A task that keeps the event loop busy in turns of ``turn`` seconds; 0 for none."""

    turn: float
    spins: int = 0

    async def run(self) -> None:
        """Work until it is cancelled."""
        while self.turn:
            end = time.perf_counter() + self.turn
            while time.perf_counter() < end:
                self.spins += 1
            await asyncio.sleep(0)


async def group_commit(folder: Path, in_flight: int, load: Load, seconds: float) -> tuple[float, float]:
    """Return commits per second through the store, and the median latency in milliseconds."""
    store = SqliteStore(str(folder / "group.db"))
    await store.open()
    latencies: list[float] = []
    busy = asyncio.create_task(load.run())
    start = time.perf_counter()

    async def work() -> None:
        while (begun := time.perf_counter()) < start + seconds:
            await store.commit(unit_of_work())
            latencies.append(time.perf_counter() - begun)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    elapsed = time.perf_counter() - start
    busy.cancel()
    await store.close()
    return len(latencies) / elapsed, 1000 * sorted(latencies)[len(latencies) // 2]


def single_commits(folder: Path, seconds: float) -> float:
    """Return commits per second, one physical transaction each, on the calling thread with nothing else to do."""
    path = str(folder / "single.db")
    connection = connect_writer(path, 1.0, None)
    prepare_units(connection)
    author = AuthorSql(connection, path)
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        assert commit_group(connection, author, [Unit.of(unit_of_work())], path) == [None]
        count += 1
    elapsed = time.perf_counter() - start
    connection.close()
    return count / elapsed


def in_fresh_folder(parent: str | None, measure: Callable[[Path], float]) -> float:
    """Run a measurement in a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        return measure(folder)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    parser.add_argument("--folder", help="where the database files go: on the disk to be measured")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    print(f"SQLite {apsw.sqlite_lib_version()}, synchronous=FULL, {len(BODY)} bytes of body")
    print("single: one physical commit per unit, a plain loop with nothing beside it, measured before each block")
    print(f"{'loop':>12} {'in flight':>10} {'units/s':>9} {'single/s':>9} {'ratio':>6} {'median ms':>10} {'loop':>15}")
    for turn in (0.0, 0.0001, 0.0005, 0.002):
        single = in_fresh_folder(arguments.folder, lambda folder: single_commits(folder, seconds))
        for in_flight in (1, 10, 64, 256):
            load = Load(turn)
            result: list[float] = []

            def measure(
                folder: Path, in_flight: int = in_flight, load: Load = load, out: list[float] = result
            ) -> float:
                out.extend(asyncio.run(group_commit(folder, in_flight, load, seconds)))
                return out[0]

            rate = in_fresh_folder(arguments.folder, measure)
            own = f"{load.spins / seconds / 1e6:.1f} M spins/s" if turn else ""
            kind = f"busy {turn * 1000:g} ms" if turn else "free"
            figures = f"{rate:9.0f} {single:9.0f} {rate / single:6.1f} {result[1]:10.2f}"
            print(f"{kind:>12} {in_flight:>10} {figures} {own:>15}", flush=True)


if __name__ == "__main__":
    main()
