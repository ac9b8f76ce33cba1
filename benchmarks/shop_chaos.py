"""The shop under fire: three services as processes, thousands of orders, SIGKILLs and a restart of the broker.

    python benchmarks/shop_chaos.py                            10,000 orders over a private RabbitMQ
    python benchmarks/shop_chaos.py --url amqp://…             over a broker of yours, which is not restarted
    python benchmarks/shop_chaos.py --transport embedded       over the embedded bus

A separate process places the orders. Meanwhile billing is killed at random moments of its work, and the broker is
stopped and started once. When all has settled, the services are stopped, started again, and their tables are counted.
It prints a table and one line of JSON, and ends with status 1 unless nothing was lost and nothing was done twice.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table
from shop_bus import Bus, open_bus

from gemstone_events.adapters import make_store

SHOP = Path(__file__).parents[1] / "examples" / "shop"
sys.path.insert(0, str(SHOP))

from processes import CallFailedError, Effects, ServiceProcess, Shop, call  # found by the line above

POLL_SECONDS = 0.1
QUIET_SECONDS = 1.0
MAX_DEAD_LETTERS = 1000


@dataclass(slots=True)
class Report:
    """What came of it; times are in seconds.

    Attributes:
        lost: accepted orders for which something was not done.
        duplicated: effects beyond one of each kind for each order.
        recovery_seconds: for each kill, the time from the SIGKILL to the next invoice, or to the end of the work.
        ready_seconds: for each restart of the broker, the time from its start to the readiness of all services.
    """

    transport: str
    seed: int
    orders: int
    accepted: int = 0
    invoiced: int = 0
    shipped: int = 0
    lost: int = 0
    duplicated: int = 0
    dead_letters: int = 0
    kills: int = 0
    broker_restarts: int = 0
    recovery_seconds: list[float] = field(default_factory=list)
    ready_seconds: list[float] = field(default_factory=list)
    settled_after_last_disturbance: float = 0.0
    total_seconds: float = 0.0
    settled: bool = False

    @property
    def is_right(self) -> bool:
        """Nothing was lost, and nothing was done twice."""
        return self.settled and self.accepted == self.orders and not (self.lost or self.duplicated or self.dead_letters)


class Chaos:
    """One run against a shop that has been started."""

    def __init__(self, shop: Shop, bus: Bus, report: Report, say: Callable[[str], None]) -> None:
        self._shop = shop
        self._bus = bus
        self._report = report
        self._say = say
        self._random = random.Random(report.seed)
        self._accepted_more = asyncio.Condition()
        self._disturbed_at = time.monotonic()

    async def run(self, kills: int, restarts: int, callers: int, deadline: float) -> None:
        """Load, disturb, wait until all has settled, and count."""
        orders = self._report.orders
        moments = sorted(self._random.sample(range(orders // 50, orders - orders // 50), kills))
        outages = sorted(self._random.sample(range(orders // 5, orders - orders // 5), restarts))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._load(callers))
            tasks.create_task(self._kill_billing(moments))
            tasks.create_task(self._restart_broker(outages))
        await self._settle(deadline)
        self._report.settled_after_last_disturbance = round(time.monotonic() - self._disturbed_at, 2)
        self._say("settled; stopping and starting all services once more, and counting")
        for service in self._shop.services:
            await service.stop()
        await asyncio.gather(*(service.start() for service in self._shop.services))
        self._count(await self._settle(deadline))

    async def _load(self, callers: int) -> None:
        loader = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SHOP / "loader.py"),
            self._shop.orders.url,
            str(self._report.orders),
            f"--callers={callers}",
            stdout=asyncio.subprocess.PIPE,
        )
        assert loader.stdout is not None
        try:
            async for line in loader.stdout:
                async with self._accepted_more:
                    self._report.accepted = int(line)
                    self._accepted_more.notify_all()
            await loader.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                loader.kill()
        self._say(f"all {self._report.accepted} orders are accepted")

    async def _kill_billing(self, moments: Sequence[int]) -> None:
        """Kill billing whenever it has written so many invoices: surely in the middle of its work."""
        billing = self._shop.billing
        for moment in moments:
            invoices = await self._invoices_from(moment)
            await asyncio.sleep(self._random.uniform(0, 0.05))
            killed_at = time.monotonic()
            billing.kill()
            await asyncio.sleep(self._random.uniform(0, 0.5))
            await billing.start()
            await self._invoices_from(min(invoices + 1, self._report.orders))
            self._disturbed_at = time.monotonic()
            self._report.kills += 1
            self._report.recovery_seconds.append(round(self._disturbed_at - killed_at, 2))
            self._say(
                f"billing was killed at about {invoices} invoices; {self._report.recovery_seconds[-1]} s to the next"
            )

    async def _invoices_from(self, number: int) -> int:
        while True:
            with contextlib.suppress(CallFailedError):
                count = await call(self._shop.billing.url, "billing.count")
                if isinstance(count, dict) and count["rows"] >= number:
                    return int(count["rows"])
            await asyncio.sleep(0.02)

    async def _restart_broker(self, moments: Sequence[int]) -> None:
        for moment in moments:
            async with self._accepted_more:
                while self._report.accepted < moment:
                    await self._accepted_more.wait()
            self._say(f"stopping the broker at {self._report.accepted} accepted orders")
            await self._bus.restart(pause=self._random.uniform(0.5, 2.0))
            started_at = time.monotonic()
            self._say("the broker runs again")
            while not await self._shop.is_ready():
                await asyncio.sleep(POLL_SECONDS)
            self._disturbed_at = time.monotonic()
            self._report.broker_restarts += 1
            self._report.ready_seconds.append(round(self._disturbed_at - started_at, 2))
            self._say(f"all services are ready {self._report.ready_seconds[-1]} s after the broker was")

    async def _settle(self, deadline: float) -> Effects | None:
        """Return the effects when all orders have had all of them, nothing is on its way and nothing changes."""
        before: Effects | None = None
        effects: Effects | None = None
        while time.monotonic() < deadline:
            with contextlib.suppress(CallFailedError):
                effects = await self._shop.effects()
            if effects and effects.fewest >= self._report.orders and await self._bus.waiting() == 0:
                if effects == before:
                    self._report.settled = True
                    return effects
                before = effects
                await asyncio.sleep(QUIET_SECONDS)
            else:
                await asyncio.sleep(POLL_SECONDS)
        self._report.settled = False
        return effects

    def _count(self, effects: Effects | None) -> None:
        report = self._report
        if effects is None:
            self._say("the services could not be asked before the time was up")
            return
        report.invoiced = effects.orders("invoices")
        report.shipped = effects.orders("parcels")
        report.lost = report.accepted - effects.fewest
        report.duplicated = effects.duplicated


async def count_dead_letters(data_dir: Path, services: Sequence[ServiceProcess]) -> int:
    """Count what the services have given up."""
    found = 0
    for service in services:
        store = make_store(f"sqlite:///{data_dir / service.name}.db")
        await store.open()
        try:
            found += len(await store.list_dead_letters(MAX_DEAD_LETTERS))
        finally:
            await store.close()
    return found


async def run(arguments: argparse.Namespace) -> Report:
    """Set everything up, let chaos rule, take everything down and return what came of it."""
    started = time.monotonic()
    report = Report(arguments.transport, arguments.seed, arguments.orders)
    namespace = f"shop-chaos-{arguments.seed}"

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:7.2f} s  {line}", file=sys.stderr, flush=True)

    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="gemstone-chaos-")))
        data_dir = folder / ".gemstone"
        bus = await stack.enter_async_context(open_bus(arguments.transport, arguments.url, data_dir, namespace))
        options = ["--data-dir", str(data_dir), "--event-transports", bus.url, "--namespace", namespace]
        shop = await stack.enter_async_context(Shop(folder, options))
        say(f"the shop runs on {arguments.transport}; seed {arguments.seed}")
        restarts = 0 if arguments.url or arguments.transport == "embedded" else arguments.restarts
        chaos = Chaos(shop, bus, report, say)
        # The time limit ends what waits for a kill's effect; what has settled is judged all the same.
        try:
            async with asyncio.timeout(arguments.timeout):
                await chaos.run(arguments.kills, restarts, arguments.callers, started + arguments.timeout)
        except TimeoutError:
            report.settled = False
        report.dead_letters = await count_dead_letters(data_dir, shop.services)
        if arguments.logs:
            for log in sorted(folder.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()}", file=sys.stderr)
    report.total_seconds = round(time.monotonic() - started, 2)
    return report


def show(report: Report) -> None:
    """Print the table, to standard error, and the line of JSON, to standard output."""
    table = Table(show_header=False)
    for name, value in asdict(report).items():
        table.add_row(name.replace("_", " "), str(value))
    Console(stderr=True).print(table)
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kill the shop's billing again and again, and count what is lost.")
    parser.add_argument("--transport", choices=("rabbitmq", "embedded"), default="rabbitmq", help="(rabbitmq)")
    parser.add_argument("--url", default="", help="a RabbitMQ of yours instead of a private one; it is not restarted")
    parser.add_argument("--orders", type=int, default=10_000, help="how many orders are placed (10000)")
    parser.add_argument("--kills", type=int, default=10, help="how often billing is killed (10)")
    parser.add_argument("--restarts", type=int, default=1, help="how often the private broker is restarted (1)")
    parser.add_argument("--callers", type=int, default=32, help="connections that place orders (32)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of the random moments"
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for everything (600)")
    parser.add_argument("--logs", action="store_true", help="print the services' logs at the end")
    outcome = asyncio.run(run(parser.parse_args()))
    show(outcome)
    sys.exit(0 if outcome.is_right else 1)
