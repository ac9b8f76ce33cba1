"""Messages to AMQP content and back: the CloudEvents AMQP protocol binding 1.0.2, binary mode (section 3.1).

``datacontenttype`` is the property content-type; every other attribute is a header with the prefix ``cloudEvents:``
(``cloudEvents_`` is read as well). The properties message-id, type and app-id repeat what plain AMQP tools look for.

Both directions are run through for every message. They are quick because most of an event's attributes are those of
the event before: what repeats is encoded once and kept, stands first in the header table, and is recognised there by
comparing bytes.
"""

import base64
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from struct import Struct

from gemstone_events.message import Message
from gemstone_events.transports.amqp_frames import (
    BASIC_PUBLISH,
    BODY,
    FRAME_OVERHEAD,
    HEADER,
    METHOD,
    U16,
    U32,
    U64,
    frame,
    short_string,
    skip_short_string,
)

PREFIX = "cloudEvents:"
_PREFIXES = (b"cloudEvents:", b"cloudEvents_")

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
_PRIORITY, _CORRELATION_ID, _REPLY_TO, _EXPIRATION = 1 << 11, 1 << 10, 1 << 9, 1 << 8
_MESSAGE_ID, _TIMESTAMP, _TYPE, _APP_ID = 1 << 7, 1 << 6, 1 << 5, 1 << 3
_MANDATORY = b"\x01"

_CONTENT_HEAD = Struct(">BHIIQH")
"""A header frame's first fields: type, channel, size; class and weight, body size, property flags."""
_BASIC = 60 << 16
_FLAGS_AT = 12
_PROPERTIES_AT = 14

_VARYING = frozenset(
    ("id", "time", "correlationid", "causationid", "traceparent", "sequence", "partitionkey", "subject")
)
"""Attributes that hardly ever repeat: encoded every time, and placed behind those that do."""
_CACHED = 4096
"""Entries of a cache, at most; a full one is emptied. It fills only where something repeats less than expected."""

_LONGEST_BEGINNING = 1024
"""Bytes of a header table's beginning that are worth remembering."""

