"""The port of stores: what a service emitted, handled and answered, its retries, dead letters, checkpoints and leases.

A store is found by the scheme of its URL among the entry points ``gemstone_events.stores``; the entry point names a
callable ``(url: str) -> EventStore`` that opens nothing. All times that decide anything come from the store's own
clock, in seconds since 1970.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from gemstone_events.message import Message

SqlValue: TypeAlias = int | float | str | bytes | None
SqlParameters: TypeAlias = Sequence[SqlValue] | Mapping[str, SqlValue]


class InboxKey(NamedTuple):
    """One event for one consumer. A consumer is one handler of one subscription."""

    consumer: str
    event_id: str


class AnswerKey(NamedTuple):
    """One call of one caller, however often it is sent."""

    method: str
    caller: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered with, kept for its repetitions.

    Attributes:
        key: which call it was.
        fingerprint: tells whether a call under the same key is the same call.
        body: the result as JSON text, in UTF-8.
    """

    key: AnswerKey
    fingerprint: str
    body: bytes


class Statement(NamedTuple):
    """The author's own SQL, in the store's dialect and with its placeholders."""

    sql: str
    parameters: SqlParameters = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """An event whose handling failed, or is asked for again, and that waits for its next attempt.

    Attributes:
        key: who will handle what.
        message: the event, whole.
        attempts: how many attempts have failed.
        delay: seconds from the commit until the next attempt is due.
        error: the last failure, for people.
    """

    key: InboxKey
    message: Message
    attempts: int
    delay: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, with the reason. It stays until somebody redrives or purges it.

    Attributes:
        id: the dead letter's own id.
        key: who failed to handle what; ``event_id`` may be empty where the message carries none.
        message: what came, byte for byte.
        reason: one word for programs: ``undecodable``, ``schema``, ``fatal``, ``exhausted``, ``orphaned`` or
            ``refused``.
        error: the last failure, for people.
        attempts: how many attempts were made.
        time: when it died, seconds since 1970; filled by the store.
    """

    id: str
    key: InboxKey
    message: Message
    reason: str
    error: str
    attempts: int
    time: float = 0.0


class Recorded(NamedTuple):
    """An emitted message at its place in the log. Positions rise; they may have holes, which never fill later."""

    position: int
    message: Message


@dataclass(slots=True)
class Changes:
    """What one transaction writes: all of it or nothing.

    Attributes:
        emitted: messages for the log, in order; the log is the outbox.
        handled: inbox marks. A key that is marked already fails the transaction. A mark ends the key's retries.
        statements: the author's own SQL, run in order.
        retries: attempts to come; each replaces what its key had, and frees the claim on it. One whose key is marked
            as handled already is dropped: the event has had its effect.
        dead_letters: letters to keep; each marks its key as handled, where it has an ``event_id``, and ends its retries.
            One whose key was marked already is dropped, for the same reason.
        checkpoints: names and positions; a checkpoint never moves back.
        answers: answers to calls. One whose key is there already fails the transaction, before anything else could.
    """

    emitted: list[Message] = field(default_factory=list)
    handled: list[InboxKey] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    checkpoints: dict[str, int] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.emitted
            or self.handled
            or self.statements
            or self.retries
            or self.dead_letters
            or self.checkpoints
            or self.answers
        )


class EventStore(Protocol):
    """Where a service keeps what must not be lost. All methods belong to one event loop; any number may wait at once.

    Every method may raise StoreUnavailableError (try again later) and, where it writes, StoreFullError.
    """

    durable: bool
    """What was committed survives the death of the process and of the machine's power."""

    @property
    def address(self) -> str:
        """The URL without credentials, fit to be shown."""

    async def open(self) -> None:
        """Create or check the tables.

        Raises:
            StoreRefusedError: the database cannot be used as it is; the message says how to mend it.
        """

    async def close(self) -> None:
        """Finish the commits that wait and let go of the database. Twice is harmless."""

    async def commit(self, changes: Changes) -> None:
        """Write all of ``changes`` in one transaction, and return when it is as durable as the store is.

        Commits that wait together may share one physical transaction; a failing one never touches the others.

        Raises:
            AlreadyAnsweredError: a key in ``answers`` has its answer already.
            AlreadyHandledError: a key in ``handled`` is marked already.
            InvalidEventError: an emitted event's id is in the log already.
            StatementError: the author's SQL failed.
            ValueError: a key that is to be marked or retried has no ``event_id``, so it could not be told from others.
        """

    async def read_emitted(self, after: int, limit: int) -> Sequence[Recorded]:
        """Return up to ``limit`` emitted messages with positions above ``after``, in order.

        A message with a lower position than one returned never appears later.
        """

    async def wait_emitted(self, after: int, timeout: float) -> None:
        """Return when there may be a message above ``after``, by whichever process, or after ``timeout`` seconds."""

    async def checkpoint(self, name: str) -> int | None:
        """Return a checkpoint's position, or None where it was never set."""

    async def checkpoints(self) -> Mapping[str, int]:
        """Return all checkpoints."""

    async def last_position(self) -> int:
        """Return the highest position in the log, 0 where it is empty."""

    async def find_settled(self, keys: Sequence[InboxKey], *, final: bool = False) -> set[InboxKey]:
        """Return those of ``keys`` that are marked as handled or, unless ``final``, have an attempt to come or running."""

    async def find_answer(self, key: AnswerKey) -> Answer | None:
        """Return the answer that is stored under ``key``, or None."""

    async def claim_retries(self, consumers: Sequence[str], owner: str, lease: float, limit: int) -> Sequence[Retry]:
        """Return up to ``limit`` due retries of ``consumers`` and keep other owners off them for ``lease`` seconds.

        A claim ends with the commit that marks, reschedules or gives up its key. While it lasts, its owner does not
        get the retry a second time either.
        """

    async def renew_claims(self, owner: str, lease: float) -> int:
        """Keep others off all that ``owner`` has claimed for another ``lease`` seconds; return how many those are."""

    async def seconds_to_next_retry(self, consumers: Sequence[str]) -> float | None:
        """Return how long until a retry of ``consumers`` may be claimed (0 if now), or None where there is none."""

    async def find_unclaimed(self, seconds: float, limit: int = 100) -> Sequence[Retry]:
        """Return up to ``limit`` retries that nobody takes, the longest due first.

        Those are the retries of each consumer for whom all that waits has been due for more than ``seconds`` seconds:
        of one that runs, something is always claimed, or not due yet.
        """

    async def list_dead_letters(self, limit: int = 100, pattern: str = "#") -> Sequence[DeadLetter]:
        """Return the newest dead letters whose event name matches ``pattern``; ``#`` takes nameless ones as well."""

    async def get_dead_letter(self, letter_id: str) -> DeadLetter | None:
        """Return one dead letter, or None."""

    async def redrive(self, letter_ids: Sequence[str]) -> int:
        """Turn dead letters into retries that are due at once, with no attempt counted; return how many.

        Their keys are no longer marked. A letter without an ``event_id`` is retried under its own id instead.
        """

    async def purge_dead_letters(self, letter_ids: Sequence[str]) -> int:
        """Delete dead letters; return how many. Their keys stay marked as handled."""

    async def forget_handled(self, older_than: float, limit: int = 10_000) -> int:
        """Delete inbox marks and answers older than ``older_than`` seconds, up to ``limit`` in all; return how many."""

    async def acquire_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew the lease ``name``; False where another owner holds it. Measured by the store's clock.

        All who ask for one name ask for the same ``seconds``: a lease that ends later than a new one would is from
        before the clock was set back, and ends at once. Its owner learns with its next renewal who has it now.
        """

    async def release_lease(self, name: str, owner: str) -> None:
        """Give the lease back, if ``owner`` holds it."""

    async def query(self, statement: Statement) -> Sequence[tuple[SqlValue, ...]]:
        """Run a reading statement on what is committed.

        Raises:
            StatementError: it failed, or would write.
        """

    async def check(self) -> str:
        """Examine the database thoroughly and return ``ok``, or what is wrong with it."""
