"""A caller's way to one broker: a connection when it is needed, and a new one when that is lost."""

import asyncio

from gemstone_events.amqp_url import Broker
from gemstone_events.cancellation import end
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.wire import ClientSettings, WireCounts
from gemstone_events.rpc.wires.amqp.connection import connect, pause, translated
from gemstone_events.rpc.wires.amqp.session import ClientSession

LONGEST_PAUSE = 5.0
"""Seconds between attempts to connect, at most. Nobody attempts it but for a call, so that idle callers are no crowd."""


class AmqpLink:
    """Connects on demand, once for all who wait.

    A call that finds no connection waits for the attempt that is made for it, within its own timeout. Where an attempt
    has failed, calls fail at once until it is time for the next one: exponential pauses with full jitter.

    Args:
        broker: where.
        settings: the caller's.
        counts: of the wire.
        confirms_calls: have the broker confirm calls too.
    """

    def __init__(
        self, broker: Broker, settings: ClientSettings, counts: WireCounts, *, confirms_calls: bool = False
    ) -> None:
        self._broker = broker
        self._confirms_calls = confirms_calls
        self._settings = settings
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._session: ClientSession | None = None
        self._attempt: asyncio.Task[ClientSession] | None = None
        self._failure: ServiceConfigurationError | ServiceUnreachableError | None = None
        self._failures = 0
        self._next_attempt = 0.0
        self._ending: set[ClientSession] = set()

    @property
    def current(self) -> ClientSession | None:
        """The session that calls can go by now, if there is one."""
        return self._session

    async def session(self, timeout: float) -> ClientSession:
        """Return a session, within ``timeout`` seconds.

        Raises:
            ServiceUnreachableError: there is no connection, and none could be made in time.
            ServiceConfigurationError: the broker refuses the URL's user, password or virtual host.
        """
        if self._session is not None:
            return self._session
        if self._attempt is None:
            if self._failure is not None and self._loop.time() < self._next_attempt:
                raise type(self._failure)(*self._failure.args)
            self._attempt = self._loop.create_task(self._connect())
            self._attempt.add_done_callback(self._attempted)
        attempt = self._attempt
        # Not shield: ``close`` cancels the attempt, and not those who wait for it.
        await asyncio.wait([attempt], timeout=timeout)
        if not attempt.done() or attempt.cancelled():
            raise ServiceUnreachableError(f"{self._broker.address}: no connection was made in time")
        return attempt.result()

    async def close(self) -> None:
        """Disconnect; what is pending fails. Twice is harmless."""
        await end(self._attempt)
        if self._session is not None:
            self._ending.add(self._session)
        for session in list(self._ending):
            await session.close()
        self._ending.clear()

    async def _connect(self) -> ClientSession:
        connection = await connect(self._broker, f"{self._settings.client} (calls)")
        session = ClientSession(
            connection, self._broker.user, self._settings, self._counts, self._confirms_calls, self._ended
        )
        try:
            await session.open()
        except BaseException as error:
            await connection.close()
            if isinstance(error, Exception):
                raise translated(self._broker, "preparing calls", error) from error
            raise
        return session

    def _attempted(self, attempt: asyncio.Task[ClientSession]) -> None:
        self._attempt = None
        if attempt.cancelled():
            return
        error = attempt.exception()
        if error is None:
            self._failure, self._failures = None, 0
            session = attempt.result()
            self._session = None if session.ended else session
        elif isinstance(error, ServiceConfigurationError | ServiceUnreachableError):
            self._failures += 1
            self._failure = error
            self._next_attempt = self._loop.time() + pause(self._failures, LONGEST_PAUSE)

    def _ended(self, session: ClientSession) -> None:
        if self._session is session:
            self._session = None
        self._ending = {old for old in self._ending if not old.closed} | {session}
