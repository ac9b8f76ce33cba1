"""``gemstone transports``: what is installed for events, stores and calls, and what it can truly keep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields

import rich_click as click
from rich.text import Text

from gemstone_events.adapters import STORES, TRANSPORTS, make_store, make_transport
from gemstone_events.cli.command import Command
from gemstone_events.cli.output import Cell, print_json, print_table
from gemstone_events.errors import GemstoneError
from gemstone_events.logs import printable
from gemstone_events.rpc.wire import CLIENTS, SERVERS
from gemstone_events.schemes import load, schemes
from gemstone_events.transport import Features, TransportSettings

# What stands after the scheme differs from adapter to adapter; nothing is opened, so any that one takes will do.
_SHAPES = ("{}://localhost", "{}:///example.db", "{}://example", "{}:")


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def transports(as_json: bool) -> None:
    """Show what each installed transport can keep.

    The first word of a line is what its URLs begin with. Stores follow, and what calls go by. Nothing is connected.

    \b
    Example:
      gemstone transports
    """
    found = {scheme: _describe(_features, scheme) for scheme in schemes(TRANSPORTS)}
    stores = {scheme: _describe(_durability, scheme) for scheme in schemes(STORES)}
    calls = {scheme: _wire(scheme) for scheme in sorted({*schemes(CLIENTS), *schemes(SERVERS)})}
    if as_json:
        print_json({"transports": found, "stores": stores, "calls": calls})
        return
    names = [field.name for field in fields(Features)]
    _print("TRANSPORT", names, found)
    click.echo()
    _print("STORE", ["durable"], stores)
    click.echo()
    _print("CALLS", ["callable", "in_rpc_transports"], calls)


def _describe(probe: Callable[[str], Mapping[str, bool]], scheme: str) -> Mapping[str, bool | str]:
    trouble = ""
    for shape in _SHAPES:
        try:
            return probe(shape.format(scheme))
        except GemstoneError as error:
            trouble = trouble or str(error)  # the adapter does not like the URL; the next may be fine
        except Exception as error:  # noqa: BLE001 - somebody else's adapter, and whatever is wrong with it
            return {"error": f"{type(error).__name__}: {error}"}
    return {"error": trouble}


def _features(url: str) -> Mapping[str, bool]:
    return asdict(make_transport(url, TransportSettings()).features)


def _durability(url: str) -> Mapping[str, bool]:
    return {"durable": make_store(url).durable}


def _wire(scheme: str) -> Mapping[str, bool | str]:
    """Return what URLs of a scheme are good for: to call services at, and for services to be called through."""
    sides = {"callable": CLIENTS, "in_rpc_transports": SERVERS}
    installed = {side: group for side, group in sides.items() if scheme in schemes(group)}
    try:
        for group in installed.values():
            load(group, "way to call services", f"{scheme}:")
    except GemstoneError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - somebody else's wire, and whatever is wrong with it
        return {"error": f"{type(error).__name__}: {error}"}
    return {side: side in installed for side in sides}


def _print(title: str, features: Sequence[str], found: Mapping[str, Mapping[str, bool | str]]) -> None:
    titles = (title, *(name.replace("_", " ").upper() for name in features), "")
    rows: list[Sequence[Cell]] = [
        (f"{scheme}:", *(_mark(described.get(name)) for name in features), Text(_trouble(described), "red"))
        for scheme, described in found.items()
    ]
    print_table(titles, rows)


def _mark(value: bool | str | None) -> Text:
    return Text("-") if value is None else Text("yes", "green") if value else Text("no", "yellow")


def _trouble(described: Mapping[str, bool | str]) -> str:
    return f"cannot be used: {printable(str(described['error']))}" if "error" in described else ""
