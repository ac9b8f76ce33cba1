"""Which transport and which store a command works on, and opening them."""

import asyncio
import contextlib
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

import rich_click as click

from gemstone_events.adapters import make_store, make_transport
from gemstone_events.cli.command import Failure
from gemstone_events.configuration import EnvironmentConfigurator, TomlConfigurator
from gemstone_events.errors import GemstoneError, TransportUnavailableError
from gemstone_events.names import check_name
from gemstone_events.schemes import mask
from gemstone_events.settings import Settings
from gemstone_events.store.port import EventStore
from gemstone_events.transport import Transport, TransportSettings

CLIENT = "gemstone-cli"
CONNECT_SECONDS = 3.0

_SQLITE = "sqlite:///"
_Function = TypeVar("_Function", bound=Callable[..., object])


def transport_options(function: _Function) -> _Function:
    """Add ``--transport`` and ``--namespace`` to a command."""
    transport = click.option(
        "--transport",
        metavar="URL",
        help="The transport; by default the one configured, or sqlite:///.gemstone/bus.db.",
    )
    namespace = click.option("--namespace", metavar="NAME", help="Prefix of every name on the broker (gemstone).")
    return transport(namespace(function))


def store_options(function: _Function) -> _Function:
    """Add ``--store`` and ``--service`` to a command."""
    store = click.option(
        "--store", metavar="URL", help="The store; by default the one configured, or what is in .gemstone/."
    )
    service = click.option("--service", metavar="NAME", help="Take the store of this service.")
    return store(service(function))


def settings_of(service: str | None = None) -> Settings:
    """Return the settings that configuration file and environment give a service, or any service.

    Raises:
        ServiceConfigurationError: a value cannot be used.
    """
    settings = Settings(name=service or CLIENT, configurators=[TomlConfigurator(), EnvironmentConfigurator()])
    settings.configure()
    return settings


def choose_transport(url: str | None, namespace: str | None, confirm_timeout: float = 10.0) -> Transport:
    """Return the transport that was asked for, or else the one that is configured, unopened.

    Args:
        url: what was asked for.
        namespace: the prefix that was asked for; by default the configured one.
        confirm_timeout: seconds to wait for the answer to a publish.

    Raises:
        click.UsageError: several are configured.
        ServiceConfigurationError: the URL cannot be used.
    """
    settings = settings_of()
    if url is None:
        configured = [str(found) for found in settings.transport_urls]
        if len(configured) != 1:
            raise click.UsageError(
                f"{len(configured)} transports are configured: choose one with --transport URL "
                + "".join(f"\n  {mask(found)}" for found in configured)
            )
        url = configured[0]
    transport = make_transport(
        url,
        TransportSettings(
            namespace=check_name("namespace", namespace or settings.namespace),
            client=CLIENT,
            confirm_timeout=confirm_timeout,
        ),
    )
    if not transport.features.across_processes:
        raise click.UsageError(f"{mask(url)} lives inside one process: nobody outside can emit or see its events")
    return transport


def choose_store(url: str | None, service: str | None) -> EventStore:
    """Return the store that was asked for, or else the only one that there is, unopened.

    Raises:
        click.UsageError: it is not clear which.
        Failure: there is none, or this user may not look.
        ServiceConfigurationError: the URL cannot be used.
    """
    found = choose_stores(url, service)
    if len(found) > 1:
        raise click.UsageError(f"there are {len(found)} stores: choose one with --service NAME ({', '.join(found)})")
    return next(iter(found.values()))


def choose_stores(url: str | None, service: str | None) -> Mapping[str, EventStore]:
    """Return the store that was asked for, or else all that there are, unopened.

    Returns:
        Stores by the name of their service, which is empty where it is not known.

    Raises:
        click.UsageError: both a URL and a service are given.
        Failure: there is none, or this user may not look.
        ServiceConfigurationError: the URL cannot be used.
    """
    if url is not None and service is not None:
        raise click.UsageError("give --store or --service, not both")
    settings = settings_of(service)
    if url is None and (service is not None or settings.event_store is not None):
        url = str(settings.store_url)
    if url is None:
        files = store_files(settings)
        if not files:
            raise Failure(
                f"there is no store in {settings.data_dir}/: go to the folder where the service runs, or give --store URL"
            )
        return {file.stem: make_store(f"{_SQLITE}{file}") for file in files}
    store = make_store(url)
    path = sqlite_file(url)
    if path is not None and not file_exists(path):
        raise Failure(
            f"there is no store {path}: services make theirs when they first start. Give --store or --service"
        )
    return {service or "": store}


def store_option(url: str) -> str:
    """Return the option that has a command work on this store: ``--service NAME`` where that leads to it."""
    file = sqlite_file(url)
    with contextlib.suppress(GemstoneError):  # a file of another name, which is no service's
        if file is not None and settings_of(file.stem).store_url == url:
            return f"--service {file.stem}"
    return shlex.join(["--store", mask(url)])


def sqlite_file(url: str) -> Path | None:
    """Return the file of a ``sqlite:`` URL, or None for another."""
    return Path(unquote(url.removeprefix(_SQLITE).partition("?")[0])) if url.startswith(_SQLITE) else None


def file_exists(path: Path) -> bool:
    """Tell whether there is a file.

    Raises:
        Failure: this user may not look.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _no_access(path.parent, error) from error
    return True


def point_out_new_bus(transport: Transport) -> None:
    """Say so where an embedded bus does not exist yet: in the wrong folder, nobody would ever hear of it.

    Raises:
        Failure: this user may not look.
    """
    file = sqlite_file(transport.address)
    if file is not None and not file_exists(file):
        print(f"note: no service has used the bus {file.absolute()} yet; it is made now", file=sys.stderr)


@asynccontextmanager
async def opened_transport(transport: Transport, seconds: float = CONNECT_SECONDS) -> AsyncIterator[Transport]:
    """Open a transport, wait until it can publish, and close it at the end.

    Raises:
        TransportRefusedError: the broker refuses.
        TransportUnavailableError: it could not be reached within ``seconds``.
    """
    try:
        await transport.open()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not transport.status().publishing:
                    transport.changed.clear()
                    await transport.changed.wait()
        if not transport.status().publishing:
            detail = transport.status().detail or f"no answer within {seconds:g} seconds"
            raise TransportUnavailableError(f"{transport.address} cannot be used now: {detail}")
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def opened_store(store: EventStore) -> AsyncIterator[EventStore]:
    """Open a store, and close it at the end.

    Raises:
        StoreError: it cannot be used.
    """
    try:
        await store.open()
        yield store
    finally:
        await store.close()


def store_files(settings: Settings) -> list[Path]:
    """Return the files of the stores in the folder of the embedded bus and store.

    Raises:
        Failure: this user may not look.
    """
    folder = Path(settings.data_dir)
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".db" and path.name != "bus.db")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _no_access(folder, error) from error


def _no_access(folder: Path, error: OSError) -> Failure:
    return Failure(
        f"{folder}/ cannot be looked into ({error.strerror}): "
        "run this as the user of the service, or give this user access to the folder"
    )
