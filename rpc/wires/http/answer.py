"""What an HTTP response says about a call: an answer of JSON-RPC, or what became of the call."""

from collections.abc import Mapping
from dataclasses import dataclass

from gemstone_events import strict_json
from gemstone_events.logs import printable
from gemstone_events.rpc.call_errors import (
    AccessDeniedError,
    InvalidAnswerError,
    OutcomeUnknownError,
    RemoteServiceError,
    RequestRefusedError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.schemes import mask

_MOVED = frozenset({301, 302, 307, 308})
# Given before a body is looked at, by our servers and by proxies: nothing was carried out.
_REFUSED = frozenset({405, 411, 413, 414, 415, 431})
_NOT_NOW = frozenset({421, 429})
_UNAVAILABLE = 503
# Some proxies also say 503 when they lost a request that they had handed on; whoever names a time did not begin it.
_LOST_BEHIND_A_PROXY = frozenset({408, 500, 502, _UNAVAILABLE, 504})
_MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A response, whole. ``headers`` are looked up in any case of letters."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes


def body_of(answer: HttpAnswer, address: str) -> bytes | None:
    """Return the JSON-RPC answer that a response brings, whatever its status; None where there is nothing to say.

    Raises:
        RemoteServiceError: it brings none; the exception says whether the call may have been carried out.
    """
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidAnswerError(f"{address} compressed its answer, though asked not to")
    if 200 <= answer.status < 300:
        return answer.body or None
    if _is_json_rpc(answer.body):
        return answer.body
    raise _error(answer, address)


def _error(answer: HttpAnswer, address: str) -> RemoteServiceError:
    what = f"{address}: HTTP {answer.status} {printable(answer.phrase)}{_reason(answer)}"
    if answer.status in (401, 403):
        return AccessDeniedError(what)
    if answer.status == 404:
        return ServiceNotFoundError(what)
    if answer.status in _MOVED:
        return ServiceUnreachableError(f"{what}: it moved to {_new_place(answer)}")
    if answer.status in _REFUSED:
        return RequestRefusedError(what)
    if answer.status in _NOT_NOW or (answer.status == _UNAVAILABLE and "Retry-After" in answer.headers):
        return ServiceUnreachableError(what)
    if answer.status in _LOST_BEHIND_A_PROXY:
        return OutcomeUnknownError(what)
    return InvalidAnswerError(what)


def _reason(answer: HttpAnswer) -> str:
    """Return the first line of a plain text, which says what is wrong."""
    if not answer.headers.get("Content-Type", "").startswith("text/plain"):
        return ""
    line = answer.body[:_MAX_REASON].decode(errors="replace").partition("\n")[0].strip()
    return f": {line}" if line and line.isprintable() else ""


def _new_place(answer: HttpAnswer) -> str:
    return printable(mask(answer.headers.get("Location", "nowhere"))[:_MAX_REASON])


def _is_json_rpc(body: bytes) -> bool:
    try:
        value = strict_json.loads(body)
    except ValueError:
        return False
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and "jsonrpc" in first
