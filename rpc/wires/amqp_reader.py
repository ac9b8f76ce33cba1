"""Reading from RabbitMQ so that no message of a stranger can end the connection.

The broker passes on property names and texts that are not UTF-8, times beyond the calendar and tables of any depth. On
such a message pamqp fails and aiormq gives up the connection; the broker then hands the message out again, and so on for
ever. ``CarefulReader`` looks at each message's properties first, and puts others in the place of what cannot be read.
"""

import asyncio
import struct
from collections.abc import Mapping
from typing import cast

from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from pamqp.header import ContentHeader
from yarl import URL

UNREADABLE = "unreadable"
"""The content type of a message whose properties could not be read; it has no others."""
MAX_DEPTH = 32

_READ_AHEAD = 256 * 1024
_HEAD = struct.Struct(">BHI")
_FLAGS = struct.Struct(">H")
_FLAGS_AT = 12
# Properties (AMQP 0-9-1, class basic): a table, a time, or more flags to follow.
_NEEDS_CARE = 1 << 13 | 1 << 6 | 1
_METHOD, _HEADER, _BODY = 1, 2, 3
_DELIVER = struct.pack(">HH", 60, 60)
_CONTENT_TYPE_ONLY = b"\x80\x00" + bytes([len(UNREADABLE)]) + UNREADABLE.encode()


class CarefulReader(asyncio.StreamReader):
    """Hands out frames (AMQP 0-9-1, section 4.2.3) of which aiormq can read each."""

    _frame = b""
    _at = 0
    _is_body_next = False

    async def readexactly(self, n: int) -> bytes:
        """Return the next ``n`` bytes, which aiormq asks for in pieces of one frame."""
        if self._is_body_next and self._at == len(self._frame):
            self._is_body_next = False
            return await super().readexactly(n)
        if self._at == len(self._frame):
            self._frame, self._at = await self._next(), 0
        start, self._at = self._at, self._at + n
        return self._frame[start : self._at]

    async def _next(self) -> bytes:
        head = await super().readexactly(_HEAD.size)
        kind, channel, size = _HEAD.unpack(head)
        if kind not in (_METHOD, _HEADER):
            # The frames of bodies are long, and are not copied; and what is no AMQP is aiormq's to refuse.
            self._is_body_next = kind == _BODY
            if self._is_body_next or head.startswith(b"AMQP"):
                return head
        rest = await super().readexactly(size + 1)
        if kind == _HEADER:
            changed = _readable_header(rest)
        elif rest.startswith(_DELIVER):
            changed = _readable_delivery(rest)
        else:
            changed = rest
        return (head if changed is rest else _HEAD.pack(kind, channel, len(changed) - 1)) + changed


class CarefulTransport(TransportFactory):
    """Connects aiormq through a ``CarefulReader``.

    Attributes:
        transport: the connection's, once there is one.
    """

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None

    async def create(self, url: URL, **kwargs: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; aiormq calls this."""
        loop = asyncio.get_running_loop()
        provider = cast(SSLContextProvider, kwargs["ssl_context_provider"])
        context = await provider.get_context() if url.scheme == "amqps" else None
        reader = CarefulReader(limit=_READ_AHEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            transport, _ = await loop.create_connection(lambda: protocol, url.host or "", url.port or 0, ssl=context)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.transport = transport
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def abort(self) -> None:
        """Close the socket without a word, if it is still open."""
        if self.transport is not None:
            self.transport.abort()


def _readable_header(rest: bytes) -> bytes:
    """Return the payload of a content header, and the frame's end, without properties that cannot be read."""
    (flags,) = _FLAGS.unpack_from(rest, _FLAGS_AT)
    if not flags & _NEEDS_CARE and rest[_FLAGS_AT + 2 : -1].isascii():
        return rest  # texts and small numbers only, as an answer has them: no need to read it twice
    header = ContentHeader()
    try:
        header.unmarshal(rest[:-1])
        is_readable = _is_flat(header.properties.headers)
    except Exception:  # noqa: BLE001 - whatever it is, aiormq would fail of it
        is_readable = False
    return rest if is_readable else rest[:_FLAGS_AT] + _CONTENT_TYPE_ONLY + rest[-1:]


def _readable_delivery(rest: bytes) -> bytes:
    """Return the payload of Basic.Deliver, and the frame's end, without an exchange and routing key that are not ASCII.

    They follow the consumer's tag, eight bytes of delivery tag and one of bits, and nobody needs them here.
    """
    names = 5 + rest[4] + 9
    return rest if rest[names:-1].isascii() else rest[:names] + b"\x00\x00" + rest[-1:]


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
