"""Where a command looks services up: a broker or bus, or a registry."""

import re
from collections.abc import Callable, Mapping, Sequence
from pkgutil import resolve_name
from types import TracebackType
from typing import Self, TypeVar, cast

import rich_click as click

from gemstone_events.cli.command import Failure
from gemstone_events.cli.connections import CLIENT, file_exists, settings_of, sqlite_file
from gemstone_events.cli.credentials import read_secret
from gemstone_events.errors import GemstoneError
from gemstone_events.names import check_name
from gemstone_events.rpc.discovery.discovery import Discovery
from gemstone_events.rpc.discovery.http_strategy import HttpDiscoveryStrategy, registry_key
from gemstone_events.rpc.discovery.locator import check_service_pattern
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.presence import Presence, is_pattern
from gemstone_events.rpc.wire import ClientSettings, servable, service_url
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import mask, scheme_of

BROKER_VARIABLE = "GEMSTONE_BROKER"
REGISTRY_VARIABLE = "GEMSTONE_REGISTRY"
TOKEN_VARIABLE = "GEMSTONE_SERVICE_REGISTRY_TOKEN"

_REDIS = ("redis", "rediss", "unix")
_ADDRESS = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?(/[\w./-]*)?", re.ASCII)
_Function = TypeVar("_Function", bound=Callable[..., object])


def directory_options(function: _Function) -> _Function:
    """Add the options that say where services are looked up; they make the arguments of ``choose_directory``."""
    options = (
        click.option(
            "--broker",
            metavar="URL",
            help=f"The broker or bus on which services are found; also ${BROKER_VARIABLE}. By default the one configured, "
            "or sqlite:///.gemstone/bus.db.",
        ),
        click.option(
            "--registry",
            metavar="URL",
            help=f"Look them up in this registry, or Redis, instead; also ${REGISTRY_VARIABLE}.",
        ),
        click.option(
            "--token-file", metavar="FILE", help=f"The registry's token is in this file; also ${TOKEN_VARIABLE}."
        ),
        click.option(
            "--allow",
            multiple=True,
            metavar="PATTERN",
            help="An address that the registry may name, besides this machine's, as http://10.1.0.0/16:*; may be repeated.",
        ),
        click.option("--namespace", metavar="NAME", help="Prefix of every name on the broker (gemstone)."),
    )
    for option in reversed(options):
        function = option(function)
    return function


class NameNotFoundError(Failure):
    """No service of that name was found or reached, and none was called."""


class Directory:
    """Finds services by name, over connections that the calls of a command use as well.

    Args:
        wires: the connections.
        discovery: whom to ask.
        address: what is asked, for people.
        broker: the broker's URL; None where a registry is asked.
    """

    def __init__(self, wires: WirePool, discovery: Discovery, address: str, broker: str | None = None) -> None:
        self.wires = wires
        self.address = address
        self._discovery = discovery
        self._broker = broker

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._discovery.close()
        await self.wires.close()

    async def locate(self, name: str) -> Sequence[str]:
        """Return the URLs of a service, at least one; of a glob pattern those of any that matches.

        Raises:
            ServiceNotLocatedError: there is none; ``missing`` says which there are.
        """
        check_service_pattern(name)
        if self._broker is not None and not is_pattern(name):
            return [service_url(self._broker, check_name("service name", name))]
        return await self._discovery.locate(name)

    async def present(self, pattern: str) -> Sequence[Presence]:
        """Return who is there.

        Raises:
            ServiceNotLocatedError: nobody could be asked.
        """
        return await self._discovery.instances(pattern)

    async def missing(self, name: str, error: GemstoneError) -> NameNotFoundError:
        """Return what to say of a service that is not there: who is there instead."""
        try:
            names = sorted({presence.service for presence in await self.present("*")})
        except GemstoneError:  # nobody could be asked: what failed is the reason
            return NameNotFoundError(str(error))
        if name in names:
            return NameNotFoundError(str(error))
        if names:
            return NameNotFoundError(f"there is no service {name!r} on {self.address}: there are {', '.join(names)}")
        return NameNotFoundError(f"{error}; {self.advice}")

    @property
    def advice(self) -> str:
        """What to check where nobody is found."""
        if self._broker is None and scheme_of(self.address) in _REDIS:
            return (
                f"does the service run, is RedisDiscoveryStrategy({self.address!r}) among its discovery_strategies, is its "
                f"namespace {self.wires.settings.namespace!r}, and does it have an address that others may call "
                "(accessible_at)?"
            )
        if self._broker is None:
            return (
                "does the service run, is the registry among its service_registry_urls, and does it have an address that "
                "others may call (accessible_at)?"
            )
        return (
            f"does the service run, is {self.address} among its event_transports or rpc_transports, and is its namespace "
            f"{self.wires.settings.namespace!r}?"
        )


