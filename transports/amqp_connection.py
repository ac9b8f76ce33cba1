"""An AMQP connection that the asyncio loop drives, after the blocking part is done.

Reads are large, writes are gathered per turn of the loop, heartbeats run on the loop's timers. The loop is the only
owner: everything here runs on it, and nothing blocks or waits for an answer but ``close``, which has a limit.
"""

import asyncio
import logging
import ssl
import struct
from collections.abc import Callable
from typing import Protocol

from gemstone_events.transports.amqp_blocking import HandOver
from gemstone_events.transports.amqp_frames import (
    CONNECTION_BLOCKED,
    CONNECTION_CLOSE,
    CONNECTION_CLOSE_OK,
    CONNECTION_UNBLOCKED,
    HEARTBEAT,
    METHOD,
    FrameError,
    FrameHandler,
    FrameSplitter,
    arguments_of,
    frame,
    method,
    method_number,
)

_logger = logging.getLogger(__name__)

_READ_BYTES = 65536
_HEARTBEAT_FRAME = frame(HEARTBEAT, 0, b"")
_GOODBYE = method(0, CONNECTION_CLOSE, "BsBB", 0, "", 0, 0)
_NOT_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError)
_SILENT_BEATS = 1.5
"""Heartbeats without a byte after which the peer is dead: looked at every half, it is found out within two."""


class Channel(Protocol):
    """What is spoken on one channel of a connection."""

    def frame(self, kind: int, data: bytes, start: int, end: int) -> None:
        """Take a frame, whose payload is ``data[start:end]``."""

    def connection_ended(self) -> None:
        """Nothing comes or goes any more."""