# Field types of RabbitMQ's dialect (its "AMQP 0-9-1 Errata", section 3): fixed sizes, and those with a length in front.
_STRING, _BOOLEAN, _TIME, _BYTES = (ord(letter) for letter in "StTx")
_SIZES = {
    ord(letter): size
    for size, letters in enumerate(("V", "tbB", "su", "", "Iif", "D", "", "", "lLdT"))
    for letter in letters
}
_LONG = frozenset(ord(letter) for letter in "SxFA")
_NUMBERS = {
    ord(letter): Struct(form)
    for letter, form in {"b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">q"}.items()
}


class MessageEncoder:
    """Turns messages into the frames that publish them on one channel."""

    def __init__(
        self, channel: int, frame_max: int, exchange: str, work_queue_name: Callable[[str], str], client: str
    ) -> None:
        """``exchange`` takes the broadcast messages; the others go to the queue that ``work_queue_name`` names."""
        self._channel = channel
        self._payload_max = frame_max - FRAME_OVERHEAD
        self._exchange = exchange
        self._work_queue_name = work_queue_name
        self._app_id = short_string(client[:60])
        self._varying = {name: short_string(PREFIX + name) + b"S" for name in _VARYING}
        self._repeated: dict[tuple[str, str], bytes] = {}
        self._routes: dict[tuple[str, bool], tuple[bytes, bytes]] = {}

    def frames(self, message: Message) -> bytes:
        """Return the frames of basic.publish, its content header and its body.

        Raises:
            ValueError: AMQP cannot carry it: an attribute's name or the type is too long, all of them together are, or
                a text cannot be encoded.
        """
        attributes = message.attributes
        route = self._routes.get((message.type, message.broadcast)) or self._route(message)
        table, content_type = self._table(attributes)
        message_id = attributes.get("id", "").encode()
        if len(message_id) > 255:
            message_id = b""
        flags = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID | _TYPE | _APP_ID
        if content_type:
            flags |= _CONTENT_TYPE
        properties = b"%b%b%b\x02%c%b%b" % (
            content_type,
            U32.pack(len(table)),
            table,
            len(message_id),
            message_id,
            route[1],
        )
        size = _PROPERTIES_AT + len(properties)
        if size > self._payload_max:
            raise ValueError(f"its attributes take {size} bytes where one AMQP frame has room for {self._payload_max}")
        body = message.body
        return b"%b%b%b\xce%b" % (
            route[0],
            _CONTENT_HEAD.pack(HEADER, self._channel, size, _BASIC, len(body), flags),
            properties,
            frame(BODY, self._channel, body) if 0 < len(body) <= self._payload_max else self._body_frames(body),
        )

    def _table(self, attributes: Mapping[str, str]) -> tuple[bytes, bytes]:
        """Return the header table's entries and the content type."""
        varying, repeated = self._varying, self._repeated
        first: list[bytes] = []
        last: list[bytes] = []
        for item in attributes.items():
            name = item[0]
            key = varying.get(name)
            if key is not None:
                raw = item[1].encode()
                last.append(key + U32.pack(len(raw)) + raw)
            elif name != "datacontenttype":
                first.append(repeated.get(item) or self._remembered(item))
        content_type = attributes.get("datacontenttype")
        first += last
        return b"".join(first), b"" if content_type is None else short_string(content_type)

    def _remembered(self, item: tuple[str, str]) -> bytes:
        name, value = item
        raw = value.encode()
        encoded = short_string(PREFIX + name) + b"S" + U32.pack(len(raw)) + raw
        if len(self._repeated) >= _CACHED:
            self._repeated.clear()
        self._repeated[item] = encoded
        return encoded

    def _route(self, message: Message) -> tuple[bytes, bytes]:
        """Return the method frame for this type of message, and the properties that follow from the type."""
        name = message.type
        exchange = self._exchange if message.broadcast else ""
        routing_key = name if message.broadcast else self._work_queue_name(name)
        # A broadcast that nobody subscribed to is nothing wrong; work that no queue takes would be lost.
        bits = b"\0" if message.broadcast else _MANDATORY
        arguments = b"\0\0" + short_string(exchange) + short_string(routing_key) + bits
        route = (
            frame(METHOD, self._channel, U32.pack(BASIC_PUBLISH) + arguments),
            short_string(name) + self._app_id,
        )
        if len(self._routes) >= _CACHED:
            self._routes.clear()
        self._routes[name, message.broadcast] = route
        return route

    def _body_frames(self, body: bytes) -> bytes:
        step = self._payload_max
        return b"".join(frame(BODY, self._channel, body[at : at + step]) for at in range(0, len(body), step))


class AttributeDecoder:
    """Reads the attributes out of content headers.

    Whatever strangers send becomes attributes: those that could be read, and a ``datacontenttype`` that no codec
    accepts where the content must not be taken for what it says it is.
    """

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._begun: dict[bytes, tuple[bytes, dict[str, str]]] = {}

    def attributes(self, data: bytes, start: int, end: int, route: bytes) -> dict[str, str]:
        """Return the attributes in the header frame whose payload is ``data[start:end]``; it never fails.

        Args:
            route: exchange and routing key as they came; the header tables of one route tend to begin alike.
        """
        found: dict[str, str] = {}
        try:
            self._read(data, start, end, route, found)
        except (IndexError, ValueError, OverflowError, struct.error):
            found["datacontenttype"] = "unreadable AMQP properties"
        return found

    def _read(self, data: bytes, start: int, end: int, route: bytes, found: dict[str, str]) -> None:
        flags: int = U16.unpack_from(data, start + _FLAGS_AT)[0]
        position = start + _PROPERTIES_AT
        content_type = content_encoding = ""
        compressed = False
        if flags & _CONTENT_TYPE:
            content_type, position = _text(data, position)
        if flags & _CONTENT_ENCODING:
            content_encoding, position = _text(data, position)
        if flags & _HEADERS:
            table_end = position + 4 + U32.unpack_from(data, position)[0]
            if table_end > end:
                raise ValueError("the header table is cut off")
            compressed = self._read_table(data, position + 4, table_end, route, found)
            position = table_end
        if content_type:
            found["datacontenttype"] = content_type
        # kombu would decompress before any check (P55); nobody here does, and the codec must not see plain JSON.
        if compressed or content_encoding.lower() not in ("", "utf-8", "utf8"):
            how = "compressed" if compressed else f"content-encoding {content_encoding[:40]!r} of"
            found["datacontenttype"] = f"{how} {content_type!r}"
        if "id" not in found or "type" not in found:
            _read_plain(data, position, flags, found)

    def _read_table(self, data: bytes, position: int, end: int, route: bytes, found: dict[str, str]) -> bool:
        """Read a header table (section 4.2.5.5) and tell whether it has a header ``compression``."""
        known = self._begun.get(route)
        if known is not None and position + len(known[0]) <= end and data.startswith(known[0], position):
            found.update(known[1])
            return self._read_entries(data, position + len(known[0]), end, found)[0]
        compressed, repeats_to = self._read_entries(data, position, end, found)
        begun = data[position:repeats_to]
        if len(begun) <= _LONGEST_BEGINNING:
            if len(self._begun) >= _CACHED:
                self._begun.clear()
            # Read again alone: attributes that repeat may also stand behind one that varies.
            repeated: dict[str, str] = {}
            self._read_entries(begun, 0, len(begun), repeated)
            self._begun[route] = (begun, repeated)
        return compressed

    def _read_entries(self, data: bytes, position: int, end: int, found: dict[str, str]) -> tuple[bool, int]:
        """Read entries; return whether one is ``compression``, and where those that repeat end."""
        names = self._names
        compressed = False
        repeats_to = -1
        while position < end:
            began = position
            position += 1 + data[position]
            key = data[began + 1 : position]
            kind = data[position]
            name = names.get(key) or self._name(key)
            if kind == _STRING:
                start = position + 5
                position = start + U32.unpack_from(data, position + 1)[0]
                if name:
                    found[name] = data[start:position].decode()
            else:
                start = position + 1
                position = _end_of_value(data, position)
                if name:
                    _keep_as_text(kind, data, start, found, name)
            if position > end:
                raise ValueError("a header is cut off")
            compressed = compressed or key == b"compression"
            if repeats_to < 0 and (kind != _STRING or not name or name in _VARYING):
                repeats_to = began
        return compressed, position if repeats_to < 0 else repeats_to

    def _name(self, key: bytes) -> str:
        """Return the attribute that a header holds, or an empty string."""
        if not key.startswith(_PREFIXES):
            return ""
        name = key[len(PREFIX) :].decode()
        if len(self._names) < _CACHED:
            self._names[key] = name
        return name


def _text(data: bytes, position: int) -> tuple[str, int]:
    end = position + 1 + data[position]
    return data[position + 1 : end].decode(), end


def _end_of_value(data: bytes, position: int) -> int:
    """Return where the field value ends whose type stands at ``position``."""
    size = _SIZES.get(data[position])
    if size is not None:
        return position + 1 + size
    if data[position] not in _LONG:
        raise ValueError("a header has an unknown type")
    length: int = U32.unpack_from(data, position + 1)[0]
    return position + 5 + length


def _keep_as_text(kind: int, data: bytes, start: int, found: dict[str, str], name: str) -> None:
    """Write a value as CloudEvents 1.0, section 3.1, does; one of a type that it does not know is dropped."""
    number = _NUMBERS.get(kind)
    if number is not None:
        found[name] = str(number.unpack_from(data, start)[0])
    elif kind == _BOOLEAN:
        found[name] = "true" if data[start] else "false"
    elif kind == _TIME:
        found[name] = datetime.fromtimestamp(U64.unpack_from(data, start)[0], UTC).isoformat()
    elif kind == _BYTES:
        length = U32.unpack_from(data, start)[0]
        found[name] = base64.b64encode(data[start + 4 : start + 4 + length]).decode()


def _read_plain(data: bytes, position: int, flags: int, found: dict[str, str]) -> None:
    """Take id and type from the properties message-id and type, where a plain AMQP client set only those."""
    if flags & _DELIVERY_MODE:
        position += 1
    if flags & _PRIORITY:
        position += 1
    for skipped in (_CORRELATION_ID, _REPLY_TO, _EXPIRATION):
        if flags & skipped:
            position = skip_short_string(data, position)
    if flags & _MESSAGE_ID:
        text, position = _text(data, position)
        found.setdefault("id", text)
    if flags & _TIMESTAMP:
        position += 8
    if flags & _TYPE:
        found.setdefault("type", _text(data, position)[0])
