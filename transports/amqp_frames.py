"""AMQP 0-9-1 frames (section 4.2): cut out of a stream of bytes, and the few that are written all the time.

py-amqp reads every frame part by part and builds every method through a general encoder; these do what happens
thousands of times a second, and leave the rest to it.
"""

from collections.abc import Callable
from struct import Struct
from typing import TypeAlias

from amqp.serialization import dumps, loads

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
FRAME_OVERHEAD = 8

# Class and method id as they stand on the wire, in one number.
CONNECTION_CLOSE = 10 << 16 | 50
CONNECTION_CLOSE_OK = 10 << 16 | 51
CONNECTION_BLOCKED = 10 << 16 | 60
CONNECTION_UNBLOCKED = 10 << 16 | 61
CHANNEL_CLOSE = 20 << 16 | 40
BASIC_CANCEL_BY_CLIENT = BASIC_CANCEL_BY_BROKER = 60 << 16 | 30
BASIC_PUBLISH = 60 << 16 | 40
BASIC_RETURN = 60 << 16 | 50
BASIC_DELIVER = 60 << 16 | 60
BASIC_ACK = 60 << 16 | 80
BASIC_NACK = 60 << 16 | 120

U16 = Struct(">H")
U32 = Struct(">I")
U64 = Struct(">Q")
_FRAME_HEAD = Struct(">BHI")
_SETTLE = Struct(">BHIIQBB")

FrameHandler: TypeAlias = Callable[[int, bytes, int, int], None]
"""Takes a frame's type, and the bytes that hold its payload with the payload's start and end."""


class FrameError(Exception):
    """The bytes are no AMQP frames; the stream cannot be read on."""


class FrameSplitter:
    """Cuts a stream into frames and gives each to its channel's handler."""

    def __init__(self, handlers: dict[int, FrameHandler], frame_max: int) -> None:
        """``handlers`` is read while it grows; ``frame_max`` is the negotiated limit in bytes."""
        self._handlers = handlers
        self._frame_max = frame_max
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream, and keep those of an unfinished frame for the next call.

        Raises:
            FrameError: the stream is broken, or uses a channel that is not open.
        """
        if self._rest:
            data = self._rest + data
        unpack, handlers = _FRAME_HEAD.unpack_from, self._handlers
        position, length = 0, len(data)
        while length - position >= FRAME_OVERHEAD:
            kind, channel, size = unpack(data, position)
            start = position + 7
            end = start + size
            if end >= length:
                if size > self._frame_max:
                    raise FrameError(f"a frame of {size} bytes is larger than the agreed {self._frame_max}")
                break
            if data[end] != FRAME_END:
                raise FrameError("a frame does not end with its end mark")
            handler = handlers.get(channel)
            if handler is None:
                raise FrameError(f"a frame came on channel {channel}, which is not open")
            handler(kind, data, start, end)
            position = end + 1
        self._rest = data[position:]


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Return one frame."""
    return b"%b%b\xce" % (_FRAME_HEAD.pack(kind, channel, len(payload)), payload)


def method(channel: int, number: int, form: str = "", *arguments: object) -> bytes:
    """Return the frame of a method, its arguments encoded by py-amqp; ``form`` is py-amqp's notation."""
    return frame(METHOD, channel, U32.pack(number) + (dumps(form, arguments) if form else b""))


def arguments_of(data: bytes, start: int, end: int, form: str) -> list[object]:
    """Return the arguments of the method frame whose payload is ``data[start:end]``."""
    values, _ = loads(form, data[start:end], 4)
    return list(values)


def method_number(data: bytes, start: int) -> int:
    """Return class and method id of a method frame in one number."""
    number: int = U32.unpack_from(data, start)[0]
    return number


def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Return basic.ack for one delivery, or for it and all before it."""
    return _SETTLE.pack(METHOD, channel, 13, BASIC_ACK, tag, multiple, FRAME_END)


def give_back(channel: int, tag: int) -> bytes:
    """Return basic.nack with requeue for one delivery.

    Not basic.reject: RabbitMQ 4.3 counts that against the delivery limit, as a failed attempt; what is given back
    here was not handled at all.
    """
    return _SETTLE.pack(METHOD, channel, 13, BASIC_NACK, tag, 2, FRAME_END)


def short_string(text: str) -> bytes:
    """Return AMQP's short string.

    Raises:
        ValueError: it is longer than 255 bytes.
    """
    raw = text.encode()
    if len(raw) > 255:
        raise ValueError(f"{text[:40]!r}... takes {len(raw)} bytes where AMQP allows 255")
    return b"%c%b" % (len(raw), raw)


def skip_short_string(data: bytes, position: int) -> int:
    """Return where the short string at ``position`` ends."""
    return position + 1 + data[position]
