"""``gemstone compat``: what a new version of a service breaks for others."""

import shlex
import sys
from collections.abc import Sequence
from typing import Unpack

import rich_click as click
from rich.text import Text

from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.descriptions import Description, Kind, Source, SourceOptions, kind_of_file, source_options
from gemstone_events.cli.loading import OtherModuleError
from gemstone_events.cli.output import console, print_json
from gemstone_events.logs import printable
from gemstone_events.rpc.description.asyncapi_changes import asyncapi_changes
from gemstone_events.rpc.description.changes import Change
from gemstone_events.rpc.description.openrpc_changes import openrpc_changes
from gemstone_events.rpc.description.references import DescriptionError


@click.command(cls=Command)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--asyncapi", is_flag=True, help="Compare the events; files say themselves what they describe.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@source_options
def compat(
    old: str,
    new: str,
    asyncapi: bool,
    as_json: bool,
    **options: Unpack[SourceOptions],
) -> int:
    """Tell what breaks for callers, or for those at the other end of events, between two versions of a service.

    OLD and NEW are each a file (.json), MODULE:SERVICE, or the URL or name of a service that runs. The exit status is 1 if
    anything breaks; what is only risky is told too. Compare what was published with what is about to be.

    \b
    Examples:
      gemstone compat openrpc.json shop.py
      gemstone compat http://127.0.0.1:8001/api shop.billing:Billing
      gemstone compat old/asyncapi.json new/asyncapi.json --json
    """
    sources = [Source.of(target, **options) for target in (old, new)]
    kind = _kind(sources, asyncapi)
    before, after = _load(sources, kind)
    try:
        changes = (
            openrpc_changes(before.document, after.document, new_is_for_strangers=after.is_for_strangers)
            if kind == "openrpc"
            else asyncapi_changes(before.document, after.document)
        )
    except DescriptionError as error:
        raise Failure(f"{old} and {new} cannot be compared: {error}") from error
    breaking = [change for change in changes if change.is_breaking]
    if as_json:
        found = [{"path": change.path, "message": change.message, "breaking": change.is_breaking} for change in changes]
        print_json({"compatible": not breaking, "changes": found})
    else:
        _print(changes)
    return 1 if breaking else 0


def _kind(sources: Sequence[Source], asyncapi: bool) -> Kind:
    kinds = {kind for source in sources if (kind := kind_of_file(source)) is not None}
    if len(kinds) > 1:
        raise click.UsageError("one describes methods and the other events: give two of a kind")
    if asyncapi and "openrpc" in kinds:
        raise click.UsageError("the file describes methods: leave out --asyncapi, or give an AsyncAPI document")
    return "asyncapi" if asyncapi or "asyncapi" in kinds else "openrpc"


def _load(sources: Sequence[Source], kind: Kind) -> list[Description]:
    imported = set(sys.modules)
    try:
        return [source.load(kind) for source in sources]
    except OtherModuleError as error:
        if error.module in imported:  # not by this command: the file's name is taken by something else
            raise
        old, new = (source.target for source in sources)
        raise Failure(
            f"{old} and {new} are both the module {error.module!r}, of which one command can import one only: describe the "
            f"older one into a file first, with {shlex.join(['gemstone', 'describe', old, '--output', 'old.json'])}"
        ) from error


def _print(changes: Sequence[Change]) -> None:
    screen = console()
    for change in sorted(changes, key=lambda change: not change.is_breaking):
        label = Text("breaking", "red") if change.is_breaking else Text("risky", "yellow")
        screen.print(label, Text(f"{printable(change.path)}: {printable(change.message)}"))
    breaking = sum(change.is_breaking for change in changes)
    print(
        f"{_counted(breaking)} breaking, {len(changes) - breaking} risky" if changes else "nothing that matters changed"
    )


def _counted(number: int) -> str:
    return "1 change is" if number == 1 else f"{number} changes are"
