"""The shop, started, killed and counted: what ``make demo`` runs.

Three services in three processes, on the embedded bus: no broker, no database server, nothing to set up. Orders come
in over HTTP; billing is killed in the middle of its work and started again; then everything is counted.
"""

import argparse
import asyncio
import contextlib
import json
import shlex
import signal
import sys
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from processes import CallFailedError, Effects, Shop, call
from rich.console import Console
from rich.table import Table

from gemstone_events import EVERY_INSTANCE, Event, MicroService, event_handler

DEADLINE_SECONDS = 50.0
DOWN_SECONDS = 1.0
CALLERS = 8

T = TypeVar("T")

console = Console(highlight=False, soft_wrap=True)


class Onlooker(MicroService):
    """Sees every event on the bus, as ``gemstone tail`` does; shows the first few and counts the invoices."""

    name = "onlooker"
    port = None
    event_store = "memory:"

    def __init__(self, data_dir: Path, enough_invoices: int) -> None:
        super().__init__(data_dir=data_dir)
        self.first_shipped = asyncio.Event()
        self.enough = asyncio.Event()
        self.invoices = 0
        self._enough_invoices = enough_invoices

    # Each running instance of this service gets its own copy, and nothing waits for it while it does not run.
    @event_handler("#", group=EVERY_INSTANCE)
    async def look_on(self, body: object, event: Event) -> None:
        if not self.first_shipped.is_set():
            clock = event.time.astimezone().strftime("%H:%M:%S.%f")[:-3]
            console.print(f"  {clock}  {event.source:<9} {event.type:<15} {json.dumps(body)}")
        if event.type == "order.shipped":
            self.first_shipped.set()
        self.invoices += event.type == "invoice.issued"
        if self.invoices >= self._enough_invoices:
            self.enough.set()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demonstration has come to. Seconds count from the kill until all was done; None: it never was."""

    placed: int
    effects: Effects
    seconds: float | None

    @property
    def lost(self) -> int:
        """For how many orders something was not done."""
        return self.placed - self.effects.fewest

    @property
    def is_right(self) -> bool:
        """Every order had every effect, once."""
        return self.seconds is not None and self.lost == 0 and self.effects.duplicated == 0


async def demonstrate(shop: Shop, data_dir: Path, orders: int) -> Outcome:
    """Place one order and then many, kill billing on the way, and wait until everything has settled."""
    first, *others = [f"order-{number:04}" for number in range(1, orders + 1)]
    deadline = time.monotonic() + DEADLINE_SECONDS
    async with Onlooker(data_dir, enough_invoices=max(2, orders // 3)) as onlooker, asyncio.TaskGroup() as tasks:
        console.print(f"\nA call places {first}, over HTTP (JSON-RPC 2.0). The events that follow:")
        await place(shop, [first])
        await within(DEADLINE_SECONDS, onlooker.first_shipped.wait(), f"{first} to be shipped")
        status = await within(DEADLINE_SECONDS, followed(shop, first), f"orders to hear of {first}")
        console.print(f"Another call asks what has become of it:\n  {json.dumps(status)}")

        console.print(f"\nPlacing {len(others)} more orders ...")
        placing = tasks.create_task(place(shop, others))
        await within(DEADLINE_SECONDS, onlooker.enough.wait(), "enough invoices")
        killed_at = time.monotonic()
        await kill_and_start_again(shop, onlooker)
        await placing
        effects, is_settled = await settle(shop, data_dir, orders, deadline)
    return Outcome(orders, effects, time.monotonic() - killed_at if is_settled else None)


async def followed(shop: Shop, order: str) -> object:
    """Return what orders says of an order, as soon as it has heard of its shipping too."""
    while True:
        status = await call(shop.orders.url, "orders.status", order)
        if isinstance(status, dict) and "order.shipped" in status["steps"]:
            return status
        await asyncio.sleep(0.02)


async def within(seconds: float, work: Awaitable[T], what: str) -> T:
    """Return what comes of ``work``, but do not wait for ever."""
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        raise RuntimeError(f"waited {seconds:g} seconds in vain for {what}") from None


async def place(shop: Shop, names: list[str]) -> None:
    """Place all orders, a few at a time."""
    waiting = iter(names)

    async def work() -> None:
        for name in waiting:
            await call(shop.orders.url, "orders.place", name, 100)

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(work())


async def kill_and_start_again(shop: Shop, onlooker: Onlooker) -> None:
    """Kill billing without warning, leave it dead for a moment, and start it again."""
    pid = shop.billing.pid
    shop.billing.kill()
    console.print(
        f"[bold]kill -9 {pid}[/bold]: billing is dead, after {onlooker.invoices} invoices. Orders keep coming in."
    )
    await asyncio.sleep(DOWN_SECONDS)
    await shop.billing.start()
    console.print(f"billing runs again, as process {shop.billing.pid}. Waiting until everything is done ...")


async def settle(shop: Shop, data_dir: Path, orders: int, deadline: float) -> tuple[Effects, bool]:
    """Return the effects, and whether all is done, when it is or when the deadline has passed."""
    while True:
        effects = await shop.effects()
        # What is still on the bus might become a duplicate; so it has to be empty as well.
        is_settled = effects.fewest >= orders and shop.deliveries_on_the_bus(data_dir) == 0
        if is_settled or time.monotonic() > deadline:
            return await shop.effects(), is_settled
        await asyncio.sleep(0.05)


def show(outcome: Outcome) -> None:
    """Print the table."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("orders placed", str(outcome.placed))
    table.add_row("invoiced", str(outcome.effects.orders("invoices")))
    table.add_row("shipped", str(outcome.effects.orders("parcels")))
    table.add_row("lost", str(outcome.lost))
    table.add_row("duplicated", str(outcome.effects.duplicated))
    table.add_row("recovered after", "never" if outcome.seconds is None else f"{outcome.seconds:.1f} s")
    console.print()
    console.print(table)


