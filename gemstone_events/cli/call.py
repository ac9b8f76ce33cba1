"""``gemstone call``: JSON-RPC over HTTP, by hand."""

import asyncio
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

import rich_click as click
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse

from gemstone_events import strict_json
from gemstone_events.cli.arguments import is_pair, read_pairs, read_value
from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.output import pretty, print_json
from gemstone_events.event import new_id
from gemstone_events.logs import printable, printable_lines
from gemstone_events.rpc.errors import RpcError
from gemstone_events.rpc.protocol import JsonRpcRequest, Params
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

DEFAULT_ENDPOINT = "/api"
_MAX_DEPTH = 500
_MAX_REASON = 500


@click.command(cls=Command)
@click.argument("url")
@click.argument("method")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE ... | VALUE ...]")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="How long the whole call may take.",
)
@click.option("--header", "headers", multiple=True, metavar="KEY:VALUE", help="Send this header too; may be repeated.")
@click.option("--notify", is_flag=True, help="Send a notification: nothing is answered, not even an error.")
@click.option("--json", "as_json", is_flag=True, help="Print the result, or on standard error the error, as JSON.")
def call(
    url: str,
    method: str,
    parameters: Sequence[str],
    timeout: float,
    headers: Sequence[str],
    notify: bool,
    as_json: bool,
) -> int:
    """Call a method of a service.

    URL is the service's address; without a path, /api is taken. Parameters go by name (key=value) or by place; they
    are JSON where they parse and text where they do not. An error that the service answers with is shown with its
    code, message and data, and the exit status is 1.

    \b
    Examples:
      gemstone call http://127.0.0.1:8001 billing.balance customer=Ada
      gemstone call http://127.0.0.1:8001/api add 2 40
      gemstone call https://shop.example report --header 'Cookie: id=1'
    """
    request = JsonRpcRequest(method, _params(parameters), None if notify else new_id(), is_notification=notify)
    http = HTTPRequest(
        endpoint_of(url),
        method="POST",
        headers={"Content-Type": "application/json", **dict(_header(text) for text in headers)},
        body=strict_json.dumps(request.to_dict()),
        connect_timeout=timeout,
        request_timeout=timeout,
        follow_redirects=False,
    )
    response = asyncio.run(_fetch(http))
    if notify and response.code < 300:
        return 0
    try:
        result = result_of(response, request.id)
    except RpcError as error:
        if not as_json:
            data = "" if error.data is None else f"\n{pretty(error.data)}"
            raise Failure(printable_lines(f"{error.message} (code {error.code}){data}")) from error
        print(strict_json.dumps({"error": error.to_dict()}).decode(), file=sys.stderr)
        return 1
    if as_json:
        print_json(result)
    else:
        print(printable_lines(pretty(result)) if sys.stdout.isatty() else pretty(result))
    return 0


call_raw = Command(name="call_raw", callback=call.callback, params=call.params, help=call.help, hidden=True)


def endpoint_of(target: str) -> str:
    """Return the URL to send the call to.

    Raises:
        click.UsageError: it is no URL of HTTP.
    """
    try:
        parts = urlsplit(target)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fit = False
    if not is_fit:
        raise click.UsageError(f"{mask(target)!r} is no URL of a service: write http://host:port or https://host:port")
    return target if parts.path not in ("", "/") else parts._replace(path=DEFAULT_ENDPOINT).geturl()


def result_of(response: HTTPResponse, request_id: str | int | None) -> JsonValue:
    """Return the result that a response carries.

    Raises:
        RpcError: the service answered with an error.
        Failure: it is no JSON-RPC response to this request.
    """
    answer: JsonValue
    try:
        answer = strict_json.loads(response.body, _MAX_DEPTH)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer.get("jsonrpc") == "2.0":
        error = answer.get("error")
        if isinstance(error, dict):
            code, message = error.get("code"), error.get("message")
            raise RpcError(str(message), code=code if isinstance(code, int) else None, data=error.get("data"))
        if "result" in answer and answer.get("id") == request_id:
            result: JsonValue = answer["result"]
            return result
    raise Failure(f"{mask(response.effective_url)} gave no JSON-RPC answer: {_reason(response)}")


async def _fetch(request: HTTPRequest) -> HTTPResponse:
    client = AsyncHTTPClient(force_instance=True)
    try:
        return await client.fetch(request, raise_error=False)
    except (HTTPClientError, OSError, ValueError) as error:
        raise Failure(f"{mask(request.url)} cannot be called: {error}") from error
    finally:
        client.close()


def _params(texts: Sequence[str]) -> Params:
    if texts and is_pair(texts[0]):
        return read_pairs(texts)
    named = next((text for text in texts if is_pair(text)), None)
    if named is not None:
        raise click.UsageError(f"parameters go by name or by place, not both: {named!r} has a name")
    return [read_value(text) for text in texts]


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not f"{name}{value}".isprintable():
        raise click.UsageError("--header takes KEY:VALUE, for example --header 'Authorization: Bearer ...'")
    return name.strip(), value.strip()


def _reason(response: HTTPResponse) -> str:
    if "Location" in response.headers:
        what = f"it moved to {mask(response.headers['Location'])}"
    else:
        what = f"it sent {response.headers.get('Content-Type', 'something') if response.body else 'nothing'}"
    return printable(f"HTTP {response.code} {response.reason}: {what}"[:_MAX_REASON])
