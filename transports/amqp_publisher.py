"""Publishing on one channel of a connection, with pipelined confirms."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from gemstone_events.message import Message
from gemstone_events.transport import Outcome
from gemstone_events.transports.amqp_connection import LoopConnection
from gemstone_events.transports.amqp_frames import (
    BASIC_ACK,
    BASIC_NACK,
    BASIC_RETURN,
    CHANNEL_CLOSE,
    HEADER,
    METHOD,
    U64,
    arguments_of,
    method_number,
)
from gemstone_events.transports.amqp_messages import AttributeDecoder, MessageEncoder

_logger = logging.getLogger(__name__)

_MAX_UNCONFIRMED = 4096
"""Messages on their way at once."""
_MAX_BUFFERED = 4 * 1024 * 1024
"""Bytes that wait for the socket, and then a message more."""


class _Batch:
    """The messages of one call of ``publish``, and what became of them so far."""

    __slots__ = ("deadline", "done", "messages", "next", "outcomes", "unconfirmed")

    def __init__(self, messages: Sequence[Message], outcomes: list[Outcome | None], deadline: float) -> None:
        self.messages = messages
        self.outcomes = outcomes
        self.deadline = deadline
        self.next = 0  # position of the first message that was not looked at yet
        self.unconfirmed = 0
        self.done: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> bool:
        """Some of it is unsent or unconfirmed."""
        return self.unconfirmed > 0 or self.next < len(self.messages)

    def settle(self, position: int, outcome: Outcome) -> None:
        """Note what became of a message that was sent; what was returned before it was confirmed stays refused."""
        if self.outcomes[position] is None:
            self.outcomes[position] = outcome
        self.unconfirmed -= 1
        if not self.unconfirmed and self.done is not None and not self.done.done():
            self.done.set_result(None)


class PublishChannel:
    """Sends messages and tells their confirms apart by sequence numbers of its own (P2).

    Attributes:
        declared: event names whose work queues are known to exist.
    """

    def __init__(self, connection: LoopConnection, encoder: MessageEncoder, confirm_timeout: float) -> None:
        """The channel of ``encoder`` is in confirm mode already; ``confirm_timeout`` is in seconds."""
        self.declared: set[str] = set()
        self._connection = connection
        self._encoder = encoder
        self._confirm_timeout = confirm_timeout
        self._loop = asyncio.get_running_loop()
        self._sequence = 0
        self._lowest = 1  # no smaller number is waited for
        self._unconfirmed: dict[int, tuple[_Batch, int, int]] = {}  # number: batch, position, where its bytes end
        self._batches: deque[_Batch] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._drained = asyncio.Event()
        self._returned_type = ""
        self._decoder = AttributeDecoder()

    async def publish(self, messages: Sequence[Message], outcomes: list[Outcome | None]) -> list[Outcome]:
        """Send those messages whose outcome is None and wait for their confirms, until the confirm timeout."""
        batch = _Batch(messages, outcomes, self._loop.time() + self._confirm_timeout)
        self._batches.append(batch)
        if self._timer is None:
            self._timer = self._loop.call_at(batch.deadline, self._on_deadline)
        self._send(batch)
        while batch.next < len(messages) and self._usable(batch):
            self._room.clear()
            await self._room.wait()
            self._send(batch)
        batch.next = len(messages)
        if batch.unconfirmed:
            batch.done = self._loop.create_future()
            await batch.done
        self._forget_finished()
        return [outcome or Outcome.REFUSED for outcome in outcomes]

    async def drain(self, timeout: float) -> None:
        """Wait until nothing is unconfirmed, ``timeout`` seconds at most."""
        if self._unconfirmed:
            self._drained.clear()
            waiting = asyncio.ensure_future(self._drained.wait())
            await asyncio.wait([waiting], timeout=timeout)
            waiting.cancel()

    def connection_ended(self) -> None:
        """Settle everything: what was sent may have arrived, what was not sent in full did not."""
        if self._timer is not None:
            self._timer.cancel()
        sent = self._connection.sent
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for batch, position, end in unconfirmed.values():
            batch.settle(position, Outcome.UNKNOWN if end <= sent else Outcome.REFUSED)
        self._progress()

    def frame(self, kind: int, data: bytes, start: int, end: int) -> None:
        """Take a frame of this channel."""
        if kind == METHOD:
            number = method_number(data, start)
            if number in (BASIC_ACK, BASIC_NACK):
                outcome = Outcome.CONFIRMED if number == BASIC_ACK else Outcome.REFUSED
                self._confirmed(U64.unpack_from(data, start + 4)[0], bool(data[start + 12] & 1), outcome)
            elif number == BASIC_RETURN:
                _, text, _, queue = arguments_of(data, start, end, "Bsss")
                _logger.warning("work came back: no queue %s (%s); it is declared again", queue, text)
            elif number == CHANNEL_CLOSE:
                code, text, *_ = arguments_of(data, start, end, "BsBB")
                self._connection.end(f"the broker closed a channel: {text} ({code})")
        elif kind == HEADER:
            self._returned(self._decoder.attributes(data, start, end, b""))

    def _send(self, batch: _Batch) -> None:
        """Send as much of the batch as there is room for."""
        if not self._usable(batch):
            return
        connection, encode, outcomes = self._connection, self._encoder.frames, batch.outcomes
        out = bytearray()
        written = connection.written
        while batch.next < len(outcomes):
            if len(self._unconfirmed) >= _MAX_UNCONFIRMED or connection.buffered + len(out) > _MAX_BUFFERED:
                break
            position = batch.next
            batch.next += 1
            if outcomes[position] is not None:
                continue
            try:
                out += encode(batch.messages[position])
            except ValueError as error:
                outcomes[position] = Outcome.REFUSED
                _logger.error("event %s cannot be sent: %s", batch.messages[position].id, error)
                continue
            self._sequence += 1
            self._unconfirmed[self._sequence] = (batch, position, written + len(out))
            batch.unconfirmed += 1
        if out:
            connection.write(out)

    def _usable(self, batch: _Batch) -> bool:
        connection = self._connection
        return not connection.blocked and not connection.ended.done() and self._loop.time() < batch.deadline

    def _confirmed(self, number: int, multiple: bool, outcome: Outcome) -> None:
        unconfirmed = self._unconfirmed
        if multiple:
            # 0 stands for all (AMQP 0-9-1, basic.ack.delivery-tag).
            last = number or self._sequence
            for settled in range(self._lowest, last + 1):
                slot = unconfirmed.pop(settled, None)
                if slot is not None:
                    slot[0].settle(slot[1], outcome)
            self._lowest = max(self._lowest, last + 1)
        else:
            slot = unconfirmed.pop(number, None)
            if slot is not None:
                slot[0].settle(slot[1], outcome)
        self._progress()

    def _returned(self, attributes: dict[str, str]) -> None:
        """Refuse what came back; its ack is still to come. A return bears no number, but the message's id."""
        self.declared.discard(attributes.get("type", ""))
        for batch, position, _ in self._unconfirmed.values():
            message = batch.messages[position]
            if not message.broadcast and message.id == attributes.get("id", ""):
                batch.outcomes[position] = Outcome.REFUSED

    def _progress(self) -> None:
        """Wake who waits for room, or for the end."""
        self._room.set()
        if not self._unconfirmed:
            self._drained.set()

    def _forget_finished(self) -> None:
        batches = self._batches
        while batches and not batches[0].waiting:
            batches.popleft()

    def _on_deadline(self) -> None:
        """Give up on batches whose time is over, and on the connection that let it pass (P2)."""
        self._timer = None
        self._forget_finished()
        now = self._loop.time()
        if self._batches and self._batches[0].deadline <= now:
            self._expired(now)
        if self._batches and not self._connection.ended.done():
            self._timer = self._loop.call_at(self._batches[0].deadline, self._on_deadline)

    def _expired(self, now: float) -> None:
        late = [number for number, (batch, _, _) in self._unconfirmed.items() if batch.deadline <= now]
        if late and not self._connection.blocked:
            self._connection.drop(f"no confirm came within {self._confirm_timeout:g} s")
            return
        # A broker under an alarm is alive, and said so: a new connection would not learn of the alarm until it had
        # sent something into it. Confirms that come late find their numbers gone.
        for number in late:
            batch, position, _ = self._unconfirmed.pop(number)
            batch.settle(position, Outcome.UNKNOWN)
        while self._batches and self._batches[0].deadline <= now:
            self._batches.popleft()
        self._progress()
