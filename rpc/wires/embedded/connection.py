"""The client's end of a connection of the embedded bus: many calls at once, to one instance of a service."""

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

from gemstone_events.deadlines import Deadlines
from gemstone_events.rpc.call_errors import (
    InvalidAnswerError,
    OutcomeUnknownError,
    RequestRefusedError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.wire import WireCounts
from gemstone_events.rpc.wires.embedded.folder import BusFolder, InstanceGoneError, is_dead, process_of
from gemstone_events.rpc.wires.embedded.frames import FROM_SERVER, Frame, Kind, write_frame
from gemstone_events.rpc.wires.embedded.protocol import FrameProtocol

_MAX_GIVEN_UP = 10_000
_FULL_SECONDS = 0.005


class CallRefusedError(Exception):
    """The instance takes no more calls, or no more clients, and did not begin this one: another one may take it."""


class ClientConnection(FrameProtocol):
    """A connection to one instance, shared by all calls to it.

    Args:
        folder: where the instance listens.
        name: its socket there.
        body_bytes: the longest answer that is taken.
        counts: what is counted.
        on_unusable: called when the connection takes no more calls, and again when it is over.

    Attributes:
        is_retired: it takes no more calls.
    """

    def __init__(
        self,
        folder: BusFolder,
        name: str,
        body_bytes: int,
        counts: WireCounts,
        on_unusable: "Callable[[ClientConnection], None]",
    ) -> None:
        super().__init__(FROM_SERVER, body_bytes)
        self.folder = folder
        self.name = name
        self.is_retired = False
        self._counts = counts
        self._deadlines = Deadlines(self._expire)
        self._on_unusable = on_unusable
        self._numbers = itertools.count(1)
        self._process = 0
        self._pending: dict[int, asyncio.Future[bytes | None]] = {}
        self._given_up: dict[int, None] = {}
        self._hello: asyncio.Future[None] = self.loop.create_future()
        self._hello.add_done_callback(_mark_seen)
        self._writable = asyncio.Event()
        self._writable.set()
        self._opening = self.loop.create_task(self._open())
        self._opening.add_done_callback(self._opened)

    @property
    def is_over(self) -> bool:
        """It is lost, or was never made."""
        return self.closed.is_set() or (self._opening.done() and self.transport is None)

    async def until_ready(self, patience: float) -> None:
        """Wait until the instance takes calls.

        Raises:
            InstanceGoneError: it is gone, or the client was closed meanwhile.
            CallRefusedError: it takes no more clients now.
            TimeoutError: it says nothing.
            OSError: there is no way in.
            ServiceConfigurationError: the folder cannot be used.
        """
        if not self._opening.done():
            await asyncio.wait([self._opening], timeout=patience)
        if not self._opening.done():
            raise TimeoutError
        if self._opening.cancelled():
            raise InstanceGoneError(self.name)
        self._opening.result()

    async def request(self, kind: Kind, headers: bytes, body: bytes, when: float) -> bytes | None:
        """Send a call, or ask for the presence, and return the answer.

        Raises:
            CallRefusedError: it was not begun, for the instance leaves.
            ServiceUnreachableError: it was not begun.
            TimeoutError: there is no answer at ``when``, by the event loop's clock.
            OutcomeUnknownError: the connection was lost, or what came is no answer.
        """
        if self.is_stuck:
            await self._until_writable(when)
        if self.is_retired:
            raise CallRefusedError
        number = next(self._numbers)
        future: asyncio.Future[bytes | None] = self.loop.create_future()
        self._pending[number] = future
        self._deadlines.begin(number, when)
        self.send(write_frame(kind, number, headers, body, time.time() + when - self.loop.time()))
        try:
            return await future
        except (TimeoutError, OutcomeUnknownError, asyncio.CancelledError):
            self._counts.unknown += kind is Kind.CALL
            if is_dead(self._process):  # and a child of it holds the connection, so that it does not end by itself
                self.abort()
            raise
        finally:
            self._deadlines.end(number)
            if self._pending.pop(number, None) is not None:
                self._give_up(number)
            _mark_seen(future)  # also where the caller was cancelled in the same moment

    def frame_received(self, frame: Frame) -> None:
        """See ``FrameProtocol``."""
        if frame.kind == Kind.HELLO:
            if not self._hello.done():
                self._hello.set_result(None)
        elif frame.kind == Kind.GOODBYE:
            if not self._hello.done():
                self._hello.set_exception(CallRefusedError())
            self.retire()
        else:
            self._take_answer(frame)

    def connection_lost(self, error: Exception | None) -> None:
        """See ``asyncio.Protocol``. What is pending may have been carried out or not."""
        super().connection_lost(error)
        self.retire()
        if not self._hello.done():
            self._hello.set_exception(InstanceGoneError(self.name))
        self._writable.set()
        pending, self._pending = self._pending, {}
        self._deadlines.close()
        for future in pending.values():
            if not future.done():
                future.set_exception(OutcomeUnknownError("the connection to the service was lost"))

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        super().pause_writing()
        self._writable.clear()

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        super().resume_writing()
        self._writable.set()

    def retire(self) -> None:
        """Take no more calls; those that wait for their answers go on."""
        self.is_retired = True
        self._on_unusable(self)
        self._close_if_done()

    def abort(self) -> None:
        """See ``FrameProtocol``. What is pending fails."""
        self.retire()
        super().abort()

    async def close(self, patience: float) -> None:
        """See ``FrameProtocol``. What is pending fails."""
        self._opening.cancel()
        await super().close(patience)
        if not self._hello.done():
            self._hello.cancel()

    async def _open(self) -> None:
        while True:
            try:
                connection = self.folder.connect(self.name)
                self._process = process_of(connection)
                break
            except BlockingIOError:
                await asyncio.sleep(_FULL_SECONDS)  # others wait to be let in
        try:
            await self.loop.create_unix_connection(lambda: self, sock=connection)
        except BaseException:
            connection.close()
            raise
        await self._hello

    def _opened(self, opening: asyncio.Task[None]) -> None:
        if opening.cancelled() or opening.exception() is not None:
            self.retire()

    async def _until_writable(self, when: float) -> None:
        try:
            async with asyncio.timeout_at(when):
                while self.is_stuck and not self.is_retired:
                    await self._writable.wait()
        except TimeoutError:
            raise ServiceUnreachableError("the service takes no more calls now, and this one was not sent") from None

    def _expire(self, number: int) -> None:
        future = self._pending.get(number)
        if future is not None and not future.done():
            future.set_exception(TimeoutError())

    def _take_answer(self, frame: Frame) -> None:
        future = self._pending.pop(frame.call, None)
        if future is None:
            self._count_stray(frame.call)
        elif future.done():
            self._counts.late += 1
        elif frame.is_too_long:
            future.set_exception(InvalidAnswerError(f"the answer has {frame.length} bytes, more than are taken"))
        elif frame.kind == Kind.REFUSED:
            reason = frame.body.decode(errors="replace")
            future.set_exception(RequestRefusedError(reason) if reason else CallRefusedError())
        elif frame.kind == Kind.LOST:
            future.set_exception(OutcomeUnknownError("the service gave the call up before its end"))
        else:
            future.set_result(None if frame.kind == Kind.NOTHING else frame.body)
        self._close_if_done()

    def _count_stray(self, number: int) -> None:
        if number in self._given_up:
            del self._given_up[number]
            self._counts.late += 1
        else:
            self._counts.unexpected += 1

    def _give_up(self, number: int) -> None:
        self._given_up[number] = None
        if len(self._given_up) > _MAX_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.is_retired and not self._pending and not self._outgoing and self.transport is not None:
            self.transport.close()


def _mark_seen(future: "asyncio.Future[Any]") -> None:
    """Nobody may wait for it any more: that it failed is then nothing to be reported as forgotten."""
    if future.done() and not future.cancelled():
        future.exception()
