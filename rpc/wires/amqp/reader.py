"""Reading from RabbitMQ: the frames of messages go to whoever takes them, all others to aiormq.

aiormq reads piece by piece, hands each frame to a queue and each message to a task; and it gives the connection up at a
message whose properties it cannot read, which the broker then hands out again, and so on for ever. So messages never
reach it.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import SupportsIndex, TypeAlias, cast

from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from gemstone_events.rpc.wires.amqp.frames import HEAD, HEARTBEAT, KINDS, frame

Taker: TypeAlias = Callable[[int, bytes], bool]
"""Takes a frame, as kind and payload, if it is its own; it raises nothing."""

_READ_AHEAD = 256 * 1024
_HEARTBEAT = frame(HEARTBEAT, 0, b"")
_SILENCE_SECONDS = 5.0


class FrameReader(asyncio.StreamReader):
    """What aiormq reads from: a stream without the frames that others take (AMQP 0-9-1, section 4.2.3)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_READ_AHEAD, loop=loop)
        self._clock = loop.time
        self._takers: dict[int, Taker] = {}
        self._rest = b""
        self._passed_at = loop.time()
        self._is_amqp = True

    def take(self, channel: int, taker: Taker) -> None:
        """Have the frames of a channel offered to ``taker`` first."""
        self._takers[channel] = taker

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take what the socket brought, which is bytes."""
        if self._is_amqp:
            self._pass_on(self._split(self._rest + bytes(data)))
        else:
            super().feed_data(data)

    def _split(self, data: bytes) -> list[bytes]:
        passed: list[bytes] = []
        at = 0
        while len(data) - at >= HEAD.size:
            kind, channel, size = HEAD.unpack_from(data, at)
            if kind not in KINDS:
                self._is_amqp = False  # aiormq says what it thinks of that
                passed.append(data[at:])
                at = len(data)
                break
            end = at + HEAD.size + size + 1
            if end > len(data):
                break
            taker = self._takers.get(channel)
            if taker is None or not taker(kind, data[at + HEAD.size : end - 1]):
                passed.append(data[at:end])
            at = end
        self._rest = data[at:]
        return passed

    def _pass_on(self, frames: list[bytes]) -> None:
        now = self._clock()
        if not frames and now - self._passed_at > _SILENCE_SECONDS:
            # Where all that comes is taken, aiormq would think that the broker has died.
            frames = [_HEARTBEAT]
        if frames:
            self._passed_at = now
            super().feed_data(b"".join(frames))


class FrameTransport(TransportFactory):
    """Connects aiormq through a ``FrameReader``.

    Attributes:
        transport: the connection's, once there is one.
        reader: what reads from it.
    """

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self.reader = FrameReader(asyncio.get_running_loop())

    async def create(self, url: URL, **kwargs: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; aiormq calls this."""
        loop = asyncio.get_running_loop()
        provider = cast(SSLContextProvider, kwargs["ssl_context_provider"])
        context = await provider.get_context() if url.scheme == "amqps" else None
        protocol = asyncio.StreamReaderProtocol(self.reader, loop=loop)
        try:
            transport, _ = await loop.create_connection(lambda: protocol, url.host or "", url.port or 0, ssl=context)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.transport = transport
        return self.reader, asyncio.StreamWriter(transport, protocol, self.reader, loop)

    def abort(self) -> None:
        """Close the socket without a word, if it is still open."""
        if self.transport is not None:
            self.transport.abort()
