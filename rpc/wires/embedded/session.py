"""The server's end of a connection of the embedded bus: one client, and its calls that wait for their turn."""

import asyncio
import math
import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gemstone_events.rpc.call_context import CallContext, read_timeout
from gemstone_events.rpc.wires.embedded.folder import peer_of
from gemstone_events.rpc.wires.embedded.frames import FROM_CLIENT, Frame, Kind, read_headers, write_frame
from gemstone_events.rpc.wires.embedded.protocol import FrameProtocol

WIRE = "bus"
_STUCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """A call that came in.

    Attributes:
        number: what its client calls it.
        body: what to carry out.
        headers: what came with it.
        expires: when its client gives it up, by the event loop's clock.
    """

    number: int
    body: bytes
    headers: Mapping[str, str]
    expires: float


class CallTaker(Protocol):
    """What a session brings its calls to."""

    def admit(self, session: "ServerSession") -> bool:
        """Tell whether there is room for one more client."""

    def leave(self, session: "ServerSession") -> None:
        """Take notice that a client is gone."""

    def take(self, session: "ServerSession", call: Call) -> None:
        """Carry out a call now, or add it to the session's ``waiting``, or refuse it."""

    def go_on(self, session: "ServerSession") -> None:
        """Carry out what waits, as far as there is room."""

    def presence(self) -> bytes | None:
        """Return who this is, or None where it cannot be said."""


class ServerSession(FrameProtocol):
    """A connection from a client.

    It is not read while calls of it wait for their turn, or while the client does not read its answers; one that does
    not read for half a minute is thrown out. So each client holds a bounded part of the server's memory.

    Args:
        taker: carries out the calls.
        body_bytes: the longest body that is taken.

    Attributes:
        peer: who is at the other end, as the kernel knows it.
        waiting: calls for which there was no room yet.
    """

    def __init__(self, taker: CallTaker, body_bytes: int) -> None:
        super().__init__(FROM_CLIENT, body_bytes)
        self.peer = ""
        self.waiting: deque[Call] = deque()
        self._taker = taker
        self._body_bytes = body_bytes
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        if not self._taker.admit(self):
            self.send(write_frame(Kind.GOODBYE))
            self.flush()
            transport.close()
            return
        self.peer = _shown_peer(transport.get_extra_info("socket").fileno())
        self.send(write_frame(Kind.HELLO))

    def connection_lost(self, error: Exception | None) -> None:
        """See ``asyncio.Protocol``. What was begun goes on; what waited is not begun."""
        super().connection_lost(error)
        self.waiting.clear()
        self._set_stuck_timer(None)
        self._taker.leave(self)

    def frame_received(self, frame: Frame) -> None:
        """See ``FrameProtocol``."""
        if frame.kind == Kind.ASK:
            presence = self._taker.presence()
            kind = Kind.NOTHING if presence is None else Kind.PRESENCE
            self.send(write_frame(kind, frame.call, b"", presence or b""))
        elif frame.is_too_long:
            self.refuse(frame.call, f"the body has {frame.length} bytes, and the service takes {self._body_bytes}")
        else:
            headers = read_headers(frame.headers)
            seconds = frame.expires - time.time()
            if (timeout := read_timeout(headers)) is not None:
                seconds = min(seconds, timeout)
            self._taker.take(self, Call(frame.call, frame.body, headers, self.loop.time() + seconds))

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        super().pause_writing()
        self._set_stuck_timer(self.loop.call_later(_STUCK_SECONDS, self.abort))
        self.update_reading()

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        super().resume_writing()
        self._set_stuck_timer(None)
        self._taker.go_on(self)
        self.update_reading()

    def update_reading(self) -> None:
        """Read on, or stop reading, as it is now."""
        if self.transport is None or self.transport.is_closing():
            return
        if self.waiting or self.is_stuck:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def context_of(self, call: Call) -> CallContext:
        """Return what the service is told of a call that begins now."""
        timeout = call.expires - self.loop.time()
        return CallContext(WIRE, call.headers, self.peer, timeout=timeout if math.isfinite(timeout) else None)

    def answer(self, call: Call, body: bytes | None) -> None:
        """Send what came of a call."""
        kind = Kind.NOTHING if body is None else Kind.ANSWER
        self.send(write_frame(kind, call.number, b"", body or b""))

    def refuse(self, number: int, reason: str = "") -> None:
        """Say that a call was not begun, and why, where another instance would do the same."""
        self.send(write_frame(Kind.REFUSED, number, b"", reason.encode()))

    def lose(self, call: Call) -> None:
        """Say that nobody knows what came of a call."""
        self.send(write_frame(Kind.LOST, call.number))

    def _set_stuck_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        self._stuck = timer


def _shown_peer(descriptor: int) -> str:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            peer = peer_of(connection)
    except OSError:
        peer = None  # no descriptor is left: nobody goes without an answer for that
    return "unix:" if peer is None else f"unix:uid={peer[1]}"
