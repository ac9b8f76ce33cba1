"""A connection that comes back: opened, watched until it ends, opened again, with growing pauses, for ever."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from gemstone_events.errors import TransportError, TransportRefusedError, TransportUnavailableError

_logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0
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


class Link(Generic[SessionT]):
    """Keeps one session alive.

    Attributes:
        trouble: why there is none; empty where there is one.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[SessionT]], changed: Callable[[], None]) -> None:
        """``connect`` opens a session or raises a TransportError; ``changed`` is called when an attribute changed."""
        self._session: SessionT | None = None
        self.trouble = f"{name}: not opened"
        self._name = name
        self._connect = connect
        self._changed = changed
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
        except TransportUnavailableError:
            _logger.warning("%s", self.trouble)
        if not self._closed:
            self._task = asyncio.create_task(self._keep(), name=f"gemstone {self._name}")

    async def retire(self) -> None:
        """Keep the session as long as it lasts, and open no other."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

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

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._session is None:
                await asyncio.sleep(_pause(self._failures))
                self._failures += 1
                with contextlib.suppress(TransportError):
                    await self._try()
                continue
            since = loop.time()
            # Shielded, for the session outlives this task when the link retires.
            reason = await asyncio.shield(self._session.ended)
            if loop.time() - since >= _LASTING:
                self._failures = 0
            self._session = None
            self._note(reason)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            _logger.log(logging.INFO if self._closed else logging.WARNING, "%s: %s", self._name, trouble)
        elif not trouble:
            _logger.info("%s: connected", self._name)
        self.trouble = f"{self._name}: {trouble}" if trouble else ""
        self._changed()


def _pause(failures: int) -> float:
    """Return the seconds to wait: exponential with full jitter, so that a thousand clients do not come as one."""
    return random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures, 20)))
