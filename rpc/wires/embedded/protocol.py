"""What both ends of a connection of the embedded bus have in common: frames in, frames out."""

import asyncio
import logging
from typing import cast

from gemstone_events.rpc.wires.embedded.frames import Frame, FrameError, FrameReader, Kind

_HIGH_WATER = 1024 * 1024

_logger = logging.getLogger("gemstone_events.rpc.bus")


class FrameProtocol(asyncio.Protocol):
    """One end of a connection. A subclass says what becomes of frames that come in.

    Args:
        kinds: what may come in.
        body_bytes: the longest body that is taken.

    Attributes:
        is_open: the connection is made and not lost.
        is_stuck: the other end does not read: what is sent now waits in memory.
        closed: set when the connection is lost.
    """

    def __init__(self, kinds: frozenset[Kind], body_bytes: int) -> None:
        self.is_open = False
        self.is_stuck = False
        self.closed = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self._reader = FrameReader(kinds, body_bytes)
        self._outgoing: list[bytes] = []

    def frame_received(self, frame: Frame) -> None:
        """Take a frame; raises ``FrameError`` where it makes no sense."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``. What is no frame ends the connection."""
        try:
            for frame in self._reader.feed(data):
                self.frame_received(frame)
        except FrameError as error:
            _logger.warning("a connection of the bus was closed, for what came is no frame: %s", error)
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self.is_open = False
        self.closed.set()

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self.is_stuck = True

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self.is_stuck = False

    def send(self, frame: bytes) -> None:
        """Send a frame, with those of the same turn of the event loop; where the connection is lost, to nobody."""
        if not self._outgoing:
            self.loop.call_soon(self.flush)
        self._outgoing.append(frame)

    def flush(self) -> None:
        """Hand what was sent to the connection."""
        frames, self._outgoing = self._outgoing, []
        if self.transport is not None and frames and self.is_open:
            self.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))

    async def close(self, patience: float) -> None:
        """Send what waits, for ``patience`` seconds at most, and disconnect. Twice is harmless."""
        if self.transport is None:
            return
        self.flush()
        self.transport.close()
        try:
            async with asyncio.timeout(patience):
                await self.closed.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Disconnect at once."""
        self.is_open = False
        if self.transport is not None:
            self.transport.abort()
