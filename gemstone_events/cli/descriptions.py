"""Descriptions of services, from wherever: a module with the service, a service that runs, or a file."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import rich_click as click
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from gemstone_events import strict_json
from gemstone_events.cli.command import Failure
from gemstone_events.cli.connections import CLIENT, settings_of
from gemstone_events.cli.loading import load_service
from gemstone_events.cli.output import pretty
from gemstone_events.cli.run import configure
from gemstone_events.logs import printable_lines
from gemstone_events.names import check_name
from gemstone_events.rpc.call_errors import AccessDeniedError, MethodNotFoundError
from gemstone_events.rpc.client.caller import Caller
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.description.asyncapi_changes import check_asyncapi, described_kind
from gemstone_events.rpc.description.discover import DISCOVER
from gemstone_events.rpc.description.http_documents import ASYNCAPI_PATH
from gemstone_events.rpc.description.openrpc_changes import check_openrpc
from gemstone_events.rpc.description.references import DescriptionError, members
from gemstone_events.rpc.wire import ClientSettings
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

Kind: TypeAlias = Literal["openrpc", "asyncapi"]
Document: TypeAlias = Mapping[str, JsonValue]
Function = TypeVar("Function", bound=Callable[..., object])

MAX_DEPTH = 200
_MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Where a description comes from, as the command line says it.

    Attributes:
        target: ``module:Service`` or a file of Python, the URL of a service, or a JSON file.
        headers: sent to a service.
        timeout: seconds that it may take to answer.
        namespace: of services on a broker; None for what is configured.
    """

    target: str
    headers: Mapping[str, str]
    timeout: float
    namespace: str | None

    @property
    def is_file(self) -> bool:
        """Whether it is a JSON file."""
        return "://" not in self.target and self.target.endswith(".json")

    @property
    def shown(self) -> str:
        """What people may see of it, the same wherever the command runs."""
        return Path(self.target).name if self.is_file else mask(self.target)

    def load(self, kind: Kind) -> Document:
        """Return the description.

        Raises:
            Failure: there is none, or it is of another kind; the message says what to do.
            GemstoneError: the service is declared wrongly, or cannot be called.
        """
        document: JsonValue
        if self.is_file:
            document = read_document(self.target)
        elif "://" in self.target:
            document = asyncio.run(self._ask(kind))
        else:
            document = _describe(self.target, kind)
        try:
            return check_openrpc(document) if kind == "openrpc" else check_asyncapi(document)
        except DescriptionError as error:
            raise Failure(f"{self.shown}: {error}") from error

    async def _ask(self, kind: Kind) -> JsonValue:
        parts = urlsplit(self.target)
        is_http = parts.scheme in ("http", "https")
        if is_http and parts.path.endswith(".json"):
            return await self._fetch(self.target)
        if kind == "openrpc":
            return await self._discover()
        if not is_http:
            raise Failure(
                f"{self.shown}: what a service does with events is asked for over HTTP: give its URL of HTTP, or the "
                "service as module:Service"
            )
        return await self._fetch(parts._replace(path=ASYNCAPI_PATH, query="", fragment="").geturl())

    async def _discover(self) -> JsonValue:
        namespace = check_name("namespace", self.namespace or settings_of().namespace)
        wires = WirePool(ClientSettings(namespace=namespace, client=CLIENT))
        caller = Caller(self.target, timeout=self.timeout, headers=self.headers)
        try:
            return (await caller.call(wires, caller.prepare(MethodCall(DISCOVER, idempotent=True)))).result
        except MethodNotFoundError as error:
            raise Failure(f"{self.shown} does not describe itself: it has no method {DISCOVER}") from error
        except AccessDeniedError as error:
            raise Failure(f"{self.shown} answers only callers that it knows: say who calls with --header") from error
        finally:
            await wires.close()

    async def _fetch(self, url: str) -> JsonValue:
        client = AsyncHTTPClient(force_instance=True, max_body_size=_MAX_BYTES)
        request = HTTPRequest(
            url,
            headers=dict(self.headers),
            connect_timeout=self.timeout,
            request_timeout=self.timeout,
            follow_redirects=False,
        )
        try:
            response = await client.fetch(request, raise_error=False)
        except (HTTPClientError, OSError, ValueError) as error:
            raise Failure(f"{mask(url)} cannot be read: {error}") from error
        finally:
            client.close()
        if response.code == 401:
            raise Failure(f"{mask(url)} is shown only to callers that the service knows: say who asks with --header")
        if response.code != 200:
            raise Failure(f"{mask(url)} cannot be read: HTTP {response.code} {response.reason}")
        return _parse(response.body, mask(url))


def source_options(function: Function) -> Function:
    """Give a command the options that say how a service is asked."""
    options = (
        click.option(
            "--header", "headers", multiple=True, metavar="KEY:VALUE", help="Send this header to the service too."
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            default=30.0,
            show_default=True,
            help="How long the service may take to answer.",
        ),
        click.option("--namespace", metavar="NAME", help="Prefix of every name on the broker (gemstone)."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def read_headers(texts: Sequence[str]) -> dict[str, str]:
    """Return headers given as KEY:VALUE.

    Raises:
        click.UsageError: one is written otherwise.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or not f"{name}{value}".isprintable():
            raise click.UsageError("--header takes KEY:VALUE, for example --header 'Authorization: Bearer ...'")
        found[name.strip()] = value.strip()
    return found


def read_document(name: str) -> Document:
    """Return the JSON object that a file holds.

    Raises:
        Failure: it cannot be read, or holds something else.
    """
    path = Path(name)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Failure(f"{name} is no description: it is larger than {_MAX_BYTES} bytes")
        return members(_parse(path.read_bytes(), name), name)
    except DescriptionError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{name} cannot be read: {error.strerror}") from error


def kind_of_file(source: Source) -> Kind | None:
    """Return what a file describes; None where the source is no file, and can give either.

    Raises:
        Failure: it describes nothing.
    """
    if not source.is_file:
        return None
    try:
        return "asyncapi" if described_kind(read_document(source.target)) == "asyncapi" else "openrpc"
    except DescriptionError as error:
        raise Failure(f"{source.shown}: {error}") from error


def write_output(text: str, output: str | None) -> None:
    """Write a text to a file, or to standard output; a terminal is shown control characters, and obeys none."""
    if output is not None:
        Path(output).write_text(text, encoding="utf-8")
    elif sys.stdout.isatty():
        print(printable_lines(text))
    else:
        print(text, end="")


def as_text(document: Document) -> str:
    """Return a document for people and version control: indented, with a line break at its end."""
    return f"{pretty(document)}\n"


def _describe(target: str, kind: Kind) -> JsonValue:
    service = load_service(target)
    configure([service], {}, {})
    service.check_declarations()
    return service.openrpc_document() if kind == "openrpc" else service.asyncapi_document()


def _parse(raw: bytes, name: str) -> JsonValue:
    try:
        return strict_json.loads(raw, MAX_DEPTH)
    except ValueError as error:
        raise Failure(f"{name} is no JSON: {error}") from error