async def keep_running(shop: Shop, data_dir: Path) -> None:
    """Say how to try the shop by hand, and wait for Ctrl-C."""
    gemstone = Path(sys.executable).parent / "gemstone"
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "orders.place", "params": ["mine-1", 5]})
    packer = shlex.join(
        [sys.executable, str(Path(__file__).parent / "shipping.py"), "--port", "0", "--data-dir", str(data_dir)]
    )
    console.print("\n[bold]The shop runs until Ctrl-C.[/bold] In another terminal, see the events, place an order,")
    console.print("ask for it, and start a second packer:\n")
    console.print(f"  {gemstone} tail --transport sqlite:///{data_dir}/bus.db", markup=False)
    console.print(f"  curl {shop.orders.url} -H 'Content-Type: application/json' -d '{body}'", markup=False)
    console.print(f"  {gemstone} call {shop.orders.url} orders.status order=mine-1", markup=False)
    console.print(f"  {packer}", markup=False)
    await asyncio.Event().wait()


async def run(orders: int, keep: bool) -> int:
    """Run the demonstration in a folder of its own, and return the exit status."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="gemstone-demo-")))
        data_dir = folder / ".gemstone"
        shop = await stack.enter_async_context(Shop(folder, ["--data-dir", str(data_dir)]))
        console.print("[bold]Three services, three processes, one embedded bus[/bold]")
        for service in shop.services:
            console.print(f"  {service.name:<9} process {service.pid:<8} {service.url}")
        try:
            outcome = await demonstrate(shop, data_dir, orders)
        except Exception:
            console.print(f"\n{shop.last_words()}", markup=False)
            raise
        show(outcome)
        if keep:
            with contextlib.suppress(asyncio.CancelledError):  # which Ctrl-C brings, as it should
                await keep_running(shop, data_dir)
        else:
            console.print("\nTo keep it running and try it by hand: [bold]make demo ARGS=--keep[/bold]")
        return 0 if outcome.is_right else 1


async def run_until_signal(orders: int, keep: bool) -> int:
    """Run, and clean up on SIGINT, SIGTERM and SIGHUP as well."""
    running = asyncio.create_task(run(orders, keep))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    status = 1
    try:
        status = await running
    except* asyncio.CancelledError:
        status = 130
    except* (RuntimeError, CallFailedError) as group:
        console.print(f"\nThe demonstration failed: {_first(group)}", markup=False)
    return status


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Show that a service killed in the middle of its work loses nothing.")
    parser.add_argument("--orders", type=int, default=300, help="how many orders are placed (300)")
    parser.add_argument("--keep", action="store_true", help="leave the shop running, to try it by hand")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(run_until_signal(arguments.orders, arguments.keep)))
