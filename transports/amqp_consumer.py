"""Consuming one subscription on one channel of a connection."""

import logging

from gemstone_events.message import Message
from gemstone_events.transport import Receive, Subscription
from gemstone_events.transports.amqp_connection import LoopConnection
from gemstone_events.transports.amqp_frames import (
    BASIC_CANCEL_BY_BROKER,
    BASIC_CANCEL_BY_CLIENT,
    BASIC_DELIVER,
    BODY,
    CHANNEL_CLOSE,
    HEADER,
    METHOD,
    U64,
    FrameError,
    arguments_of,
    method,
    method_number,
)
from gemstone_events.transports.amqp_messages import AttributeDecoder
from gemstone_events.transports.amqp_settlements import Settlements

_logger = logging.getLogger(__name__)


class AmqpDelivery:
    """A delivery of one channel of one connection; see ``transport.Delivery``."""

    __slots__ = ("_channel", "_tag", "message", "redelivered")

    def __init__(self, channel: "ConsumeChannel", tag: int, message: Message, redelivered: bool) -> None:
        self._channel: ConsumeChannel | None = channel
        self._tag = tag
        self.message = message
        self.redelivered = redelivered

    def ack(self) -> None:
        """Tell the broker, with this turn of the loop, that it may forget the message."""
        channel = self._channel
        if channel is not None:
            self._channel = None
            channel.ack(self._tag)

    def release(self) -> None:
        """Tell the broker, with this turn of the loop, to deliver the message again."""
        channel = self._channel
        if channel is not None:
            self._channel = None
            channel.release(self._tag)


class ConsumeChannel:
    """Puts deliveries together and hands out those that came with one read; gathers what they are settled with.

    It belongs to one connection, and so do its deliveries: after the end of it nothing is sent for them, for another
    connection would take their tags for those of other messages (P40).
    """

    def __init__(
        self, connection: LoopConnection, number: int, subscription: Subscription, consumer_tag: str, receive: Receive
    ) -> None:
        """``number`` is the channel's, on which ``consumer_tag`` consumes already."""
        self._connection = connection
        self._number = number
        self._subscription = subscription
        self._consumer_tag = consumer_tag
        self._receive = receive
        self._decoder = AttributeDecoder()
        self._settlements = Settlements(number)
        self._flush_due = False
        self._open = True
        self._stopped = False
        self._batch: list[AmqpDelivery] = []
        self._delivered = 0
        self._unsettled = 0
        self._delivered_when_waiting: int | None = None
        # The delivery whose frames are coming in: method, header, then body frames until nothing is missing.
        self._tag = 0
        self._redelivered = False
        self._route = b""
        self._attributes: dict[str, str] = {}
        self._missing = 0
        self._parts: list[bytes] = []

    def stop(self) -> None:
        """Take no more deliveries; those on their way are given back. Those handed out can still be settled."""
        if not self._stopped:
            self._stopped = True
            self._connection.write(method(self._number, BASIC_CANCEL_BY_CLIENT, "sb", self._consumer_tag, False))

    def is_passed_over(self, ready: int) -> bool:
        """Tell whether messages waited at the last question and now, and none came between though there was room.

        Args:
            ready: how many the broker has just said to wait in the queue.
        """
        could_take = ready > 0 and self._unsettled < self._subscription.prefetch
        known, self._delivered_when_waiting = self._delivered_when_waiting, self._delivered if could_take else None
        return could_take and known == self._delivered

    def ack(self, tag: int) -> None:
        """Ack the delivery ``tag`` with this turn of the loop."""
        self._unsettled -= 1
        self._settlements.ack(tag)
        if not self._flush_due:
            self._flush_soon()

    def release(self, tag: int) -> None:
        """Give the delivery ``tag`` back with this turn of the loop."""
        self._unsettled -= 1
        self._settlements.release(tag)
        if not self._flush_due:
            self._flush_soon()

    def connection_ended(self) -> None:
        """Forget what was not settled: the broker delivers it again."""
        self._open = False
        self._batch.clear()

    def frame(self, kind: int, data: bytes, start: int, end: int) -> None:
        """Take a frame of this channel."""
        if kind == METHOD:
            number = method_number(data, start)
            if number == BASIC_DELIVER:
                at = start + 5 + data[start + 4]
                self._tag = U64.unpack_from(data, at)[0]
                self._redelivered = data[at + 8] != 0
                self._route = data[at + 9 : end]
            else:
                self._other_method(number, data, start, end)
        elif kind == HEADER:
            self._missing = U64.unpack_from(data, start + 4)[0]
            self._attributes = self._decoder.attributes(data, start, end, self._route)
            if not self._missing:
                self._complete(b"")
        elif kind == BODY:
            size = end - start
            if size == self._missing and not self._parts:
                self._complete(data[start:end])
            else:
                self._part(data[start:end])

    def _part(self, part: bytes) -> None:
        if len(part) > self._missing:
            raise FrameError("a body is longer than its header says")
        self._parts.append(part)
        self._missing -= len(part)
        if not self._missing:
            body = b"".join(self._parts)
            self._parts.clear()
            self._complete(body)

    def _complete(self, body: bytes) -> None:
        self._missing = 0
        self._delivered += 1
        self._unsettled += 1
        if self._stopped:
            self.release(self._tag)
            return
        if not self._batch:
            self._connection.after_read(self._hand_out)
        message = Message(self._attributes, body, not self._subscription.work_queue)
        self._batch.append(AmqpDelivery(self, self._tag, message, self._redelivered))

    def _hand_out(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        try:
            self._receive(self._subscription, batch)
        except Exception:
            # The port forbids it. The deliveries stay with whoever took them, and the connection goes on.
            _logger.exception("receiving %d deliveries of %s failed", len(batch), self._subscription.pattern)

    def _flush_soon(self) -> None:
        if self._open:
            self._flush_due = True
            self._connection.before_flush(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._open:
            self._connection.write(self._settlements.frames())

    def _other_method(self, number: int, data: bytes, start: int, end: int) -> None:
        if number == BASIC_CANCEL_BY_BROKER:
            self._connection.end(
                f"the broker ended the consumer of {self._subscription.pattern!r}: its queue was deleted or moved"
            )
        elif number == CHANNEL_CLOSE:
            code, text, *_ = arguments_of(data, start, end, "BsBB")
            self._connection.end(f"the broker closed a channel: {text} ({code})")
