"""The publishing half of the bus thread: all calls that wait share one transaction."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import apsw

from gemstone_events.transport import Outcome
from gemstone_events.transports.embedded_bus import Bus, Row
from gemstone_events.transports.embedded_file import CommitUncertainError

_ROWS_PER_TRANSACTION = 1000  # so that one process does not keep the others from the file for long
_MAX_PROBE_BYTES = 4 * 1024 * 1024


class PublishCall(NamedTuple):
    """One call of ``publish``; the future gets the outcome that all its rows share."""

    rows: Sequence[Row]
    future: asyncio.Future[Outcome]


class Answer(NamedTuple):
    """What a call's future is to be told."""

    future: asyncio.Future[Outcome]
    outcome: Outcome


class BusPublisher:
    """The publish calls that wait, and what became of those that did not get through."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: deque[PublishCall] = deque()
        self._refused_bytes = 0
        self.error: Exception | None = None
        """Why the last attempt failed; None where all is well."""

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to publish."""
        return bool(self._waiting)

    def add(self, call: PublishCall) -> None:
        """Let a call wait for the next transaction."""
        self._waiting.append(call)

    def publish(self) -> tuple[list[Answer], set[int]]:
        """Put the next waiting calls into the file; return their answers and the instances to wake."""
        calls = self._next_calls()
        rows = [row for call in calls for row in call.rows]
        instances: set[int] = set()
        outcome = Outcome.CONFIRMED
        self.error = None
        try:
            instances = self._bus.publish(rows)
        except CommitUncertainError as error:
            outcome, self.error = Outcome.UNKNOWN, error
        except apsw.Error as error:
            outcome, self.error = Outcome.REFUSED, error
        if self.error is not None:
            self._refused_bytes = sum(len(row.body) + len(row.attributes) for row in rows)
        return [Answer(call.future, outcome) for call in calls], instances

    def refuse_all(self) -> list[Answer]:
        """Refuse what waits."""
        answers = [Answer(call.future, Outcome.REFUSED) for call in self._waiting]
        self._waiting.clear()
        return answers

    def probe(self) -> None:
        """Find out whether what was refused would be taken by now, and note it in ``error``."""
        try:
            self._bus.probe(min(self._refused_bytes, _MAX_PROBE_BYTES))
        except (apsw.Error, CommitUncertainError) as error:
            self.error = error
        else:
            self.error = None

    def _next_calls(self) -> list[PublishCall]:
        calls: list[PublishCall] = []
        rows = 0
        while self._waiting and (not calls or rows + len(self._waiting[0].rows) <= _ROWS_PER_TRANSACTION):
            call = self._waiting.popleft()
            rows += len(call.rows)
            if not call.future.cancelled():  # its caller gave up before anything was done
                calls.append(call)
        return calls
