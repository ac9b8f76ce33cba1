"""``gemstone doctor``: what is wrong, and what to do about it."""

import asyncio
from collections.abc import Iterable, Sequence

import rich_click as click
from rich.text import Text

from gemstone_events.adapters import make_transport
from gemstone_events.cli.check_service import examine_service
from gemstone_events.cli.check_software import check_software
from gemstone_events.cli.check_store import check_store
from gemstone_events.cli.check_transport import check_transport
from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.connections import settings_of, store_files
from gemstone_events.cli.findings import Finding, Level, problem
from gemstone_events.cli.output import Cell, print_json, print_table
from gemstone_events.errors import GemstoneError
from gemstone_events.logs import printable
from gemstone_events.schemes import mask
from gemstone_events.service import MicroService
from gemstone_events.settings import Settings
from gemstone_events.store.port import EventStore
from gemstone_events.transport import TransportSettings

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


@click.command(cls=Command)
@click.argument("target", required=False, metavar="[MODULE:SERVICE]")
@click.option("--transport", metavar="URL", help="Examine this transport instead of the configured ones.")
@click.option("--store", metavar="URL", help="Examine this store instead of the configured one, or all in .gemstone/.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(target: str | None, transport: str | None, store: str | None, as_json: bool) -> int:
    """Find out what is wrong, and what to do.

    It examines a service, its transports and its store. Without a service, what the configuration names is examined. Nothing is changed. The exit status is 1 where there
    is a problem; warnings leave it 0.

    \b
    Examples:
      gemstone doctor
      gemstone doctor shop.billing:Billing
      gemstone doctor --transport amqps://broker.example/shop
    """
    findings = [*check_software(), *_examine(target, transport, store)]
    is_well = all(finding.level is not Level.PROBLEM for finding in findings)
    if as_json:
        print_json({"ok": is_well, "findings": [_members(finding) for finding in findings]})
    else:
        print_table(("", "WHAT", "FOUND"), [_row(finding) for finding in findings])
    return 0 if is_well else 1


def _examine(target: str | None, transport: str | None, store: str | None) -> Iterable[Finding]:
    service: MicroService | None = None
    if target is not None:
        service, found = examine_service(target)
        yield from found
        if service is None and transport is None and store is None:
            return
    try:
        settings: Settings = service or settings_of()
    except GemstoneError as error:
        yield problem("configuration", str(error), "mend the configuration file or the environment")
        return
    yield from asyncio.run(_connect(settings, service, transport, store))


async def _connect(
    settings: Settings, service: MicroService | None, transport: str | None, store: str | None
) -> list[Finding]:
    transports = settings.transport_urls if transport is None else [transport]
    found = [finding for url in transports for finding in await check_transport(url, settings.namespace)]
    if service is None:
        try:
            stores = _stores_of(settings) if store is None else [store]
        except Failure as error:
            return [*found, problem("stores", str(error))]
        return found + [finding for url in stores for finding in await check_store(url)]
    consumers = [plan.consumer(handler) for plan in service.check_declarations() for handler in plan.handlers]
    addresses = _addresses(service) if transport is None else None
    return found + await check_store(store or settings.store_url, consumers, addresses)


def _stores_of(settings: Settings) -> Sequence[str | EventStore]:
    if settings.event_store is not None:
        return [settings.event_store]
    return [f"sqlite:///{path}" for path in store_files(settings)]


def _addresses(service: MicroService) -> list[str] | None:
    """Return the addresses of a service's transports, or None where one of them cannot even be made."""
    try:
        made = [make_transport(t, TransportSettings()) if isinstance(t, str) else t for t in service.transport_urls]
    except GemstoneError:
        return None
    return [transport.address for transport in made]


def _row(finding: Finding) -> Sequence[Cell]:
    said = Text(printable(mask(finding.detail)))
    if finding.remedy:
        said.append(f" -> {finding.remedy}", "bold")
    return Text(finding.level.value, _STYLES[finding.level]), printable(finding.subject), said


def _members(finding: Finding) -> dict[str, str]:
    return {
        "level": finding.level.value.lower(),
        "subject": finding.subject,
        "detail": mask(finding.detail),
        "remedy": finding.remedy,
    }
