"""One connection of a service that serves calls: what comes in by it, and the answers that go out."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from pamqp import commands as spec

from gemstone_events.cancellation import end
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ServerSettings
from gemstone_events.rpc.wires.amqp.address import call_queue, presence_exchange
from gemstone_events.rpc.wires.amqp.channel import MessageChannel
from gemstone_events.rpc.wires.amqp.connection import AmqpConnection, said, undisturbed, watch
from gemstone_events.rpc.wires.amqp.incoming import Properties, Received
from gemstone_events.rpc.wires.amqp.questions import answer
from gemstone_events.rpc.wires.amqp.request import (
    DIRECT_REPLIES,
    ForbiddenReplyError,
    ServedRequest,
    check_reply_to,
    read_request,
)

ANSWER_TIMEOUT = 10.0
"""Seconds for the broker to answer while the queues are declared."""
LEAVE_TIMEOUT = 2.0
"""Seconds for the broker to confirm that no more calls come, and for the last answers to be written."""
MAX_PREFETCH = 65535

_CALLS, _QUESTIONS = "calls", "questions"

_logger = logging.getLogger("gemstone_events.rpc.amqp")


@dataclass(slots=True)
class ServedCounts:
    """What a server's side has seen besides calls that were carried out and answered.

    Attributes:
        forbidden: messages that were dropped because their answers were wanted where none may be sent.
        refused: messages that were answered with an error before they were looked into.
        expired: messages that were dropped because their callers no longer wait.
        undeliverable: answers that found no queue.
        lost: answers whose connection was lost before they were sent.
    """

    forbidden: int = 0
    refused: int = 0
    expired: int = 0
    undeliverable: int = 0
    lost: int = 0


Begin: TypeAlias = "Callable[[ServerSession, int, ServedRequest], object]"


class ServerSession:
    """Serves over one connection until that is lost.

    Args:
        connection: logged in.
        settings: the service's.
        counts: of the wire.
        begin: begins to carry out a request; ``finish`` is called with what it was given.

    Attributes:
        ended: its result says why nothing comes any more.
        trouble: why no calls come at the moment, for people; empty while they come.
    """

    def __init__(
        self, connection: AmqpConnection, settings: ServerSettings, counts: ServedCounts, begin: Begin
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._counts = counts
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._channel: MessageChannel
        self._mending: asyncio.Task[None] | None = None
        self._stopping = False
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.trouble = ""

    async def open(self) -> None:
        """Declare what is needed and begin to take calls. Whatever aiormq raises comes through.

        Raises:
            ServiceConfigurationError: the queue exists and was declared otherwise.
        """
        async with asyncio.timeout(ANSWER_TIMEOUT):
            self._channel = await self._connection.messages(self, self._settings.body_bytes, confirms=False)
            channel = self._channel.channel
            watch(channel, self._end)
            channel.on_consumer_cancel_callbacks.add(self._on_cancel)
            await channel.basic_qos(prefetch_count=min(self._settings.concurrency, MAX_PREFETCH))
            await self._take_questions()
            await self._take_calls()

    async def take_no_more(self) -> None:
        """Leave the queue. What the broker sent before it heard of that still comes."""
        self._stopping = True
        # What the broker does not answer in time it may not have heard; the connection is closed soon after.
        with contextlib.suppress(Exception):
            await undisturbed(self._channel.channel.basic_cancel(_CALLS, timeout=LEAVE_TIMEOUT))

    async def flush(self) -> None:
        """Wait until all answers are written, for ``LEAVE_TIMEOUT`` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self._channel.outbox.flushed()

    async def close(self) -> None:
        """Disconnect. Twice is harmless."""
        self._end("closed")
        await end(self._mending)
        await self._connection.close()

    def finish(self, delivery_tag: int, request: ServedRequest, body: bytes | None) -> None:
        """Send the answer, if one is wanted, then tell the broker that the request is done with."""
        if self.ended.done():
            self._counts.lost += 1
            _logger.debug("an answer is lost with its connection; the request comes again, as repeated")
            return
        frames = self._channel.ack_frame(delivery_tag)
        if body is not None and request.reply_to is not None:
            # The broker counts direct reply-to as no queue, and would return each answer to it besides delivering it.
            mandatory = not request.reply_to.startswith(DIRECT_REPLIES)
            frames = self._reply(request.reply_to, request.correlation_id, body, mandatory=mandatory) + frames
        self._channel.outbox.put(frames)

    def on_message(self, message: Received) -> None:
        """Take a call or a question."""
        if message.consumer == _QUESTIONS:
            self._answer_question(message)
            return
        try:
            request = read_request(message, self._settings.namespace, self._settings.body_bytes)
        except ForbiddenReplyError as error:
            self._counts.forbidden += 1
            _logger.warning("a call of %s is dropped: %s", self._settings.service, error)
            self._channel.ack(message.delivery_tag)
            return
        if request.refusal is not None:
            self._counts.refused += 1
            self.finish(message.delivery_tag, request, request.refusal)
        elif request.context.timeout is not None and request.context.timeout <= 0:
            self._counts.expired += 1
            _logger.debug("a call of %s is dropped: its time is up", self._settings.service)
            self._channel.ack(message.delivery_tag)
        else:
            self._begin(self, message.delivery_tag, request)

    def on_return(self, reason: str, properties: Properties) -> None:
        """Take note of an answer whose queue is gone."""
        self._counts.undeliverable += 1
        _logger.info("an answer of %s found no queue: its caller is gone (%s)", self._settings.service, reason)

    def on_confirm(self, number: int, multiple: bool, taken: bool) -> None:
        """Nothing: the channel asks for no confirms."""

    def _reply(self, reply_to: str, correlation_id: str | None, body: bytes, *, mandatory: bool) -> bytes:
        properties = spec.Basic.Properties("application/json", correlation_id=correlation_id)
        return self._channel.message("", reply_to, properties, body, mandatory=mandatory)

    def _answer_question(self, message: Received) -> None:
        reply_to = message.properties.reply_to
        try:
            check_reply_to(reply_to or "", self._settings.namespace)
        except ForbiddenReplyError:
            self._counts.forbidden += 1
            return
        body = answer(message.body, self._presence, stopping=self._stopping)
        if body is not None and reply_to:
            self._channel.outbox.put(self._reply(reply_to, message.properties.correlation_id, body, mandatory=False))

    def _presence(self) -> Presence:
        return self._settings.presence()

    async def _take_calls(self) -> None:
        queue = call_queue(self._settings.namespace, self._settings.service)
        try:
            await self._channel.channel.queue_declare(queue, durable=True)
        except Exception as error:
            if "inequivalent arg" in said(error):
                raise ServiceConfigurationError(
                    f"the queue {queue!r} exists and was declared otherwise ({said(error)}): delete it, and it is "
                    "declared anew as a durable classic queue"
                ) from error
            raise
        await self._channel.consume(queue, _CALLS, no_ack=False)

    async def _take_questions(self) -> None:
        channel = self._channel.channel
        exchange = presence_exchange(self._settings.namespace)
        # Under the namespace, so that nobody can have answers to calls sent into it.
        queue = f"{exchange}.{secrets.token_hex(8)}"
        await channel.exchange_declare(exchange, exchange_type="fanout", durable=True)
        await channel.queue_declare(queue, exclusive=True, auto_delete=True)
        await channel.queue_bind(queue, exchange)
        await self._channel.consume(queue, _QUESTIONS, no_ack=True)

    def _on_cancel(self, frame: spec.Basic.Cancel) -> None:
        """Somebody deleted a queue. What was begun goes on, and is answered, while it is declared anew."""
        if self._stopping or self.ended.done():
            return
        self.trouble = "the queue was deleted; it is declared anew"
        _logger.warning("%s: somebody deleted a queue; it is declared anew", self._settings.service)
        before = self._mending
        self._mending = self._loop.create_task(self._mend(frame.consumer_tag == _CALLS, before))

    async def _mend(self, calls: bool, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await (self._take_calls() if calls else self._take_questions())
        except Exception as error:  # noqa: BLE001 - whatever it was, a new connection is tried
            self._end(f"a queue was deleted and could not be declared anew: {said(error)}")
        else:
            self.trouble = ""

    def _end(self, reason: str) -> None:
        self.trouble = self.trouble or reason
        if not self.ended.done():
            self.ended.set_result(reason)