class LoopConnection:
    """One socket, driven by the running loop from ``start`` on.

    Attributes:
        ended: its result says why the connection is no more.
        blocked: why the broker takes no messages at the moment, in its own words; empty where it does.
        sent: bytes that the socket took, of all that were written.
    """

    def __init__(self, handover: HandOver, on_blocked: Callable[[], None]) -> None:
        """``on_blocked`` is called whenever ``blocked`` changed. Call this on the loop."""
        self.frame_max = handover.frame_max
        self.blocked = ""
        self.sent = 0
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._sock = handover.sock
        self._tls = self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        self._heartbeat = handover.heartbeat
        self._held = handover.held
        self._on_blocked = on_blocked
        self._channels: list[Channel] = []
        self._handlers: dict[int, FrameHandler] = {0: self._frame}
        self._splitter = FrameSplitter(self._handlers, handover.frame_max)
        self._out = bytearray()
        self._before_flush: list[Callable[[], None]] = []
        self._after_read: list[Callable[[], None]] = []
        self._flush_due = False
        self._writer_added = False
        self._last_read = self._loop.time()
        self._sent_at_beat = 0
        self._beat: asyncio.TimerHandle | None = None

    @property
    def written(self) -> int:
        """Bytes written so far, sent or not."""
        return self.sent + len(self._out)

    @property
    def buffered(self) -> int:
        """Bytes that the socket did not take yet."""
        return len(self._out)

    def add_channel(self, number: int, channel: Channel) -> None:
        """Have ``channel`` speak on the channel ``number``, which is open already."""
        self._handlers[number] = channel.frame
        self._channels.append(channel)

    def start(self) -> None:
        """Begin to read and to beat."""
        self._loop.add_reader(self._sock, self._readable)
        if self._heartbeat:
            self._beat = self._loop.call_later(self._heartbeat / 2, self._on_beat)
        held, self._held = self._held, b""
        if held:
            self._take(held)
        # What came before may wait in TLS's own buffer, where no selector sees it.
        self._loop.call_soon(self._readable)

    def write(self, frames: bytes | bytearray) -> None:
        """Send whole frames with this turn of the loop. Does nothing after the end."""
        if not self.ended.done():
            self._out += frames
            self._flush_soon()

    def before_flush(self, collect: Callable[[], None]) -> None:
        """Call ``collect`` once, at the end of this turn of the loop, to write what it has gathered by then."""
        self._before_flush.append(collect)
        self._flush_soon()

    def after_read(self, hand_out: Callable[[], None]) -> None:
        """Call ``hand_out`` once, when everything that came with this read is parsed."""
        self._after_read.append(hand_out)

    def flush(self) -> None:
        """Send what is written as far as the socket takes it now."""
        self._flush_due = False
        collectors, self._before_flush = self._before_flush, []
        for collect in collectors:
            collect()
        if not self.ended.done() and not self._writer_added:
            self._send()

    def end(self, reason: str) -> None:
        """Say goodbye without waiting for an answer, and close: the peer is alive, but this is of no more use."""
        if not self.ended.done():
            self.write(_GOODBYE)
            self.flush()
        self.drop(reason)

    async def close(self, timeout: float) -> None:
        """Flush, say goodbye and wait ``timeout`` seconds at most for the answer. Twice is harmless."""
        if not self.ended.done():
            self.flush()
            self.write(_GOODBYE)
            await asyncio.wait([self.ended], timeout=timeout)
        self.drop("closed")

    def drop(self, reason: str) -> None:
        """Close the socket at once. Twice is harmless."""
        if self.ended.done():
            return
        self.ended.set_result(reason)
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        if self._beat is not None:
            self._beat.cancel()
        self._sock.close()
        for channel in self._channels:
            channel.connection_ended()

    def _readable(self) -> None:
        """Read what there is, once: the loop comes back for more, and others have their turn."""
        if self.ended.done():
            return
        try:
            data = self._sock.recv(_READ_BYTES)
            # The rest of a TLS record waits in TLS's own buffer, where no selector sees it; reading it cannot block.
            while data and self._tls is not None and self._tls.pending():
                data += self._tls.recv(self._tls.pending())
        except _NOT_YET:
            return
        except ssl.SSLWantWriteError:
            self._add_writer()
            return
        except OSError as error:
            self.drop(f"the connection broke: {error}")
            return
        if data:
            self._take(data)
        else:
            self.drop("the broker closed the connection without a word")

    def _take(self, data: bytes) -> None:
        self._last_read = self._loop.time()
        try:
            self._splitter.feed(data)
        except (FrameError, IndexError, ValueError, struct.error) as error:
            self.drop(f"what came is not AMQP: {error}")
        handing_out, self._after_read = self._after_read, []
        for hand_out in handing_out:
            hand_out()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self.flush)

    def _send(self) -> None:
        try:
            while self._out:
                count = self._sock.send(self._out)
                self.sent += count
                del self._out[:count]
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
            self._add_writer()
        except ssl.SSLWantReadError:
            # TLS must read first; until then the socket would be found writable for nothing.
            self._loop.call_later(0.01, self._flush_soon)
        except OSError as error:
            self.drop(f"the connection broke: {error}")

    def _add_writer(self) -> None:
        if not self._writer_added:
            self._writer_added = True
            self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        self._writer_added = False
        self._loop.remove_writer(self._sock)
        self._send()
        if self._tls is not None:
            self._readable()

    def _on_beat(self) -> None:
        self._beat = self._loop.call_later(self._heartbeat / 2, self._on_beat)
        # A loop that was held up finds its timers due before it looked at its sockets.
        self._readable()
        if self.ended.done():
            return
        silent = self._loop.time() - self._last_read
        if silent >= _SILENT_BEATS * self._heartbeat:
            self.drop(f"the broker has been silent for {silent:.0f} s (heartbeat {self._heartbeat:g} s)")
            return
        if self.written == self._sent_at_beat:
            self.write(_HEARTBEAT_FRAME)
        self._sent_at_beat = self.written

    def _frame(self, kind: int, data: bytes, start: int, end: int) -> None:
        """Take a frame of channel 0."""
        if kind != METHOD:
            return
        number = method_number(data, start)
        if number == CONNECTION_CLOSE:
            code, text, *_ = arguments_of(data, start, end, "BsBB")
            self.write(method(0, CONNECTION_CLOSE_OK))
            self.flush()
            self.drop(f"the broker closed the connection: {text} ({code})")
        elif number == CONNECTION_CLOSE_OK:
            self.drop("closed")
        elif number == CONNECTION_BLOCKED:
            self.blocked = str(arguments_of(data, start, end, "s")[0]) or "no reason given"
            _logger.warning("the broker takes no messages: %s", self.blocked)
            self._on_blocked()
        elif number == CONNECTION_UNBLOCKED:
            self.blocked = ""
            _logger.info("the broker takes messages again")
            self._on_blocked()
