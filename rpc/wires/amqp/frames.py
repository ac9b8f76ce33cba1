"""Frames, the units in which AMQP 0-9-1 is written (section 4.2.3): kind, channel, size, payload, end."""

import struct

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
KINDS = (METHOD, HEADER, BODY, HEARTBEAT)
HEAD = struct.Struct(">BHI")
END = b"\xce"


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Return a frame."""
    return HEAD.pack(kind, channel, len(payload)) + payload + END
