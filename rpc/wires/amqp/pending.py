"""Calls that wait for their answers, each until its own deadline."""

import asyncio
import logging
import secrets
from collections.abc import Iterator

from gemstone_events.deadlines import Deadlines
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    OutcomeUnknownError,
    ServiceCommunicationException,
    ServiceUnreachableError,
)
from gemstone_events.rpc.wire import WireCounts

REMEMBERED = 10_000
"""How many calls that were given up are remembered, to tell a late answer from a forged one."""

_logger = logging.getLogger("gemstone_events.rpc.amqp")


class PendingCall:
    """One call.

    Attributes:
        id: its correlation id: 128 bits that nobody can guess.
        service: the name of the service.
        due: when it is given up, by the loop's clock.
        is_answered: False where the broker's confirm is all that is waited for.
        written_at: when it was handed to the connection; 0.0 as long as it certainly was not.
        answer: done when it is.
    """

    __slots__ = ("answer", "due", "id", "is_answered", "service", "written_at")

    def __init__(self, service: str, due: float, is_answered: bool, loop: asyncio.AbstractEventLoop) -> None:
        self.id = secrets.token_hex(16)
        self.service = service
        self.due = due
        self.is_answered = is_answered
        self.written_at = 0.0
        self.answer: asyncio.Future[bytes | None] = loop.create_future()


class PendingCalls:
    """The calls of one connection that are not settled.

    Args:
        limit: how many there may be.
        counts: where late, unexpected and unknown ones are counted.
    """

    def __init__(self, limit: int, counts: WireCounts) -> None:
        self._limit = limit
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._calls: dict[str, PendingCall] = {}
        self._given_up: dict[str, None] = {}
        self._deadlines: Deadlines[PendingCall] = Deadlines(self._expire)

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[PendingCall]:
        return iter(list(self._calls.values()))

    def begin(self, service: str, due: float, is_answered: bool) -> PendingCall:
        """Add a call.

        Raises:
            ServiceUnreachableError: there are too many.
        """
        if len(self._calls) >= self._limit:
            raise ServiceUnreachableError(
                f"{service} was not called: {self._limit} calls wait for their answers already"
            )
        call = PendingCall(service, due, is_answered, self._loop)
        self._calls[call.id] = call
        self._deadlines.begin(call, due)
        return call

    def get(self, identity: str | None) -> PendingCall | None:
        """Return a call that is pending, or None."""
        return self._calls.get(identity or "")

    def succeed(self, call: PendingCall, answer: bytes | None) -> None:
        """Settle a call: this is its answer."""
        del self._calls[call.id]
        self._deadlines.end(call)
        if not call.answer.done():
            call.answer.set_result(answer)

    def fail(self, call: PendingCall, error: ServiceCommunicationException) -> None:
        """Settle a call: this went wrong."""
        if self._calls.pop(call.id, None) is None:
            return
        self._deadlines.end(call)
        if isinstance(error, OutcomeUnknownError):
            self._counts.unknown += 1
            self._remember(call.id)
        if not call.answer.done():
            call.answer.set_exception(error)

    def give_up(self, call: PendingCall) -> None:
        """The caller waits no longer."""
        self._deadlines.end(call)
        if self._calls.pop(call.id, None) is not None and call.written_at:
            self._counts.unknown += 1
            self._remember(call.id)
            _logger.debug("a call of %s was cancelled by its caller; it may still be carried out", call.service)

    def unasked(self, identity: str | None) -> None:
        """Count an answer that belongs to no pending call."""
        if identity in self._given_up:
            del self._given_up[identity]
            self._counts.late += 1
            _logger.debug("an answer came too late and is ignored")
        else:
            self._counts.unexpected += 1
            _logger.debug("an answer that nobody asked for is ignored")

    def end(self, reason: str) -> None:
        """Settle every call: the connection is no more."""
        for call in self:
            if call.written_at:
                self.fail(call, OutcomeUnknownError(f"{call.service}: no answer will come, for {reason}"))
            else:
                self.fail(call, ServiceUnreachableError(f"{call.service} was not called: {reason}"))
        self._deadlines.close()

    def _remember(self, identity: str) -> None:
        self._given_up[identity] = None
        if len(self._given_up) > REMEMBERED:
            del self._given_up[next(iter(self._given_up))]

    def _expire(self, call: PendingCall) -> None:
        if call.written_at:
            self.fail(call, CallTimeoutError(f"{call.service} gave no answer in time; it may still carry it out"))
        else:
            self.fail(call, ServiceUnreachableError(f"{call.service} was not called: the broker takes no messages"))
