"""``gemstone tail``: what goes by on a transport, or what stands in a store's log."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Sequence
from datetime import datetime

import rich_click as click
from rich.text import Text

from gemstone_events.cli.arguments import Seconds
from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.connections import (
    choose_store,
    choose_transport,
    opened_store,
    opened_transport,
    point_out_new_bus,
    transport_options,
)
from gemstone_events.cli.messages import body_line, structured
from gemstone_events.cli.output import console, print_json
from gemstone_events.event import new_id
from gemstone_events.logs import printable
from gemstone_events.message import Message
from gemstone_events.names import check_pattern, matches
from gemstone_events.store.port import EventStore
from gemstone_events.transport import Delivery, Subscription, Transport

_BATCH = 500
_POLL_SECONDS = 2.0
_PREFETCH = 200


@click.command(cls=Command)
@click.argument("patterns", nargs=-1, metavar="[PATTERN ...]")
@transport_options
@click.option("--store", metavar="URL", help="Read a store's log instead: what its service emitted.")
@click.option("--from-start", is_flag=True, help="With --store: begin with its first event.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after so many events.")
@click.option("--timeout", type=Seconds(0, min_open=True), metavar="SECONDS", help="End after so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one event per line, in the JSON format of CloudEvents.")
def tail(
    patterns: Sequence[str],
    transport: str | None,
    namespace: str | None,
    store: str | None,
    from_start: bool,
    limit: int | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Show events as they come.

    On a transport it watches what is broadcast and takes nothing away from anybody; work queues are therefore not
    shown. With --store it reads the log of one service forward, work included. A PATTERN is an event's name, '*'
    stands for one word and '#' for any number of words.

    \b
    Examples:
      gemstone tail
      gemstone tail 'order.*' --transport amqp://localhost
      gemstone tail --store sqlite:///.gemstone/billing.db --from-start
    """
    wanted = tuple(dict.fromkeys(check_pattern(pattern) for pattern in patterns)) or ("#",)
    screen = _Screen(as_json, limit)
    if store is not None and (transport is not None or namespace is not None):
        raise click.UsageError("give --transport or --store, not both")
    if from_start and store is None:
        raise click.UsageError("--from-start needs --store: a transport keeps nothing of the past")
    if store is not None:
        asyncio.run(_until_told(_watch_store(choose_store(store, None), wanted, from_start, screen), screen, timeout))
    else:
        asyncio.run(
            _until_told(_watch_transport(choose_transport(transport, namespace), wanted, screen), screen, timeout)
        )


class _Screen:
    """Prints messages, until there were as many as were asked for."""

    def __init__(self, as_json: bool, limit: int | None) -> None:
        self.limit = limit
        self.shown = 0
        self._as_json = as_json
        self._console = console()

    def show(self, message: Message, position: int | None = None) -> bool:
        """Print one message; return True when it was the last."""
        if self._as_json:
            print_json(structured(message) if position is None else {**structured(message), "position": position})
        else:
            self._console.print(_line(message))
        self.shown += 1
        return self.shown == self.limit


async def _until_told(watching: Awaitable[None], screen: _Screen, timeout: float | None) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline:
            await watching
    except asyncio.CancelledError:
        return
    except TimeoutError:
        if not deadline.expired():
            raise
        if screen.limit is not None:
            raise Failure(f"{screen.shown} of {screen.limit} events came within {timeout:g} seconds") from None


async def _watch_store(store: EventStore, wanted: Sequence[str], from_start: bool, screen: _Screen) -> None:
    async with opened_store(store):
        position = 0 if from_start else await store.last_position()
        _announce(store.address, wanted)
        while True:
            recorded = await store.read_emitted(position, _BATCH)
            for position, message in recorded:
                if any(matches(pattern, message.type) for pattern in wanted) and screen.show(message, position):
                    return
            if not recorded:
                await store.wait_emitted(position, _POLL_SECONDS)


async def _watch_transport(transport: Transport, wanted: Sequence[str], screen: _Screen) -> None:
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()

    def receive(subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            # What several patterns match comes as often; it is shown for the first of them.
            first = next((p for p in wanted if matches(p, delivery.message.type)), subscription.pattern)
            if first == subscription.pattern:
                arrived.put_nowait(delivery)
            else:
                delivery.ack()

    instance = f"gemstone-tail.{new_id()}"
    subscriptions = [Subscription(instance, pattern, per_instance=True, prefetch=_PREFETCH) for pattern in wanted]
    point_out_new_bus(transport)
    async with opened_transport(transport):
        await transport.subscribe(subscriptions, receive)
        _announce(transport.address, wanted)
        reporting = asyncio.create_task(_report_trouble(transport))
        try:
            while True:
                delivery = await arrived.get()
                is_last = screen.show(delivery.message)
                delivery.ack()
                if is_last:
                    return
        finally:
            reporting.cancel()


async def _report_trouble(transport: Transport) -> None:
    was_ready = True
    while True:
        status = transport.status()
        if status.ready is not was_ready:
            print("connected again" if status.ready else f"not connected: {status.detail}", file=sys.stderr, flush=True)
            was_ready = status.ready
        transport.changed.clear()
        await transport.changed.wait()


def _announce(address: str, wanted: Sequence[str]) -> None:
    print(f"watching {' '.join(wanted)} on {address}; Ctrl-C ends it", file=sys.stderr, flush=True)


def _line(message: Message) -> Text:
    attributes = message.attributes
    try:
        time = datetime.fromisoformat(attributes.get("time", "")).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError):
        time = "--:--:--.---"
    kind = "" if message.broadcast else " (work)"
    return Text.assemble(
        (time, "dim"),
        "  ",
        (printable(message.type) or "(no name)", "bold cyan"),
        (kind, "yellow"),
        "  ",
        (printable(attributes.get("source", "")), "green"),
        "  ",
        body_line(message),
    )
