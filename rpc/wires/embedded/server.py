"""The server's side of the embedded bus: a service that listens on a Unix socket beside the bus file.

A call is no event: nothing of it is written to the disk. It lives as long as the connection on which it came.
"""

import asyncio
import contextvars
import logging
import os
from collections import deque
from contextlib import suppress
from pathlib import Path

from gemstone_events.cancellation import end
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.wire import Answer, ServerSettings, WireStatus
from gemstone_events.rpc.wires.embedded.folder import BusAddress, BusFolder, label_of, parse_url
from gemstone_events.rpc.wires.embedded.frames import Kind, write_frame
from gemstone_events.rpc.wires.embedded.session import Call, ServerSession

_BACKLOG = 1024
_MAX_SESSIONS = 1000
_WATCH_SECONDS = 1.0
_CANCEL_SECONDS = 1.0
_LEAVE_SECONDS = 1.0
_CLOSE_SECONDS = 2.0

_logger = logging.getLogger("gemstone_events.rpc.bus")


def open_url(url: str, settings: ServerSettings) -> "EmbeddedServerWire":
    """Return the server's side of ``sqlite:///relative/path`` or ``sqlite:////absolute/path``, not started.

    Raises:
        ServiceConfigurationError: the URL names no bus, or a name in the settings breaks the rules.
    """
    address = parse_url(url)
    if address.service:
        raise ServiceConfigurationError(f"{url!r} is the URL of a service; a service is served on a bus: remove the #")
    return EmbeddedServerWire(address.path, settings)


class EmbeddedServerWire:
    """The port ``gemstone_events.rpc.wire.ServerWire`` on a Unix socket. It is started after a fork, never before.

    Args:
        bus: path of the bus file, which need not exist.
        settings: what all wires are made with.
    """

    def __init__(self, bus: Path, settings: ServerSettings) -> None:
        self._address = BusAddress(bus, settings.service)
        self._label = label_of(settings.namespace, settings.service)
        self._folder = BusFolder(bus)
        self._settings = settings
        self._answer: Answer | None = None
        self._context = contextvars.Context()
        self._path: Path | None = None
        self._listener: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._sessions: set[ServerSession] = set()
        self._waiting: deque[ServerSession] = deque()
        self._calls: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """See ``ServerWire.address``."""
        return str(self._address)

    async def start(self, answer: Answer) -> None:
        """See ``ServerWire.start``.

        Raises:
            ServiceConfigurationError: there is no listening at that place; the message says why.
        """
        if self._answer is not None:
            raise RuntimeError(f"{self.address} is served already: start is called once")
        self._folder.make()
        await self._listen()
        self._answer = answer
        self._context = contextvars.copy_context()
        self._watch = asyncio.get_running_loop().create_task(self._listen_again())

    async def stop(self, timeout: float) -> bool:
        """See ``ServerWire.stop``."""
        if not self._is_stopping:
            self._is_stopping = True
            await self._stop_listening()
            for session in list(self._sessions):
                session.send(write_frame(Kind.GOODBYE))
                while session.waiting:
                    session.refuse(session.waiting.popleft().number)
                session.update_reading()
        if not self._calls:
            return True
        _, late = await asyncio.wait(set(self._calls), timeout=timeout)
        if late:
            _logger.warning("%d calls of the bus were not finished in %.1f s: cancelling them", len(late), timeout)
            await end(*late, timeout=_CANCEL_SECONDS)
        return not late

    async def close(self) -> None:
        """See ``ServerWire.close``. What still runs is cancelled.

        Clients hang up by themselves when they hear that this instance leaves. What they sent before they heard it is
        refused until then, for a call that is lost with its connection might have been carried out.
        """
        await self.stop(0)
        sessions = list(self._sessions)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await asyncio.gather(*(session.closed.wait() for session in sessions))
        await asyncio.gather(*(session.close(_CLOSE_SECONDS) for session in sessions))

    def status(self) -> WireStatus:
        """See ``ServerWire.status``."""
        if self._path is None:
            return WireStatus(False, "stopped" if self._is_stopping else "not started")
        if not os.path.exists(self._path):
            return WireStatus(False, f"the socket {self._path} was removed by somebody")
        return WireStatus(True)

    def admit(self, session: ServerSession) -> bool:
        """See ``CallTaker``."""
        if self._is_stopping or len(self._sessions) >= _MAX_SESSIONS:
            return False
        self._sessions.add(session)
        return True

    def leave(self, session: ServerSession) -> None:
        """See ``CallTaker``."""
        self._sessions.discard(session)

    def take(self, session: ServerSession, call: Call) -> None:
        """See ``CallTaker``."""
        if self._is_stopping:
            session.refuse(call.number)
        elif session.waiting or session.is_stuck or len(self._calls) >= self._settings.concurrency:
            session.waiting.append(call)
            session.update_reading()
            if len(session.waiting) == 1 and not session.is_stuck:
                self._waiting.append(session)
        else:
            self._begin(session, call)

    def go_on(self, session: ServerSession) -> None:
        """See ``CallTaker``."""
        if session.waiting and session not in self._waiting:
            self._waiting.append(session)
        self._begin_waiting()

    def presence(self) -> bytes | None:
        """See ``CallTaker``."""
        try:
            return self._settings.presence().encode()
        except Exception:
            _logger.exception("%s cannot say who it is", self.address)
            return None

    def _begin(self, session: ServerSession, call: Call) -> None:
        if not call.expires > session.loop.time():  # also where it is no number
            _logger.info("a call was dropped: its caller had given it up before its turn came")
            return
        # A context of its own: it may begin at the end of another call, and must not take part in what that one has set.
        task = session.loop.create_task(self._carry_out(session, call), context=self._context.copy())
        self._calls.add(task)
        task.add_done_callback(self._end)  # and not at its own end: an eager task may come to that before this line

    def _end(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        """Give room to those that wait, one call each in turn."""
        while self._waiting and len(self._calls) < self._settings.concurrency:
            session = self._waiting.popleft()
            if not session.waiting or session.is_stuck:
                continue  # it is gone, or comes again when it reads
            self._begin(session, session.waiting.popleft())
            if session.waiting:
                self._waiting.append(session)
            else:
                session.update_reading()

    async def _carry_out(self, session: ServerSession, call: Call) -> None:
        assert self._answer is not None
        try:
            session.answer(call, await self._answer(call.body, session.context_of(call)))
        except asyncio.CancelledError:
            session.lose(call)
            raise
        except Exception:
            _logger.exception("a call failed in a way that has no answer")
            session.lose(call)

    async def _listen(self) -> None:
        listening, path = self._folder.listen(self._label, _BACKLOG)
        try:
            self._listener = await asyncio.get_running_loop().create_unix_server(
                lambda: ServerSession(self, self._settings.body_bytes), sock=listening, backlog=_BACKLOG
            )
        except BaseException:
            path.unlink(missing_ok=True)
            listening.close()
            raise
        self._path = path

    async def _stop_listening(self) -> None:
        await end(self._watch)
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            self._path = None
        if self._listener is not None:
            self._listener.close()

    async def _listen_again(self) -> None:
        """Listen at a new place where somebody has removed the socket, as programs do that clear up."""
        said = ""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._path is None or os.path.exists(self._path):
                continue
            try:
                self._folder.make()
                former = self._listener
                await self._listen()
                if former is not None:
                    former.close()
                _logger.warning("the socket of %s was removed by somebody: listening again", self.address)
                said = ""
            except (ServiceConfigurationError, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    _logger.error("the socket of %s was removed, and cannot be made again: %s", self.address, error)
