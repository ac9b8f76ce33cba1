"""``gemstone services``: who is there, where, and how he is."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

import rich_click as click
from rich.text import Text

from gemstone_events import strict_json
from gemstone_events.cli.arguments import Seconds
from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.directory import Directory, choose_directory, directory_options
from gemstone_events.cli.output import Cell, console, print_json, print_table
from gemstone_events.errors import GemstoneError
from gemstone_events.logs import printable
from gemstone_events.rpc.presence import Presence
from gemstone_events.strict_json import JsonValue

_TITLES = ("SERVICE", "HEALTH", "SINCE", "ADDRESSES", "INSTANCE")
_OK = "ok"


@click.command(cls=Command)
@click.argument("pattern", default="*")
@directory_options
@click.option("--watch", is_flag=True, help="Go on, and show who comes, goes or changes, until Ctrl-C.")
@click.option(
    "--interval",
    type=Seconds(0.1),
    metavar="SECONDS",
    default=2.0,
    show_default=True,
    help="With --watch: how often to look.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch one object per line.")
def services(
    pattern: str,
    broker: str | None,
    registry: str | None,
    token_file: str | None,
    allow: Sequence[str],
    namespace: str | None,
    watch: bool,
    interval: float,
    as_json: bool,
) -> int:
    """Show who is there.

    On a broker or bus all services that serve calls there are asked; a registry is asked what it knows. PATTERN is a
    service's name or a glob pattern; without one, all are shown. Where nobody is found, the exit status is 1.

    \b
    Examples:
      gemstone services
      gemstone services 'orders.*' --broker amqp://localhost
      gemstone services --registry http://127.0.0.1:8700 --watch
    """
    directory = choose_directory(broker, registry, token_file, allow, namespace, os.environ)
    if watch:
        asyncio.run(_watch(directory, pattern, interval, as_json))
        return 0
    found = asyncio.run(_look(directory, pattern))
    if as_json:
        print_json([_structured(presence) for presence in found])
    elif found:
        print_table(_TITLES, [_row(presence) for presence in found])
    if not found:
        what = "nobody is" if pattern == "*" else f"no service {pattern!r} is"
        raise Failure(f"{what} found on {directory.address}: {directory.advice}")
    return 0


async def _look(directory: Directory, pattern: str) -> Sequence[Presence]:
    async with directory:
        return await directory.present(pattern)


async def _watch(directory: Directory, pattern: str, interval: float, as_json: bool) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    screen = _Screen(as_json)
    async with directory:
        print(f"watching {pattern} on {directory.address}; Ctrl-C ends it", file=sys.stderr, flush=True)
        try:
            while True:
                try:
                    screen.show(await directory.present(pattern))
                except GemstoneError as error:
                    screen.complain(str(error))
                await asyncio.sleep(interval)
        except asyncio.CancelledError:
            return


class _Screen:
    """Prints what has changed since it was last asked to."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = console()
        self._known: Mapping[tuple[str, ...], Presence] = {}
        self._complaint = ""

    def show(self, presences: Sequence[Presence]) -> None:
        """Print who came, went or changed."""
        if self._complaint:
            print("connected again", file=sys.stderr, flush=True)
            self._complaint = ""
        found = {_identity(presence): presence for presence in presences}
        for identity, presence in found.items():
            known = self._known.get(identity)
            if known is None:
                self._print("came", presence)
            elif known != presence:
                self._print("changed", presence)
        for identity, presence in self._known.items():
            if identity not in found:
                self._print("gone", presence)
        self._known = found

    def complain(self, trouble: str) -> None:
        """Print why nobody could be asked, once."""
        if trouble != self._complaint:
            print(printable(trouble), file=sys.stderr, flush=True)
        self._complaint = trouble

    def _print(self, change: str, presence: Presence) -> None:
        if self._as_json:
            print_json({"change": change, **_structured(presence)})
            return
        colour = {"came": "green", "gone": "red"}.get(change, "yellow")
        self._console.print(
            Text.assemble(
                (datetime.now().strftime("%H:%M:%S"), "dim"),
                "  ",
                (f"{change:<7}", colour),
                "  ",
                (printable(presence.service), "bold cyan"),
                "  ",
                _health(presence),
                "  ",
                printable(" ".join(presence.urls)),
                "  ",
                (printable(presence.instance), "dim"),
            )
        )


def _identity(presence: Presence) -> tuple[str, ...]:
    return (presence.service, presence.instance, *(() if presence.instance else presence.urls))


def _structured(presence: Presence) -> dict[str, JsonValue]:
    members = strict_json.loads(presence.encode())
    assert isinstance(members, dict)
    return members


def _row(presence: Presence) -> Sequence[Cell]:
    return (
        presence.service,
        _health(presence),
        _since(presence.since),
        Text("\n".join(printable(url) for url in presence.urls)),
        presence.instance or "-",
    )


def _health(presence: Presence) -> Text:
    said = list(presence.trouble)
    if presence.announced > 0:  # a registry knows it, and not the instance itself
        said.append(f"announced {max(0.0, time.time() - presence.announced):.0f} s ago")
    detail = f" ({'; '.join(said)})" if said else ""
    return Text(printable(f"{presence.health}{detail}"), "green" if presence.health == _OK else "yellow")


def _since(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S") if seconds > 0 else "-"
    except (OverflowError, ValueError, OSError):
        return "-"
