"""What a message from a service's queue asks for, and whether it may."""

from collections.abc import Mapping
from dataclasses import dataclass

from gemstone_events.rpc.call_context import CallContext, read_timeout
from gemstone_events.rpc.errors import InvalidRequest
from gemstone_events.rpc.protocol import JsonRpcResponse, write_response
from gemstone_events.rpc.wires.amqp.incoming import UNREADABLE, Properties, Received

WIRE = "amqp"
MAX_HEADER_BYTES = 16 * 1024
DIRECT_REPLIES = "amq.rabbitmq.reply-to"
"""What the names of direct reply-to begin with: not queues, but ways to a caller's channel."""
_MAX_NAME = 255
_PRIVATE_QUEUES = (DIRECT_REPLIES, "amq.gen-")


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """A message that came in.

    Attributes:
        body: the JSON-RPC body; empty where it is refused.
        context: where it comes from; its ``timeout`` counts from when the message came.
        reply_to: the queue for the answer; None where none is wanted.
        correlation_id: copied to the answer.
        refusal: the answer where the message is refused; None where it is to be carried out.
    """

    body: bytes
    context: CallContext
    reply_to: str | None
    correlation_id: str | None
    refusal: bytes | None = None


class ForbiddenReplyError(Exception):
    """The answer is wanted where none may be sent."""


def read_request(message: Received, namespace: str, body_bytes: int) -> ServedRequest:
    """Read a message.

    The timeout is the message's ``expiration``, or that of ``TIMEOUT_HEADER`` where a caller sends one.

    Raises:
        ForbiddenReplyError: see ``check_reply_to``. It is not to be carried out, and nobody to be told.
    """
    properties = message.properties
    reply_to = properties.reply_to or None
    if reply_to is not None:
        check_reply_to(reply_to, namespace)
    headers = _texts(properties.headers)
    timeout = read_timeout(headers)
    context = CallContext(
        WIRE,
        headers,
        f"{WIRE}:{_printable(properties.user_id or '')}",
        timeout=_expiration(properties) if timeout is None else timeout,
        is_repeated=message.redelivered,
    )
    correlation_id = properties.correlation_id or None
    reason = _reason_to_refuse(message, headers, body_bytes)
    if reason is None and message.body is not None:
        return ServedRequest(message.body, context, reply_to, correlation_id)
    refusal = write_response(JsonRpcResponse(None, error=InvalidRequest(data=reason)))
    return ServedRequest(b"", context, reply_to, correlation_id, refusal)


def check_reply_to(reply_to: str, namespace: str) -> None:
    """Refuse to answer into queues that are not made for answers.

    Whoever may write to a service's queue could otherwise have the service write to any other queue for him: to the
    queues of this namespace, to which he may not write himself. Queues that the broker named itself and direct
    reply-to are private to a connection, and cannot be guessed.

    Raises:
        ForbiddenReplyError: it names such a queue.
    """
    forbidden = reply_to.startswith(f"{namespace}.") or (
        reply_to.startswith("amq.") and not reply_to.startswith(_PRIVATE_QUEUES)
    )
    if forbidden or len(reply_to.encode("utf-8", "replace")) > _MAX_NAME:
        raise ForbiddenReplyError(f"it wants its answer in the queue {_printable(reply_to)!r}")


def _reason_to_refuse(message: Received, headers: dict[str, str], body_bytes: int) -> str | None:
    properties = message.properties
    if message.size > body_bytes:
        return f"a body may have {body_bytes} bytes at most"
    content_type = (properties.content_type or "application/json").partition(";")[0].strip().lower()
    if content_type == UNREADABLE:
        return "the properties cannot be read: they hold a text that is not UTF-8, or a table that is too deep"
    if content_type != "application/json":
        return "the content type is application/json"
    if (properties.content_encoding or "utf-8").lower() not in ("utf-8", "utf8"):
        return "the content encoding is utf-8, or none"
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        return f"headers may have {MAX_HEADER_BYTES} bytes at most"
    return None


def _expiration(properties: Properties) -> float | None:
    text = properties.expiration or ""
    return int(text) / 1000.0 if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _printable(text: str) -> str:
    shown = text[:100]
    return shown if shown.isprintable() else "".join(letter for letter in shown if letter.isprintable())


def _texts(table: Mapping[str, object] | None) -> dict[str, str]:
    """Return what a table of headers holds of texts, numbers and printable bytes, by name in lower case."""
    found: dict[str, str] = {}
    for name, value in (table or {}).items():
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and value.isprintable():
            found[name.lower()] = value
    return found
