"""Descriptions of services, from wherever: a module with the service, a service that runs, or a file."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeAlias, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

import rich_click as click
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from gemstone_events import strict_json
from gemstone_events.cli.arguments import Seconds
from gemstone_events.cli.command import Failure
from gemstone_events.cli.credentials import header_options, read_headers
from gemstone_events.cli.directory import (
    Directory,
    NameNotFoundError,
    choose_directory,
    directory_options,
    refuse_address,
)
from gemstone_events.cli.loading import NoServiceError, file_of, load_service
from gemstone_events.cli.output import pretty
from gemstone_events.cli.remote import CommandCall, call_name, call_url
from gemstone_events.cli.run import configure
from gemstone_events.errors import GemstoneError
from gemstone_events.logs import printable_lines
from gemstone_events.rpc.call_errors import (
    AccessDeniedError,
    MethodNotFoundError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.description.asyncapi_changes import check_asyncapi, described_kind
from gemstone_events.rpc.description.discover import DISCOVER
from gemstone_events.rpc.description.openrpc_changes import check_openrpc
from gemstone_events.rpc.description.references import DescriptionError, members
from gemstone_events.rpc.wires.http.documents import ASYNCAPI_PATH
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

Kind: TypeAlias = Literal["openrpc", "asyncapi"]
Document: TypeAlias = Mapping[str, JsonValue]
Function = TypeVar("Function", bound=Callable[..., object])

MAX_DEPTH = 200
_MAX_BYTES = 16 * 1024 * 1024
_HTTP = ("http", "https")


class SourceOptions(TypedDict):
    """What ``source_options`` makes of a command line."""

    headers: Sequence[str]
    header_files: Sequence[str]
    timeout: float
    broker: str | None
    registry: str | None
    token_file: str | None
    allow: Sequence[str]
    namespace: str | None


@dataclass(frozen=True, slots=True)
class Description:
    """A document, and what it may leave out.

    Attributes:
        document: OpenRPC or AsyncAPI.
        is_for_strangers: a service that runs gave it, and it shows no private method: perhaps there are some.
    """

    document: Document
    is_for_strangers: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where a description comes from, as the command line says it.

    Attributes:
        target: ``module:Service`` or a file of Python, the URL of a service, its name, or a JSON file.
        headers: sent to a service.
        timeout: seconds that it may take to answer.
        namespace: of services on a broker; None for what is configured.
        directory: returns where names are looked up.
        is_looked_up: the command says where to look, so that a plain word is a name and not a module.
    """

    target: str
    headers: Mapping[str, str]
    timeout: float
    namespace: str | None
    directory: Callable[[], Directory]
    is_looked_up: bool

    @classmethod
    def of(cls, target: str, **options: Unpack[SourceOptions]) -> Self:
        """Return the source that a command line names.

        Raises:
            click.UsageError: a header is none.
            Failure: a file of headers cannot be read.
        """
        broker, registry, namespace = options["broker"], options["registry"], options["namespace"]

        def directory() -> Directory:
            return choose_directory(broker, registry, options["token_file"], options["allow"], namespace, os.environ)

        is_looked_up = broker is not None or registry is not None
        headers = read_headers(options["headers"], options["header_files"])
        return cls(target, headers, options["timeout"], namespace, directory, is_looked_up)

    @property
    def is_file(self) -> bool:
        """Whether it is a JSON file."""
        return "://" not in self.target and self.target.endswith(".json")

    @property
    def shown(self) -> str:
        """What people may see of it, the same wherever the command runs."""
        return Path(self.target).name if self.is_file else mask(self.target)

    def load(self, kind: Kind) -> Description:
        """Return the description.

        Raises:
            Failure: there is none, or it is of another kind; the message says what to do.
            GemstoneError: the service is declared wrongly, or cannot be called.
        """
        document: JsonValue
        is_running = False
        if self.is_file:
            document = read_document(self.target)
        elif "://" in self.target:
            document, is_running = asyncio.run(self._ask(kind)), True
        else:
            document, is_running = self._describe_or_find(kind)
        try:
            checked = check_openrpc(document) if kind == "openrpc" else check_asyncapi(document)
        except DescriptionError as error:
            raise Failure(f"{self.shown}: {error}") from error
        is_for_strangers = is_running and kind == "openrpc" and not _shows_private(checked)
        if is_for_strangers and self.headers:
            # Strangers get an answer, too, which does not tell them what there is besides.
            print(
                f"note: {self.shown} shows no private method: it has none, or does not accept the headers that were given",
                file=sys.stderr,
            )
        return Description(checked, is_for_strangers)

    def _describe_or_find(self, kind: Kind) -> tuple[JsonValue, bool]:
        """Describe the service of a module; where there is none, the text is the name of a service that runs.

        Returns:
            The document, and whether the service runs.
        """
        name, _, attribute = self.target.partition(":")
        if attribute.partition("/")[0].isdecimal():
            refuse_address(self.target)
        is_plain = not attribute and file_of(self.target) is None
        no_module = "--broker or --registry is given, so it is a name"
        if not (is_plain and self.is_looked_up):
            try:
                return _describe(self.target, kind), False
            except NoServiceError as error:
                if not is_plain:
                    raise
                no_module = error.message
        try:
            return asyncio.run(self._find(name, kind)), True
        except (NameNotFoundError, ServiceUnreachableError) as error:
            raise Failure(
                f"{self.target!r} is neither a module with a service ({no_module}) nor a service that runs ({error}). Give "
                "module:Service or file.py:Service, or a service's URL, such as http://127.0.0.1:8000, or its name, "
                "with --broker or --registry"
            ) from error

    async def _find(self, name: str, kind: Kind) -> JsonValue:
        try:
            directory = self.directory()
        except click.UsageError:
            raise
        except (Failure, GemstoneError) as error:
            raise NameNotFoundError(str(error)) from error
        if kind == "openrpc":
            return await self._discover(directory)
        async with directory:
            try:
                urls = await directory.locate(name)
            except ServiceNotFoundError as error:
                raise await directory.missing(name, error) from error
        url = next((url for url in urls if urlsplit(url).scheme in _HTTP), None)
        if url is None:
            raise Failure(
                f"{self.shown}: what a service does with events is asked for over HTTP: give its URL of HTTP "
                f"(gemstone services {self.shown}), or the service as module:Service"
            )
        return await self._fetch(_asyncapi_url(url))

    async def _ask(self, kind: Kind) -> JsonValue:
        parts = urlsplit(self.target)
        is_http = parts.scheme in _HTTP
        if is_http and parts.path.endswith(".json"):
            return await self._fetch(self.target)
        if kind == "openrpc":
            return await self._discover()
        if not is_http:
            raise Failure(
                f"{self.shown}: what a service does with events is asked for over HTTP: give its URL of HTTP, or the "
                "service as module:Service"
            )
        return await self._fetch(_asyncapi_url(self.target))

    async def _discover(self, directory: Directory | None = None) -> JsonValue:
        call = CommandCall(MethodCall(DISCOVER, idempotent=True), self.headers, self.timeout)
        try:
            if directory is None:
                return await call_url(self.target, self.namespace, call)
            return await call_name(directory, self.target, call)
        except MethodNotFoundError as error:
            raise Failure(f"{self.shown} does not describe itself: it has no method {DISCOVER}") from error
        except AccessDeniedError as error:
            raise Failure(f"{self.shown} answers only callers that it knows: {self._who}") from error

    @property
    def _who(self) -> str:
        """What to do where the service does not know who asks."""
        return "it does not accept the headers that were given" if self.headers else "say who asks with --header"

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
            raise Failure(f"{mask(url)} is shown only to callers that the service knows: {self._who}")
        if response.code != 200:
            raise Failure(f"{mask(url)} cannot be read: HTTP {response.code} {response.reason}")
        return _parse(response.body, mask(url))


def source_options(function: Function) -> Function:
    """Give a command the options that say how a service is asked."""
    timeout = click.option(
        "--timeout",
        type=Seconds(0, min_open=True),
        metavar="SECONDS",
        default=30.0,
        show_default=True,
        help="How long the service may take to answer.",
    )
    return header_options(timeout(directory_options(function)))


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
    """Describe a service that does not run: where it would, only this machine's configuration says."""
    service = load_service(target)
    configure([service], {}, {})
    service.check_declarations()
    document = service.openrpc_document() if kind == "openrpc" else service.asyncapi_document()
    return {name: value for name, value in document.items() if name != "servers"}


def _shows_private(openrpc: Document) -> bool:
    methods = openrpc.get("methods")
    return isinstance(methods, list) and any(isinstance(each, Mapping) and each.get("x-private") for each in methods)


def _asyncapi_url(url: str) -> str:
    return urlsplit(url)._replace(path=ASYNCAPI_PATH, query="", fragment="").geturl()


def _parse(raw: bytes, name: str) -> JsonValue:
    try:
        return strict_json.loads(raw, MAX_DEPTH)
    except ValueError as error:
        raise Failure(f"{name} is no JSON: {error}") from error
