"""The server's side of the in-process wire, and where a process keeps account of who serves in it."""

import asyncio
import concurrent.futures
import contextvars
import logging
import os
from collections import deque

from gemstone_events.cancellation import end
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.call_errors import RequestRefusedError, ServiceUnreachableError
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import Answer, ServerSettings, WireStatus
from gemstone_events.rpc.wires.memory.address import Place, read_url
from gemstone_events.rpc.wires.memory.call import MemoryCall, RefusedError

WIRE = "memory"
_MAX_WAITING = 1000
_CANCEL_SECONDS = 1.0

_logger = logging.getLogger("gemstone_events.rpc.memory")


# What is served in this process is the process's own by nature. Single operations on a dict need no lock between
# threads, and a lock could be held for ever after a fork.
_running: "dict[MemoryServerWire, None]" = {}


def running_servers() -> "list[MemoryServerWire]":
    """Return who serves in this process now, in the order of starting."""
    servers = list(_running)
    for server in servers:
        if not server.may_live:
            _running.pop(server, None)
    return [server for server in servers if server.is_reachable]


class MemoryServerWire:
    """The port ``gemstone_events.rpc.wire.ServerWire`` within a process.

    Args:
        place: where the service is called.
        settings: what all wires are made with.
    """

    def __init__(self, place: Place, settings: ServerSettings) -> None:
        self.place = place
        self._settings = settings
        self._answer: Answer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._context = contextvars.Context()
        self._is_stopping = False
        self._waiting: deque[MemoryCall] = deque()
        self._calls: dict[asyncio.Task[None], MemoryCall] = {}

    @property
    def address(self) -> str:
        """See ``ServerWire.address``."""
        return self.place.url

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it serves on."""
        if self._loop is None:
            raise RuntimeError(f"{self.address} is not served yet")
        return self._loop

    @property
    def may_live(self) -> bool:
        """False when it can never serve again: its event loop is closed, or belongs to the process before a fork."""
        return self._process == os.getpid() and not self.loop.is_closed()

    @property
    def is_reachable(self) -> bool:
        """Its event loop runs in this process now."""
        return self.may_live and self.loop.is_running()

    async def start(self, answer: Answer) -> None:
        """See ``ServerWire.start``."""
        if self._answer is not None:
            raise RuntimeError(f"{self.address} is served already: start is called once")
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._context = contextvars.copy_context()
        _running[self] = None

    async def stop(self, timeout: float) -> bool:
        """See ``ServerWire.stop``."""
        self._is_stopping = True
        _running.pop(self, None)
        while self._waiting:
            self._waiting.popleft().fail(RefusedError())
        if not self._calls:
            return True
        _, late = await asyncio.wait(set(self._calls), timeout=timeout)
        if late:
            shown = self.address
            _logger.warning("%d calls of %s were not finished in %.1f s: cancelling them", len(late), shown, timeout)
            await end(*late, timeout=_CANCEL_SECONDS)
        return not late

    async def close(self) -> None:
        """See ``ServerWire.close``. What still runs is cancelled."""
        await self.stop(0)
        for call in self._calls.values():
            call.lose()  # it does not heed its cancellation

    def status(self) -> WireStatus:
        """See ``ServerWire.status``."""
        if self._is_stopping:
            return WireStatus(False, "stopped")
        return WireStatus(True) if self._answer is not None else WireStatus(False, "not started")

    def submit(self, call: MemoryCall) -> None:
        """Take a call. From any thread.

        Raises:
            RefusedError: the server is gone.
        """
        if call.loop is self._loop:
            self._take(call)
            return
        try:
            self.loop.call_soon_threadsafe(self._take, call, context=self._context.copy())
        except RuntimeError as error:
            raise RefusedError from error

    def ask(self) -> "concurrent.futures.Future[Presence | None]":
        """Return who this is, as its own event loop will tell; None where it cannot. From any thread."""
        told: concurrent.futures.Future[Presence | None] = concurrent.futures.Future()
        try:
            self.loop.call_soon_threadsafe(self._present, told)
        except RuntimeError:
            told.set_result(None)  # it is gone
        return told

    def _present(self, told: "concurrent.futures.Future[Presence | None]") -> None:
        if not told.set_running_or_notify_cancel():
            return
        try:
            told.set_result(self._settings.presence())
        except Exception:
            _logger.exception("%s cannot say who it is", self.address)
            told.set_result(None)

    def _take(self, call: MemoryCall) -> None:
        limit = self._settings.body_bytes
        if self._is_stopping:
            call.fail(RefusedError())
        elif len(call.body) > limit:
            call.fail(RequestRefusedError(f"the body has {len(call.body)} bytes, and {self.address} takes {limit}"))
        elif len(self._calls) < self._settings.concurrency:
            self._begin(call)
        else:
            self._let_wait(call)

    def _let_wait(self, call: MemoryCall) -> None:
        if len(self._waiting) >= _MAX_WAITING:
            self._waiting = deque(waiting for waiting in self._waiting if waiting.seconds_left > 0)
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append(call)
        else:
            call.fail(ServiceUnreachableError(f"{_MAX_WAITING} calls wait for {self.address} already: not begun"))

    def _begin(self, call: MemoryCall) -> None:
        if call.seconds_left <= 0:
            _logger.info("a call was dropped: its caller had given it up before its turn came")
            return
        # A context of its own: a call must not take part in its caller's unit of work, deadline and trace.
        task = self.loop.create_task(self._carry_out(call), context=self._context.copy())
        self._calls[task] = call
        task.add_done_callback(self._end)  # and not at its own end: an eager task may come to that before this line

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._calls[task]
        while self._waiting and len(self._calls) < self._settings.concurrency:
            self._begin(self._waiting.popleft())

    async def _carry_out(self, call: MemoryCall) -> None:
        assert self._answer is not None
        context = CallContext(WIRE, call.headers, call.peer, timeout=call.seconds_left)
        try:
            call.answer(await self._answer(call.body, context))
        except asyncio.CancelledError:
            call.lose()
            raise
        except Exception:
            _logger.exception("a call failed in a way that has no answer")
            call.lose()


def open_url(url: str, settings: ServerSettings) -> MemoryServerWire:
    """Return the server's side of ``memory://bus``, not started.

    Raises:
        ServiceConfigurationError: the URL names no bus, or a name in the settings breaks the rules.
    """
    bus, service = read_url(url)
    if service:
        raise ServiceConfigurationError(f"{url!r} is the URL of a service; a service is served on a bus: remove the #")
    return MemoryServerWire(Place.checked(bus, settings.namespace, settings.service), settings)
