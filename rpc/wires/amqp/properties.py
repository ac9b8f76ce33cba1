"""The properties of messages, to bytes and back (AMQP 0-9-1, section 4.2.6.1).

pamqp does both for whatever there is, property by property, and that is a tenth of the time of a call. Texts and small
numbers, which is what calls and answers have, are written and read here; tables and times are left to pamqp.
"""

import struct

from pamqp import commands as spec
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from gemstone_events.rpc.wires.amqp.frames import HEADER, frame

_BASIC = 60
_START = struct.Struct(">HHQH")

# In the order in which they are written; the first has the highest flag.
_NAMES = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "message_type",
    "user_id",
    "app_id",
)
_TEXTS = [
    (1 << (15 - place), name)
    for place, name in enumerate(_NAMES)
    if name not in ("headers", "delivery_mode", "priority", "timestamp")
]
_ONLY_TEXTS = sum(flag for flag, _ in _TEXTS)


def header_frame(channel: int, body_size: int, properties: spec.Basic.Properties) -> bytes:
    """Return the frame of a message's content header.

    Raises:
        ValueError, TypeError: a property cannot be written.
    """
    if properties.headers or properties.delivery_mode or properties.priority or properties.timestamp:
        return marshal(ContentHeader(properties=properties, body_size=body_size), channel)
    flags = 0
    texts: list[bytes] = []
    for flag, name in _TEXTS:
        value: str | None = getattr(properties, name)
        if value:
            flags |= flag
            text = value.encode()
            texts.append(bytes((len(text),)))  # more than 255 bytes are a ValueError
            texts.append(text)
    payload = _START.pack(_BASIC, 0, body_size, flags) + b"".join(texts)
    return frame(HEADER, channel, payload)


def read_properties(payload: bytes) -> spec.Basic.Properties:
    """Return the properties in the payload of a content header.

    Raises:
        Exception: of whatever kind, where they cannot be read.
    """
    flags = _START.unpack_from(payload)[3]
    if flags & ~_ONLY_TEXTS:
        header = ContentHeader()
        header.unmarshal(payload)
        return header.properties
    found = spec.Basic.Properties()
    at = _START.size
    for flag, name in _TEXTS:
        if flags & flag:
            end = at + 1 + payload[at]
            setattr(found, name, payload[at + 1 : end].decode())
            at = end
    return found
