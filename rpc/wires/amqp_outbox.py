"""What is to be written on a channel of aiormq, gathered."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import aiormq
from aiormq.abc import ChannelFrame

Write: TypeAlias = "bytes | Callable[[], bytes]"

_GATHERED_BYTES = 256 * 1024
_WAIT_FOR_ROOM = 0.005


class Outbox:
    """What is to be written on a channel, in order.

    Args:
        channel: where.
    """

    def __init__(self, channel: aiormq.Channel) -> None:
        self._queue = channel.write_queue
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Write] = deque()
        self._flush_due = False
        self._written: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, write: Write) -> None:
        """Write frames; a callable returns them when it is their turn, and raises nothing."""
        self._waiting.append(write)
        self._idle.clear()
        if not self._flush_due and self._written is None:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    async def flushed(self) -> None:
        """Wait until the socket has taken everything; for ever, where the connection ends before."""
        await self._idle.wait()

    def _flush(self) -> None:
        self._flush_due = False
        if self._queue.full():
            self._flush_due = True
            self._loop.call_later(_WAIT_FOR_ROOM, self._flush)
            return
        frames: list[bytes] = []
        size = 0
        while self._waiting and size < _GATHERED_BYTES:
            write = self._waiting.popleft()
            frames.append(write if isinstance(write, bytes) else write())
            size += len(frames[-1])
        if size:
            self._written = self._loop.create_future()
            self._written.add_done_callback(self._go_on)
            self._queue.put_nowait(ChannelFrame(b"".join(frames), should_close=False, drain_future=self._written))
        else:
            self._idle.set()

    def _go_on(self, written: asyncio.Future[None]) -> None:
        self._written = None
        if self._waiting:
            self._flush()
        else:
            self._idle.set()
