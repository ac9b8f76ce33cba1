"""What goes over a connection of the embedded bus: frames of a fixed head, headers in JSON, and a body.

    byte 0        version, 1
    byte 1        kind
    bytes 2..3    length of the headers, at most 16 KiB
    bytes 4..7    length of the body
    bytes 8..15   id of the call, chosen by the client
    bytes 16..23  when the call expires, in seconds since 1970 as a double: both ends read the clock of one machine, and
                  a frame may lie in the socket for longer than its caller waits

Numbers are in network byte order. The server greets first. Calls are answered in any order.
"""

import math
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from gemstone_events import strict_json

MAX_HEADER_BYTES = 16 * 1024
_VERSION = 1
_HEAD = struct.Struct("!BBHIQd")
_NO_HEADERS: Mapping[str, str] = {}


class Kind(IntEnum):
    """What a frame means."""

    HELLO = 1
    """Server: calls are taken from now on."""
    CALL = 2
    """Client: carry out the body."""
    ANSWER = 3
    """Server: the call was carried out; the body is its answer."""
    NOTHING = 4
    """Server: the call was carried out, and there is nothing to answer."""
    REFUSED = 5
    """Server: the call was not begun, and will not be; the body says why where another instance would refuse, too."""
    LOST = 6
    """Server: the call was begun and given up; nobody knows how far it came."""
    GOODBYE = 7
    """Server: send no more calls here; those that were begun are finished."""
    ASK = 8
    """Client: who are you?"""
    PRESENCE = 9
    """Server: the body says who."""


FROM_CLIENT = frozenset({Kind.CALL, Kind.ASK})
FROM_SERVER = frozenset(Kind) - FROM_CLIENT


class FrameError(Exception):
    """What came in is no frame, or may not come from that side: the connection is of no use any more."""


class Frame(NamedTuple):
    """A frame that came in.

    Attributes:
        kind: a ``Kind``.
        call: id of the call.
        expires: when it is given up, seconds since 1970; may be any number.
        headers: as they came.
        body: what came; empty where it ``is_too_long``.
        length: length of the body as the sender said.
    """

    kind: int
    call: int
    expires: float
    headers: bytes
    body: bytes
    length: int

    @property
    def is_too_long(self) -> bool:
        """The body has more bytes than are taken: it was skipped."""
        return self.length != len(self.body)


class FrameReader:
    """Cuts what comes in into frames, and holds one frame at most.

    Args:
        kinds: what may come from that side.
        body_bytes: the longest body that is taken; a longer one is skipped.
    """

    def __init__(self, kinds: frozenset[Kind], body_bytes: int) -> None:
        self._kinds = kinds
        self._body_bytes = body_bytes
        self._buffer = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that ``data`` completes.

        Raises:
            FrameError: it breaks the rules.
        """
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        with memoryview(buffer) as view:
            while True:
                if self._skip:
                    step = min(self._skip, len(buffer) - start)
                    self._skip -= step
                    start += step
                if self._skip or len(buffer) == start:
                    break
                if buffer[start] != _VERSION:
                    raise FrameError(f"version {buffer[start]}")
                if len(buffer) - start < _HEAD.size:
                    break
                _, kind, header_length, length, call, expires = _HEAD.unpack_from(buffer, start)
                if kind not in self._kinds or header_length > MAX_HEADER_BYTES:
                    raise FrameError(f"kind {kind}, {header_length} bytes of headers")
                headers_start = start + _HEAD.size
                body_start = headers_start + header_length
                taken = length if length <= self._body_bytes else 0
                end = body_start + taken
                if end > len(buffer):
                    break
                headers, body = bytes(view[headers_start:body_start]), bytes(view[body_start:end])
                frames.append(Frame(kind, call, expires, headers, body, length))
                self._skip = length - taken
                start = end
        del buffer[:start]
        return frames


def write_frame(kind: Kind, call: int = 0, headers: bytes = b"", body: bytes = b"", expires: float = math.inf) -> bytes:
    """Return a frame."""
    return _HEAD.pack(_VERSION, kind, len(headers), len(body), call, expires) + headers + body


def write_headers(headers: Mapping[str, str]) -> bytes:
    """Return headers as they stand in a frame.

    Raises:
        ValueError: they are too long, or no text.
    """
    raw = strict_json.dumps(headers)
    if len(raw) > MAX_HEADER_BYTES:
        raise ValueError(f"the headers have {len(raw)} bytes, and the bus takes {MAX_HEADER_BYTES}")
    return raw


def read_headers(raw: bytes) -> Mapping[str, str]:
    """Return the headers of a frame.

    Raises:
        FrameError: they are no JSON object of texts.
    """
    if not raw:
        return _NO_HEADERS
    try:
        members = strict_json.loads(raw, 2)
    except ValueError as error:
        raise FrameError(f"headers that are no JSON: {error}") from error
    if not isinstance(members, dict):
        raise FrameError("headers that are no object")
    headers: dict[str, str] = {}
    for name, value in members.items():
        if not isinstance(value, str):
            raise FrameError(f"header {name[:80]!r} is no text")
        headers[name.lower()] = value
    return headers
