"""The server's side of the wire "amqp": a service is called through RabbitMQ.

The calls wait in a durable queue that the service's instances share; any AMQP client may put a JSON-RPC body there, with
``reply_to`` and ``correlation_id`` where it wants an answer. What is promised:

- A message is acked after ``answer`` has returned and the answer was written. Where an instance dies before, another
  one gets the message, with ``CallContext.is_repeated`` set.
- A message whose time is up is not carried out: the broker drops it, or this wire does.
- A lost connection, a queue that somebody deleted, a channel that the broker closed: it is served again as soon as
  possible, and ``status`` says so meanwhile. What had been begun is finished; the broker hands its message out again.
"""

import asyncio
import contextlib
import logging
from dataclasses import replace

from gemstone_events.amqp_url import Broker, parse_url
from gemstone_events.cancellation import end
from gemstone_events.countdown import Countdown
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.errors import InternalError
from gemstone_events.rpc.protocol import JsonRpcResponse, write_response
from gemstone_events.rpc.wire import Answer, ServerSettings, WireStatus
from gemstone_events.rpc.wires.amqp.address import ServiceAddress
from gemstone_events.rpc.wires.amqp.connection import connect, pause, translated, undisturbed
from gemstone_events.rpc.wires.amqp.request import ServedRequest
from gemstone_events.rpc.wires.amqp.serving import ServedCounts, ServerSession

LONGEST_PAUSE = 30.0
"""Seconds between attempts to connect, at most."""
CLOSE_TIMEOUT = 5.0
_CANCEL_TIMEOUT = 0.5
_NOTABLE_WAIT = 0.001

_logger = logging.getLogger("gemstone_events.rpc.amqp")


def open_url(url: str, settings: ServerSettings) -> "AmqpServerWire":
    """Return the server's side for the URL of a broker; it opens nothing.

    Raises:
        ServiceConfigurationError: it is no such URL.
    """
    return AmqpServerWire(parse_url(url), settings)


class AmqpServerWire:
    """Brings the calls of one service.

    Args:
        broker: where.
        settings: the service's.

    Attributes:
        counts: what became of messages that were not simply answered.
    """

    def __init__(self, broker: Broker, settings: ServerSettings) -> None:
        self.counts = ServedCounts()
        self._broker = broker
        self._settings = settings
        self._answer: Answer
        self._session: ServerSession | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._detail = "not started"
        self._stopping = False

    @property
    def address(self) -> str:
        """The service's URL on this wire, without credentials."""
        return ServiceAddress(self._broker, self._settings.service).shown

    async def start(self, answer: Answer) -> None:
        """Begin to serve; see ``ServerWire.start``. It returns after the first attempt to connect."""
        self._answer = answer
        attempted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeping = asyncio.create_task(self._keep_serving(attempted))
        try:
            await asyncio.wait([attempted, self._keeping], return_when=asyncio.FIRST_COMPLETED)
            await (attempted if attempted.done() else self._keeping)
        except BaseException:
            await self.close()
            raise

    async def stop(self, timeout: float) -> bool:
        """Take no more, finish what was begun and send its answers; see ``ServerWire.stop``.

        What the broker sends before it hears of that is finished too: given back, it would count as repeated.
        """
        self._stopping = True
        self._detail = "stopped"
        countdown = Countdown(timeout)
        if self._session is not None:
            await self._session.take_no_more()
        elif self._keeping is not None:
            self._keeping.cancel()
        if self._calls:
            await asyncio.wait(self._calls, timeout=countdown.left)
        unfinished = list(self._calls)
        await end(*unfinished, timeout=_CANCEL_TIMEOUT)
        if self._session is not None:
            await self._session.flush()
        return not unfinished

    async def close(self) -> None:
        """Disconnect, in ``CLOSE_TIMEOUT`` seconds at most. Twice is harmless."""
        self._stopping = True
        self._detail = "stopped"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._close()

    def status(self) -> WireStatus:
        """Whether calls come in now."""
        session = self._session
        if session is None or self._stopping:
            return WireStatus(False, self._detail)
        return WireStatus(not session.trouble, session.trouble)

    async def _close(self) -> None:
        await end(*self._calls, self._keeping, timeout=_CANCEL_TIMEOUT)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _keep_serving(self, attempted: asyncio.Future[None]) -> None:
        """Connect, again and again, until it is stopped, or the first attempt is refused."""
        failures = 0
        while not self._stopping:
            try:
                session = await undisturbed(self._connect())
            except (ServiceConfigurationError, ServiceUnreachableError, ConnectionError) as error:
                failures += 1
                self._failed(translated(self._broker, "serving calls", error), attempted)
                await asyncio.sleep(pause(failures, LONGEST_PAUSE))
                continue
            failures = 0
            if not attempted.done():
                attempted.set_result(None)
            self._detail = await session.ended
            if not self._stopping:
                _logger.warning("%s is not served: %s; trying again", self.address, self._detail)
            self._session = None
            await session.close()

    def _failed(
        self, error: ServiceConfigurationError | ServiceUnreachableError, attempted: asyncio.Future[None]
    ) -> None:
        self._detail = str(error)
        if attempted.done():
            _logger.info("%s is still not served: %s", self.address, error)
        elif isinstance(error, ServiceConfigurationError):
            attempted.set_exception(error)
        else:
            _logger.warning("%s is not served yet: %s; trying again", self.address, error)
            attempted.set_result(None)

    async def _connect(self) -> ServerSession:
        connection = await connect(self._broker, f"{self._settings.service} (served calls)")
        session = ServerSession(connection, self._settings, self.counts, self._begin)
        try:
            await session.open()
        except BaseException as error:
            await session.close()
            if isinstance(error, Exception):
                raise translated(self._broker, "serving calls", error) from error
            raise
        self._session = session
        return session

    def _begin(self, session: ServerSession, delivery_tag: int, request: ServedRequest) -> None:
        loop = asyncio.get_running_loop()
        call = loop.create_task(self._serve(session, delivery_tag, request, loop.time()))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _serve(self, session: ServerSession, delivery_tag: int, request: ServedRequest, came: float) -> None:
        context = request.context
        waited = asyncio.get_running_loop().time() - came
        if context.timeout is not None and waited > _NOTABLE_WAIT:
            context = replace(context, timeout=context.timeout - waited)
        try:
            body = await self._answer(request.body, context)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self._stopping:
                raise  # it is given back; else it has cancelled itself, and would keep its place for ever
            _logger.exception("a call was not answered")
            body = write_response(JsonRpcResponse(None, error=InternalError()))
        session.finish(delivery_tag, request, body)
