"""What is to be written on a connection of aiormq, without its queue, its task and its waiting."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

Write: TypeAlias = "bytes | Callable[[], bytes]"

_GATHERED_BYTES = 256 * 1024
_HELD_BYTES = 64 * 1024
_WAIT_FOR_ROOM = 0.005


class Outbox:
    """What is to be written on a connection, in order.

    It goes straight to the socket. aiormq writes there too, but each of its writes is whole frames, as each of these is,
    and the loop does one after the other, so that they never mix (AMQP 0-9-1, section 4.2.2). The first of a turn of
    the loop is written at once, for a single call should not wait; the others of that turn together, for many should
    not cost a system call each. What the socket does not take is kept here, where it can still be withdrawn.

    Args:
        transport: the connection's.
    """

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Write] = deque()
        self._flush_due = False

    def put(self, write: Write) -> None:
        """Write frames; a callable returns them when it is their turn, or nothing, and raises nothing."""
        self._waiting.append(write)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._go_on)
            self._flush()

    async def flushed(self) -> None:
        """Wait until the socket has taken everything, or the connection has ended."""
        while self._waiting or self._transport.get_write_buffer_size():
            await asyncio.sleep(_WAIT_FOR_ROOM)

    def _go_on(self) -> None:
        self._flush()
        self._flush_due = bool(self._waiting)
        if self._flush_due:
            self._loop.call_later(_WAIT_FOR_ROOM, self._go_on)

    def _flush(self) -> None:
        transport = self._transport
        if transport.is_closing():
            self._waiting.clear()
        while self._waiting and transport.get_write_buffer_size() <= _HELD_BYTES:
            frames: list[bytes] = []
            size = 0
            while self._waiting and size < _GATHERED_BYTES:
                write = self._waiting.popleft()
                frames.append(write if isinstance(write, bytes) else write())
                size += len(frames[-1])
            if size:
                transport.write(b"".join(frames))