def choose_directory(
    broker: str | None,
    registry: str | None,
    token_file: str | None,
    allow: Sequence[str],
    namespace: str | None,
    environment: Mapping[str, str],
) -> Directory:
    """Return where services are looked up; nothing is connected yet.

    Args:
        broker, registry, token_file, allow, namespace: the options.
        environment: that of the process.

    Raises:
        click.UsageError: both are given, or several brokers are configured.
        Failure: the embedded bus does not exist, or the token cannot be read.
        ServiceConfigurationError: a URL or a pattern cannot be used.
    """
    if broker is not None and registry is not None:
        raise click.UsageError("give --broker or --registry, not both")
    if broker is None and registry is None:
        broker, registry = environment.get(BROKER_VARIABLE) or None, environment.get(REGISTRY_VARIABLE) or None
        if broker is not None and registry is not None:
            raise click.UsageError(f"the environment sets both {BROKER_VARIABLE} and {REGISTRY_VARIABLE}")
    settings = settings_of()
    wires = WirePool(ClientSettings(namespace=check_name("namespace", namespace or settings.namespace), client=CLIENT))
    if registry is None:
        broker = broker or _configured(settings.rpc_transports, settings.transport_urls)
        _check_reachable(broker)
        return Directory(wires, Discovery([], brokers=[broker], wires=wires), _address(broker, wires), broker)
    strategy = _strategy(registry, read_token(token_file, environment) or settings.service_registry_token, wires)
    discovery = Discovery([strategy], wires=wires, allow=[*settings.discovery_allow, *allow])
    return Directory(wires, discovery, str(strategy))


def _strategy(registry: str, token: str | None, wires: WirePool) -> BaseDiscoveryStrategy:
    if scheme_of(registry) not in _REDIS:
        return HttpDiscoveryStrategy(registry, credentials=registry_key(token) if token else None, wires=wires)
    # Loaded only here: most commands do without Redis, whose client takes a while to import.
    make = cast(
        Callable[..., BaseDiscoveryStrategy],
        resolve_name("gemstone_events.rpc.discovery.redis_strategy:RedisDiscoveryStrategy"),
    )
    return make(registry, namespace=wires.settings.namespace)


def refuse_address(text: str, *, is_name_allowed: bool = True) -> None:
    """Refuse what looks like a URL without its beginning.

    Args:
        text: what stands where a name or a URL is expected.
        is_name_allowed: a service's name will do, too.

    Raises:
        click.UsageError: it is an address; the message says how to write its URL.
    """
    if "://" in text or (is_name_allowed and not {":", "/"} & set(text)):
        return
    # Anything else may hold a password, and is not shown.
    url = f"http://{text}" if _ADDRESS.fullmatch(text) else "http://host:port"
    name = "a service's name holds neither ':' nor '/'" if is_name_allowed else "by its name, 'gemstone call' finds it"
    raise click.UsageError(f"a URL begins with http:// (or amqp://, sqlite:///): write {url}; {name}")


def read_token(token_file: str | None, environment: Mapping[str, str]) -> str | None:
    """Return a registry's token: that of the file, or else that of the environment, or None.

    Raises:
        Failure: the file cannot be read, or is empty.
    """
    if token_file is None:
        return environment.get(TOKEN_VARIABLE) or None
    return read_secret(token_file, "token file")


def _configured(rpc_transports: Sequence[str] | None, event_transports: Sequence[object]) -> str:
    urls = list(rpc_transports) if rpc_transports is not None else servable(event_transports)
    if len(urls) != 1:
        raise click.UsageError(
            f"{len(urls)} brokers are configured: choose one with --broker URL"
            + "".join(f"\n  {mask(url)}" for url in urls)
        )
    return urls[0]


def _address(broker: str, wires: WirePool) -> str:
    """Return a broker's URL as it is shown wherever it comes from: without credentials, and in the form of its wire."""
    return wires.wire_for(broker).address(service_url(broker, CLIENT)).removesuffix(f"#{CLIENT}")


def _check_reachable(broker: str) -> None:
    if scheme_of(broker) == "memory":
        raise click.UsageError(f"{mask(broker)} lives inside one process: nobody outside can find its services")
    file = sqlite_file(broker)
    if file is not None and not file_exists(file):
        raise Failure(
            f"no service has used the bus {file.absolute()} yet: go to the folder where the service runs, or give "
            "--broker URL or --registry URL"
        )
