"""Messages and confirms, put together from the frames of one channel.

The broker passes on property names and texts that are not UTF-8, times beyond the calendar and tables of any depth. What
cannot be read of a message is left out, and its content type says so.
"""

import logging
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pamqp import commands as spec

from gemstone_events.rpc.wires.amqp.frames import BODY, HEADER, METHOD
from gemstone_events.rpc.wires.amqp.properties import read_properties

Properties: TypeAlias = spec.Basic.Properties

UNREADABLE = "unreadable"
"""The content type of a message whose properties could not be read; it has no others."""
MAX_DEPTH = 32

_DELIVER, _RETURN, _ACK, _NACK = (struct.pack(">HH", 60, method) for method in (60, 50, 80, 120))
_TAG_AND_BITS = struct.Struct(">QB")
_BODY_SIZE = struct.Struct(">Q")

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Received:
    """A message.

    Attributes:
        consumer: the tag of the consumer that it came to.
        delivery_tag: what it is acked by.
        redelivered: somebody had it before and did not ack it.
        properties: AMQP 0-9-1, section 1.8 of the specification's reference.
        body: None where it is longer than what the channel takes.
        size: how long it is, in bytes.
    """

    consumer: str
    delivery_tag: int
    redelivered: bool
    properties: Properties
    body: bytes | None
    size: int


class Receiver(Protocol):
    """Whoever uses a channel. An exception of one of these is logged, and ends nothing."""

    def on_message(self, message: Received) -> None:
        """Take a message of one of the channel's consumers."""

    def on_return(self, reason: str, properties: Properties) -> None:
        """A mandatory message found no queue."""

    def on_confirm(self, number: int, multiple: bool, taken: bool) -> None:
        """The broker has taken the message with a number (from 1 on; ``multiple``: and all before), or refused it."""


class Incoming:
    """Takes the frames of messages and confirms of one channel, and leaves it all others.

    Args:
        receiver: who takes what they hold.
        body_bytes: the longest body that is kept.
    """

    def __init__(self, receiver: Receiver, body_bytes: int) -> None:
        self._receiver = receiver
        self._body_bytes = body_bytes
        self._method = b""
        self._properties = spec.Basic.Properties()
        self._body_size = 0
        self._parts: list[bytes] = []
        self._size = 0

    def frame(self, kind: int, payload: bytes) -> bool:
        """Take a frame, if it is one of these; see ``reader.Taker``."""
        if kind == METHOD:
            return self._take_method(payload)
        if not self._method:
            return False
        if kind == HEADER:
            (self._body_size,) = _BODY_SIZE.unpack_from(payload, 4)
            self._properties = _properties(payload)
            self._parts, self._size = [], 0
        elif kind == BODY:
            self._size += len(payload)
            if self._body_size <= self._body_bytes:
                self._parts.append(payload)
        if self._size >= self._body_size:
            self._finish()
        return True

    def _take_method(self, payload: bytes) -> bool:
        name = payload[:4]
        if name in (_DELIVER, _RETURN):
            self._method = payload
        elif name in (_ACK, _NACK):
            number, bits = _TAG_AND_BITS.unpack_from(payload, 4)
            _guarded(self._receiver.on_confirm, number, bool(bits & 1), name == _ACK)
        else:
            return False
        return True

    def _finish(self) -> None:
        method, self._method = self._method, b""
        if method.startswith(_RETURN):
            # A code of two bytes, then a short text; for messages, a short text, a number and bits.
            reason = method[7 : 7 + method[6]].decode(errors="replace")
            _guarded(self._receiver.on_return, reason, self._properties)
            return
        end_of_tag = 5 + method[4]
        delivery_tag, bits = _TAG_AND_BITS.unpack_from(method, end_of_tag)
        tag = method[5:end_of_tag].decode(errors="replace")
        body = b"".join(self._parts) if self._body_size <= self._body_bytes else None
        message = Received(tag, delivery_tag, bool(bits & 1), self._properties, body, self._body_size)
        _guarded(self._receiver.on_message, message)


def _properties(payload: bytes) -> Properties:
    try:
        properties = read_properties(payload)
        if _is_flat(properties.headers):
            return properties
    except Exception:
        _logger.debug("a message has properties that cannot be read", exc_info=True)
    return spec.Basic.Properties(UNREADABLE)


def _is_flat(headers: Mapping[str, object] | None) -> bool:
    """Tell whether a table nests ``MAX_DEPTH`` levels at most; deeper ones exhaust the stack here and there."""
    if not headers:
        return True
    level: list[object] = list(headers.values())
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return True
    return False


def _guarded(take: Callable[..., None], *arguments: object) -> None:
    """An exception would end the connection."""
    try:
        take(*arguments)
    except Exception:
        _logger.exception("a frame was not dealt with")
