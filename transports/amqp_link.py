"""A connection that comes back: opened, watched until it ends, opened again, with growing pauses, for ever."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from gemstone_events.cancellation import end
from gemstone_events.errors import TransportError, TransportRefusedError, TransportUnavailableError

_logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
"""Seconds that the first pause lasts at most; each one after it twice as long."""
LONGEST_PAUSE = 5.0
"""Seconds that no pause exceeds."""
_LASTING = 5.0
"""Seconds after which a connection counts as a success. One that ends sooner does not shorten the next pause: a
connection that is accepted and cut at once must not be tried a hundred times a second."""


class Session(Protocol):
    """A connection with what is spoken on it."""

    @property
    def ended(self) -> asyncio.Future[str]:
        """Its result says why the session is over."""

    async def close(self) -> None:
        """End it politely and within a limit. Twice is harmless."""


SessionT = TypeVar("SessionT", bound=Session)


def jittered_pause(failures: int) -> float:
    """Return the seconds to wait: exponential with full jitter, so that a thousand clients do not come as one."""
    return random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 20)))


class Link(Generic[SessionT]):
    """Keeps one session alive.

    Attributes:
        trouble: why there is none; empty where there is one.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[SessionT]],
        changed: Callable[[], None],
        pause: Callable[[int], float] = jittered_pause,
    ) -> None:
        """Open nothing.

        Args:
            connect: opens a session or raises a TransportError.
            changed: called when ``session`` or ``trouble`` changed.
            pause: seconds to wait before the next attempt, after so many in a row that did not last.
        """
        self._session: SessionT | None = None
        self.trouble = f"{name}: not opened"
        self._name = name
        self._connect = connect
        self._changed = changed
        self._pause = pause
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    @property
    def session(self) -> SessionT | None:
        """The session that works now, or None."""
        session = self._session
        return None if session is None or session.ended.done() else session

    async def start(self) -> None:
        """Try once; whatever else than a refusal comes of it, go on in the background.

        Raises:
            TransportRefusedError: the first attempt was refused; there is no other.
        """
        try:
            await self._try()
        except TransportRefusedError:
            self._closed = True
            raise
        except TransportUnavailableError as error:
            _logger.debug("going on in the background: %s", error)
        if not self._closed:
            self._task = asyncio.create_task(self._keep(), name=f"gemstone {self._name}")

    async def retire(self) -> None:
        """Keep the session as long as it lasts, and open no other."""
        self._closed = True
        await end(self._task)

    async def close(self) -> None:
        """End the session, politely, and open no other. Twice is harmless."""
        await self.retire()
        session, self._session = self._session, None
        self._note("closed")
        if session is not None:
            await session.close()

    async def _try(self) -> None:
        try:
            session = await self._connect()
        except TransportError as error:
            self._note(str(error))
            raise
        if self._closed:
            await session.close()
            return
        self._session = session
        self._note("")

    async def _try_again(self) -> None:
        try:
            await self._try()
        except TransportError:
            raise
        except Exception as error:
            # Whatever it is (no memory, no thread to be had), the next attempt may find it gone.
            _logger.exception("%s: connecting failed", self._name)
            self._note(f"connecting failed: {error}")

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._session is None:
                await asyncio.sleep(self._pause(self._failures))
                self._failures += 1
                with contextlib.suppress(TransportError):
                    await self._try_again()
                continue
            since = loop.time()
            # Shielded, for the session outlives this task when the link retires.
            reason = await asyncio.shield(self._session.ended)
            if loop.time() - since >= _LASTING:
                self._failures = 0
            self._session = None
            self._note(reason)

    def _note(self, trouble: str) -> None:
        known, self.trouble = self.trouble, f"{self._name}: {trouble}" if trouble else ""
        if not trouble:
            _logger.info("%s: connected", self._name)
        elif self.trouble != known:
            # A broker that is down for an hour is told of once.
            _logger.log(logging.INFO if self._closed else logging.WARNING, "%s", self.trouble)
        self._changed()
