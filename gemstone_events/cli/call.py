"""``gemstone call`` and ``call_raw``: methods of services, by hand, over whatever wire."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import rich_click as click

from gemstone_events import strict_json
from gemstone_events.call_scope import CallScope, call_scope
from gemstone_events.cli.arguments import is_pair, read_pairs, read_value
from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.connections import CLIENT, settings_of
from gemstone_events.cli.directory import Directory, choose_directory, directory_options
from gemstone_events.cli.output import pretty, print_json
from gemstone_events.logs import printable_lines
from gemstone_events.names import check_name
from gemstone_events.rpc.call_errors import (
    CalledServiceError,
    OutcomeUnknownError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.caller import Caller
from gemstone_events.rpc.client.requests import MethodCall, Notification, Request, check_headers
from gemstone_events.rpc.errors import RpcError
from gemstone_events.rpc.protocol import Params
from gemstone_events.rpc.wire import ClientSettings
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

Outcome: TypeAlias = "JsonValue | CalledServiceError"

_PARAMETERS = click.argument("parameters", nargs=-1, metavar="[KEY=VALUE ... | VALUE ...]")
_TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="How long the whole call may take.",
)
_HEADER = click.option(
    "--header", "headers", multiple=True, metavar="KEY:VALUE", help="Send this header too; may be repeated."
)
_NOTIFY = click.option("--notify", is_flag=True, help="Send a notification: nothing is answered, not even an error.")
_JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print the result, or on standard error the error, as JSON."
)


@click.command(cls=Command)
@click.argument("target", metavar="NAME|URL")
@click.argument("method")
@_PARAMETERS
@directory_options
@_TIMEOUT
@_HEADER
@_NOTIFY
@_JSON
def call(
    target: str,
    method: str,
    parameters: Sequence[str],
    broker: str | None,
    registry: str | None,
    token_file: str | None,
    allow: Sequence[str],
    namespace: str | None,
    timeout: float,
    headers: Sequence[str],
    notify: bool,
    as_json: bool,
) -> int:
    """Call a method of a service, by the service's name or by its URL.

    NAME is called by the broker or bus that is configured, or looked up in a registry; of a glob pattern, any service
    that matches is called. URL is that of HTTP, where /api is taken if it has no path, or that of a broker with the
    service's name after '#'. Parameters go by name (key=value) or by place; they are JSON where they parse and text
    where they do not. An error that the service answers with is shown with its code, message and data, and the exit
    status is 1.

    \b
    Examples:
      gemstone call billing billing.balance customer=Ada
      gemstone call 'orders.*' report --registry http://127.0.0.1:8700
      gemstone call http://127.0.0.1:8001/api add 2 40
      gemstone call amqp://localhost#billing billing.balance customer=Ada
    """
    request = _request(method, parameters, notify)
    sent = dict(read_header(text) for text in headers)
    if "://" in target:
        if broker is not None or registry is not None:
            raise click.UsageError(
                f"{mask(target)!r} is called as it is: give a service's name with --broker or --registry"
            )
        work = _call_url(target, namespace, request, sent, timeout)
    else:
        directory = choose_directory(broker, registry, token_file, allow, namespace, os.environ)
        work = _call_name(directory, target, request, sent, timeout)
    return show(asyncio.run(_outcome(work)), notify=notify, as_json=as_json)


@click.command("call_raw", cls=Command)
@click.argument("url")
@click.argument("method")
@_PARAMETERS
@_TIMEOUT
@_HEADER
@_NOTIFY
@_JSON
def call_raw(
    url: str,
    method: str,
    parameters: Sequence[str],
    timeout: float,
    headers: Sequence[str],
    notify: bool,
    as_json: bool,
) -> int:
    """Call a method of a service by its URL, and say how long it took.

    Nothing is looked up. It is 'gemstone call' otherwise; the time goes to standard error. It holds the connecting, as
    the first call of a program does.

    \b
    Example:
      gemstone call_raw http://127.0.0.1:8001/api add 2 40
    """
    request = _request(method, parameters, notify)
    sent = dict(read_header(text) for text in headers)
    outcome = asyncio.run(_outcome(_call_url(url, None, request, sent, timeout, is_timed=True)))
    return show(outcome, notify=notify, as_json=as_json)


async def _call_name(
    directory: Directory, name: str, request: Request, headers: Mapping[str, str], timeout: float
) -> JsonValue:
    async with directory:
        with call_scope(CallScope(time.monotonic() + timeout)):
            urls = await directory.locate(name)
            try:
                return await _call_first(directory.wires, urls, request, headers, timeout)
            except ServiceNotFoundError as error:
                raise await directory.missing(name, error) from error


async def _call_url(
    url: str,
    namespace: str | None,
    request: Request,
    headers: Mapping[str, str],
    timeout: float,
    *,
    is_timed: bool = False,
) -> JsonValue:
    namespace = check_name("namespace", namespace or settings_of().namespace)
    wires = WirePool(ClientSettings(namespace=namespace, client=CLIENT))
    try:
        wires.wire_for(url)  # loads libraries, which is not the call's time
        started = time.perf_counter()
        try:
            return await _call_one(wires, url, request, headers, timeout)
        finally:
            if is_timed:
                print(f"the call took {time.perf_counter() - started:.5f} seconds", file=sys.stderr)
    finally:
        await wires.close()


async def _call_first(
    wires: WirePool, urls: Sequence[str], request: Request, headers: Mapping[str, str], timeout: float
) -> JsonValue:
    """Call the first address that can be reached."""
    for url in urls[:-1]:
        with suppress(ServiceUnreachableError):
            return await _call_one(wires, url, request, headers, timeout)
    return await _call_one(wires, urls[-1], request, headers, timeout)


async def _call_one(
    wires: WirePool, url: str, request: Request, headers: Mapping[str, str], timeout: float
) -> JsonValue:
    caller = Caller(url, timeout=timeout, headers=headers)
    outgoing = caller.prepare(request)
    if isinstance(request, Notification):
        await caller.notify(wires, outgoing)
        return None
    return (await caller.call(wires, outgoing)).result


async def _outcome(work: Awaitable[JsonValue]) -> Outcome:
    try:
        return await work
    except CalledServiceError as error:
        return error
    except OutcomeUnknownError as error:
        raise Failure(f"{error}; it may have been carried out") from error


def show(outcome: Outcome, *, notify: bool, as_json: bool) -> int:
    """Print what came of a call, and return the exit status.

    Raises:
        Failure: the service answered with an error, and it is to be shown to people.
    """
    if isinstance(outcome, CalledServiceError):
        if not as_json:
            data = "" if outcome.data is None else f"\n{pretty(outcome.data)}"
            raise Failure(printable_lines(f"{outcome.message} (code {outcome.code}){data}")) from outcome
        error = RpcError(outcome.message, code=outcome.code, data=outcome.data)
        print(strict_json.dumps({"error": error.to_dict()}).decode(), file=sys.stderr)
        return 1
    if notify:
        return 0
    if as_json:
        print_json(outcome)
    else:
        print(printable_lines(pretty(outcome)) if sys.stdout.isatty() else pretty(outcome))
    return 0


def _request(method: str, parameters: Sequence[str], notify: bool) -> Request:
    params = read_params(parameters)
    try:
        return Notification(method, params) if notify else MethodCall(method, params)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def read_params(texts: Sequence[str]) -> Params:
    """Return a call's parameters.

    Raises:
        click.UsageError: some have names, and some have not.
    """
    if texts and is_pair(texts[0]):
        return read_pairs(texts)
    named = next((text for text in texts if is_pair(text)), None)
    if named is not None:
        raise click.UsageError(f"parameters go by name or by place, not both: {named!r} has a name")
    return [read_value(text) for text in texts]


def read_header(text: str) -> tuple[str, str]:
    """Return the name and value of a header.

    Raises:
        click.UsageError: it is not KEY:VALUE.
    """
    name, colon, value = text.partition(":")
    try:
        ((key, sent),) = check_headers({name.strip(): value.strip()}).items()
    except ValueError:
        colon = ""
    if not colon:
        raise click.UsageError("--header takes KEY:VALUE, for example --header 'Authorization: Bearer ...'")
    return key, sent
