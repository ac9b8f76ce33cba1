"""A caller's connection to a broker, from login to loss: all its calls, and what becomes of them when it ends."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from functools import partial

from pamqp import commands as spec

from gemstone_events.cancellation import end
from gemstone_events.rpc.call_errors import (
    InvalidAnswerError,
    OutcomeUnknownError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.presence import MAX_PRESENCE_BYTES, Presence
from gemstone_events.rpc.wire import ClientSettings, WireCounts, WireRequest
from gemstone_events.rpc.wires.amqp.address import call_queue, presence_exchange
from gemstone_events.rpc.wires.amqp.channel import MessageChannel
from gemstone_events.rpc.wires.amqp.confirmed import ConfirmedChannel
from gemstone_events.rpc.wires.amqp.connection import AmqpConnection, watch
from gemstone_events.rpc.wires.amqp.incoming import Properties, Received
from gemstone_events.rpc.wires.amqp.liveness import Liveness
from gemstone_events.rpc.wires.amqp.outbox import Write
from gemstone_events.rpc.wires.amqp.pending import PendingCall, PendingCalls
from gemstone_events.rpc.wires.amqp.questions import Answers, Question

REPLIES = "amq.rabbitmq.reply-to"
"""The pseudo-queue of direct reply-to: the broker hands an answer straight to the channel that the call came from."""
LOOK_AGAIN = 0.5
"""Seconds between looks whether anything was heard of the services whose calls are pending."""
STOPPING_PATIENCE = 1.0
"""Seconds for an instance that has left its queue to say that it still finishes what it has begun."""

_CONTENT_TYPE = "application/json"
_TRANSIENT, _PERSISTENT = 1, 2

_logger = logging.getLogger("gemstone_events.rpc.amqp")


class ClientSession:
    """Calls over one connection. When it is lost, every pending call fails at once; nothing is sent twice.

    Notifications are confirmed by the broker. Calls go without, by a channel of their own: their answer is the better
    confirm, and one more would wake both ends of the connection once more for each.

    Args:
        connection: logged in.
        user: logged in as; the broker vouches for it to services.
        settings: the caller's.
        counts: of the wire.
        confirms_calls: have the broker confirm calls too, by the same channel.
        on_end: called once when the connection is no more, with this session.
    """

    def __init__(
        self,
        connection: AmqpConnection,
        user: str,
        settings: ClientSettings,
        counts: WireCounts,
        confirms_calls: bool,
        on_end: "Callable[[ClientSession], object]",
    ) -> None:
        self._connection = connection
        self._user = user
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._pending = PendingCalls(settings.pending, counts)
        self._liveness = Liveness(connection, settings.namespace)
        self._answers = Answers(counts)
        self._on_end = on_end
        self._confirmed = ConfirmedChannel(self._pending, self)
        self._confirms_calls = confirms_calls
        self._next_look: asyncio.TimerHandle | None = None
        self._look: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._channel: MessageChannel
        self.ended = False

    async def open(self) -> None:
        """Make ready to call. Whatever aiormq raises comes through."""
        body_bytes = max(self._settings.body_bytes, MAX_PRESENCE_BYTES)
        await self._confirmed.open(self._connection, body_bytes)
        watch(self._confirmed.channel.channel, self._end)
        if self._confirms_calls:
            self._channel = self._confirmed.channel
        else:
            self._channel = await self._connection.messages(self, body_bytes, confirms=False)
            watch(self._channel.channel, self._end)
        await self._channel.consume(REPLIES, "answers", no_ack=True)

    @property
    def closed(self) -> bool:
        """Whether everything about the connection is over."""
        return self._closing is not None and self._closing.done()

    def is_served(self, service: str) -> bool:
        """Tell whether there was a sign of life from a service within the last second."""
        return self._liveness.is_fresh(service)

    async def check_served(self, service: str, timeout: float) -> bool:
        """Ask the broker whether somebody serves a service.

        Raises:
            ServiceUnreachableError: it gives no answer within ``timeout`` seconds.
        """
        return await self._liveness.check(service, timeout)

    async def call(self, service: str, request: WireRequest, due: float) -> bytes | None:
        """Send a request and wait for its answer; for a notification, until the broker has it.

        Raises:
            ServiceCommunicationException: see ``ClientWire.call``.
        """
        call = self._pending.begin(service, due, request.is_answered)
        if request.is_answered:
            self._send(call.id, partial(self._write, self._channel, call, request))
            if self._next_look is None:
                self._next_look = self._loop.call_later(LOOK_AGAIN, self._look_after_pending)
        else:
            self._confirmed.send(call.id, partial(self._write, self._confirmed.channel, call, request))
        try:
            return await call.answer
        except asyncio.CancelledError:
            self._pending.give_up(call)
            raise

    async def ask(self, question: Question, patience: float, *, all_of_them: bool = True) -> list[Presence]:
        """Ask the running instances who they are and return what they say within ``patience`` seconds.

        Raises:
            ServiceUnreachableError: the broker gives no answer.
        """
        exchange = presence_exchange(self._settings.namespace)
        if not await self._liveness.has_exchange(exchange):
            return []  # no service ever ran here
        if self.ended:
            raise ServiceUnreachableError("nobody was asked: the connection to the broker is lost")
        identity = secrets.token_hex(16)
        milliseconds = str(max(1, int(patience * 1000)))
        properties = spec.Basic.Properties(
            _CONTENT_TYPE,
            delivery_mode=_TRANSIENT,
            correlation_id=identity,
            reply_to=REPLIES,
            expiration=milliseconds,
        )
        self._send(identity, self._channel.message(exchange, "", properties, question.encode(), mandatory=False))
        return await self._answers.collect(identity, question, patience, all_of_them=all_of_them)

    async def close(self) -> None:
        """Disconnect; what is pending fails. Twice is harmless."""
        self._end("the caller closed the connection")
        if self._closing is not None:
            await self._closing

    def on_message(self, message: Received) -> None:
        """Take an answer, to a call or to a question."""
        identity = message.properties.correlation_id or ""
        call = self._pending.get(identity)
        if call is None or not call.is_answered:
            if not self._answers.take(identity, message.body):
                self._pending.unasked(identity)
            return
        self._liveness.heard(call.service)
        if message.size > self._settings.body_bytes:
            limit = self._settings.body_bytes
            self._pending.fail(
                call,
                InvalidAnswerError(f"{call.service} gave an answer of {message.size} bytes; {limit} are taken at most"),
            )
        else:
            self._pending.succeed(call, message.body)

    def on_return(self, reason: str, properties: Properties) -> None:
        """Take note of a request that found no queue."""
        call = self._pending.get(properties.correlation_id or properties.message_id)
        if call is not None:
            self._pending.fail(call, _not_found(call.service))

    def on_confirm(self, number: int, multiple: bool, taken: bool) -> None:
        """Nothing: what is confirmed goes by the other channel."""

    def _send(self, identity: str, write: Write) -> None:
        if self._confirms_calls:
            self._confirmed.send(identity, write)
        else:
            self._channel.outbox.put(write)

    def _write(self, channel: MessageChannel, call: PendingCall, request: WireRequest) -> bytes:
        """Return the frames of a call whose turn it is, unless nobody waits for it any more."""
        if call.answer.done():
            return b""
        left = call.due - self._loop.time()
        properties = spec.Basic.Properties(
            _CONTENT_TYPE,
            headers=dict(request.headers) or None,
            delivery_mode=None if call.is_answered else _PERSISTENT,
            correlation_id=call.id if call.is_answered else None,
            reply_to=REPLIES if call.is_answered else None,
            expiration=str(max(1, int(left * 1000))),  # the deadline, for the broker and for the server
            message_id=None if call.is_answered else call.id,
            user_id=self._user,
        )
        queue = call_queue(self._settings.namespace, call.service)
        try:
            frames = channel.message("", queue, properties, request.body, mandatory=True)
        except (ValueError, TypeError) as error:
            self._pending.fail(call, ServiceUnreachableError(f"{call.service} was not called: {error}"))
            return b""
        call.written_at = self._loop.time()
        return frames

    def _look_after_pending(self) -> None:
        """Look whether somebody still serves the calls that are pending, now and as long as there are any."""
        self._next_look = None
        if not len(self._pending):
            return
        self._next_look = self._loop.call_later(LOOK_AGAIN, self._look_after_pending)
        earlier = self._loop.time() - LOOK_AGAIN
        waiting = [
            call
            for call in self._pending
            if call.is_answered and 0.0 < call.written_at < earlier and not self.is_served(call.service)
        ]
        if waiting and (self._look is None or self._look.done()):
            self._look = self._loop.create_task(self._fail_where_gone(waiting))

    async def _fail_where_gone(self, waiting: Sequence[PendingCall]) -> None:
        """Fail the calls of services that are gone: their answers would be waited for in vain until their deadlines."""
        services = list({call.service for call in waiting})
        gone = dict(zip(services, await asyncio.gather(*map(self._is_gone, services)), strict=True))
        for call in waiting:
            if gone[call.service]:
                self._pending.fail(call, _gone(call.service))

    async def _is_gone(self, service: str) -> bool:
        try:
            if await self.check_served(service, STOPPING_PATIENCE):
                return False
            # An instance that stops has left the queue, and finishes what it has begun.
            return not await self.ask(Question(service, even_stopping=True), STOPPING_PATIENCE, all_of_them=False)
        except ServiceUnreachableError:
            return False  # nobody knows; the deadline decides

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = True
        if self._next_look is not None:
            self._next_look.cancel()
        self._pending.end(f"the connection to the broker is lost ({reason})")
        self._on_end(self)
        self._closing = self._loop.create_task(self._disconnect())

    async def _disconnect(self) -> None:
        await self._liveness.close()
        await end(self._look)
        await self._connection.close()


def _not_found(service: str) -> ServiceNotFoundError:
    return ServiceNotFoundError(f"{service} was not called: there is no such service, or none of its instances runs")


def _gone(service: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(f"{service} was called, and no instance of it runs any more; the call may wait for one")
