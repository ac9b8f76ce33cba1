"""``gemstone call`` and ``call_raw``: methods of services, by hand, over whatever wire."""

import asyncio
import os
import shlex
import sys
from collections.abc import Awaitable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

import rich_click as click

from gemstone_events import strict_json
from gemstone_events.cli.arguments import Seconds, is_pair, read_pairs, read_value
from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.credentials import header_options, hmac_options, read_headers, read_hmac_key
from gemstone_events.cli.directory import choose_directory, directory_options, refuse_address
from gemstone_events.cli.output import pretty, print_json
from gemstone_events.cli.remote import CommandCall, UnknownMethodError, call_name, call_url
from gemstone_events.logs import printable_lines
from gemstone_events.rpc.call_errors import CalledServiceError, InvalidParamsError, OutcomeUnknownError
from gemstone_events.rpc.client.requests import MethodCall, Notification, Request, encode
from gemstone_events.rpc.errors import RpcError
from gemstone_events.rpc.presence import is_pattern
from gemstone_events.rpc.protocol import Params
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

Outcome: TypeAlias = "JsonValue | CalledServiceError"

_PARAMETERS = click.argument("parameters", nargs=-1, metavar="[KEY=VALUE ... | VALUE ...]")
_TIMEOUT = click.option(
    "--timeout",
    type=Seconds(0, min_open=True),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="How long the whole call may take.",
)
_NOTIFY = click.option("--notify", is_flag=True, help="Send a notification: nothing is answered, not even an error.")
_JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print the result, or on standard error the error, as JSON."
)


class _CallCommand(Command):
    """A command whose values may begin with a minus sign, if they stand after ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; a number that is taken for an option is told how to become a value."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not error.option_name[1:2].isdecimal():
                raise
            raise click.UsageError(
                f"{error.option_name!r} is no option: a value that begins with '-' stands after '--', as in add -- 2 -5",
                ctx,
            ) from None


@click.command(cls=_CallCommand)
@click.argument("target", metavar="NAME|URL")
@click.argument("method")
@_PARAMETERS
@directory_options
@_TIMEOUT
@header_options
@hmac_options
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
    header_files: Sequence[str],
    hmac_key: str | None,
    audience: str | None,
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
    key = read_hmac_key(hmac_key, audience, target)
    sent = CommandCall(request, read_headers(headers, header_files), timeout, key)
    if "://" in target:
        if broker is not None or registry is not None:
            raise click.UsageError(
                f"{mask(target)!r} is called as it is: give a service's name with --broker or --registry"
            )
        work = call_url(target, namespace, sent)
    else:
        refuse_address(target)
        directory = choose_directory(broker, registry, token_file, allow, namespace, os.environ)
        work = call_name(directory, target, sent)
    where = {"--broker": broker, "--registry": registry, "--token-file": token_file, "--namespace": namespace}
    outcome = asyncio.run(outcome_of(work))
    return show(outcome, notify=notify, as_json=as_json, advice=_advice(outcome, target, request, where))


@click.command("call_raw", cls=_CallCommand)
@click.argument("url")
@click.argument("method")
@_PARAMETERS
@_TIMEOUT
@header_options
@hmac_options
@_NOTIFY
@_JSON
def call_raw(
    url: str,
    method: str,
    parameters: Sequence[str],
    timeout: float,
    headers: Sequence[str],
    header_files: Sequence[str],
    hmac_key: str | None,
    audience: str | None,
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
    refuse_address(url, is_name_allowed=False)
    key = read_hmac_key(hmac_key, audience, url)
    sent = CommandCall(request, read_headers(headers, header_files), timeout, key, is_timed=True)
    outcome = asyncio.run(outcome_of(call_url(url, None, sent)))
    return show(outcome, notify=notify, as_json=as_json, advice=_advice(outcome, url, request, {}))


async def outcome_of(work: Awaitable[JsonValue]) -> Outcome:
    """Return a call's result, or the error that the service answered with.

    Raises:
        Failure: it may have been carried out, and nothing came back.
    """
    try:
        return await work
    except CalledServiceError as error:
        return error
    except OutcomeUnknownError as error:
        told = str(error)
        is_told = "carried out" in told or "carry it out" in told
        raise Failure(told if is_told else f"{told}; it may have been carried out") from error


def _advice(outcome: Outcome, target: str, request: Request, where: Mapping[str, str | None]) -> str:
    """Return what to say of a method that is not there, or of an object where parameters were meant."""
    if isinstance(outcome, UnknownMethodError):
        return f": {_unknown_method(outcome, target, request.method_name, where)}"
    params = request.params
    if isinstance(outcome, InvalidParamsError) and isinstance(params, list) and len(params) == 1:
        (only,) = params
        if isinstance(only, Mapping):
            pairs = " ".join(f"{name}=..." for name in only) or "key=value"
            return f": the object was taken for the first parameter; parameters by name are written {pairs}"
    return ""


def _unknown_method(error: UnknownMethodError, target: str, method: str, where: Mapping[str, str | None]) -> str:
    """Return which service has no such method, what may be meant, and who tells."""
    named = shown = target
    if "://" in target or (is_pattern(target) and not error.service):
        named = shown = error.address
    elif is_pattern(target):
        named, shown = error.service, f"{error.service} ({error.address})"
    options = [f"{option}={mask(value)}" for option, value in where.items() if value is not None]
    if not options and Path(f"{named}.py").exists():  # which the name would mean there
        named = error.address
    listing = shlex.join(["gemstone", "describe", named, *options])
    close = " or ".join(get_close_matches(method, error.known))
    meant = f": did you mean {close}? Its" if close else "; its"
    return f"{shown} has no method {method!r}{meant} methods are listed by: {listing}"


def show(outcome: Outcome, *, notify: bool, as_json: bool, advice: str = "") -> int:
    """Print what came of a call, and return the exit status.

    Args:
        outcome: the result, or the service's error.
        notify: nothing is answered.
        as_json: print for programs.
        advice: what people are told after the error's code.

    Raises:
        Failure: the service answered with an error, and it is to be shown to people.
    """
    if isinstance(outcome, CalledServiceError):
        if not as_json:
            data = "" if outcome.data is None else f"\n{pretty(outcome.data)}"
            raise Failure(printable_lines(f"{outcome.message} (code {outcome.code}){advice}{data}")) from outcome
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
        request = Notification(method, params) if notify else MethodCall(method, params)
        encode(request)  # bytes of the command line that are no UTF-8 cannot be sent
        return request
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
