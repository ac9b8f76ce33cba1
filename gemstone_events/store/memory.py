"""The store in memory: for tests, and for services that leave the delivery to the broker until they are done.

It keeps what the port promises but survives nothing. The author's statements run in a private SQLite database in
memory, opened at the first of them.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import TypeVar

import apsw

from gemstone_events.errors import (
    AlreadyAnsweredError,
    AlreadyHandledError,
    InvalidEventError,
    ServiceConfigurationError,
    StatementError,
    StoreUnavailableError,
)
from gemstone_events.names import check_pattern, matches
from gemstone_events.store.emitted_signal import EmittedSignal
from gemstone_events.store.port import (
    Answer,
    AnswerKey,
    Changes,
    DeadLetter,
    InboxKey,
    Recorded,
    Retry,
    SqlValue,
    Statement,
)
from gemstone_events.store.sqlite_author import AuthorSql
from gemstone_events.store.sqlite_transaction import Transaction

KEPT_MESSAGES = 100_000

_Key = TypeVar("_Key")


def open_url(url: str) -> "MemoryStore":
    """Return a new store, a world of its own, for ``memory:`` or ``memory://``.

    Raises:
        ServiceConfigurationError: the URL says more than that.
    """
    if url not in ("memory:", "memory://"):
        raise ServiceConfigurationError(f"{url!r} names more than a store in memory can have: use memory:")
    return MemoryStore()


@dataclass(slots=True)
class _Attempt:
    retry: Retry
    due: float
    owner: str = ""


class MemoryStore:
    """An ``EventStore`` in this process.

    Args:
        clock: the store's clock, in seconds since 1970.
        kept_messages: how many emitted messages stay at least, once every checkpoint has passed them. Older ones are
            forgotten, so that a service may run for ever; with no checkpoint, all stay.
    """

    durable = False
    """It dies with the process."""

    def __init__(self, clock: Callable[[], float] = time.time, kept_messages: int = KEPT_MESSAGES) -> None:
        self._clock = clock
        self._kept_messages = kept_messages
        self._is_open = False
        self._log: list[Recorded] = []
        self._forgotten = 0
        self._ids: set[str] = set()
        self._handled: dict[InboxKey, float] = {}
        self._answers: dict[AnswerKey, Answer] = {}
        self._answered_at: dict[AnswerKey, float] = {}
        self._attempts: dict[InboxKey, _Attempt] = {}
        self._letters: dict[str, DeadLetter] = {}
        self._checkpoints: dict[str, int] = {}
        self._leases: dict[str, tuple[str, float]] = {}
        self._signal = EmittedSignal()
        self._database: apsw.Connection | None = None
        self._author: AuthorSql | None = None

    @property
    def address(self) -> str:
        """The URL."""
        return "memory:"

    async def open(self) -> None:
        """Make it usable; there is nothing to create or check."""
        self._is_open = True

    async def close(self) -> None:
        """Make it unusable. What it holds stays until it is opened again or dropped. Twice is harmless."""
        self._is_open = False
        self._signal.wake()

    async def commit(self, changes: Changes) -> None:
        """Apply all of ``changes`` or nothing, without giving way to other tasks; see the port."""
        self._check_open()
        self._check(changes)
        if changes.statements:
            self._execute(changes.statements)
        self._apply(changes)

    async def read_emitted(self, after: int, limit: int) -> Sequence[Recorded]:
        """Return up to ``limit`` emitted messages with positions above ``after``, in order."""
        self._check_open()
        start = max(0, after - self._forgotten)
        return self._log[start : start + limit]

    async def wait_emitted(self, after: int, timeout: float) -> None:
        """Return when there is a message above ``after``, or after ``timeout`` seconds."""
        self._check_open()
        if self._last_position <= after:
            expected = self._signal.expect()
            try:
                await self._signal.wait(expected, timeout)
            finally:
                self._signal.forget(expected)

    async def checkpoint(self, name: str) -> int | None:
        """Return a checkpoint's position, or None where it was never set."""
        self._check_open()
        return self._checkpoints.get(name)

    async def checkpoints(self) -> Mapping[str, int]:
        """Return all checkpoints."""
        self._check_open()
        return dict(self._checkpoints)

    async def last_position(self) -> int:
        """Return the highest position in the log, 0 where it is empty."""
        self._check_open()
        return self._last_position

    async def find_settled(self, keys: Sequence[InboxKey], *, final: bool = False) -> set[InboxKey]:
        """Return those of ``keys`` that are marked as handled, or have an attempt to come or running."""
        self._check_open()
        return {key for key in keys if key in self._handled or (not final and key in self._attempts)}

    async def find_answer(self, key: AnswerKey) -> Answer | None:
        """Return the answer that is stored under ``key``, or None."""
        self._check_open()
        return self._answers.get(key)

    async def claim_retries(self, consumers: Sequence[str], owner: str, lease: float, limit: int) -> Sequence[Retry]:
        """Claim due retries, the longest due first; see the port."""
        self._check_open()
        now = self._clock()
        due = sorted((found for found in self._of(consumers) if found.due <= now), key=lambda found: found.due)
        claimed = [attempt.retry for attempt in due[:limit]]
        for attempt in due[:limit]:
            attempt.due, attempt.owner = now + lease, owner
            attempt.retry = replace(attempt.retry, attempts=attempt.retry.attempts + 1)
        return claimed

    async def renew_claims(self, owner: str, lease: float) -> int:
        """Keep others off all that ``owner`` has claimed; return how many those are."""
        self._check_open()
        claimed = [attempt for attempt in self._attempts.values() if attempt.owner == owner]
        for attempt in claimed:
            attempt.due = self._clock() + lease
        return len(claimed)

    async def seconds_to_next_retry(self, consumers: Sequence[str]) -> float | None:
        """Return how long until a retry of ``consumers`` may be claimed (0 if now), or None where there is none."""
        self._check_open()
        due = min((attempt.due for attempt in self._of(consumers)), default=None)
        return None if due is None else max(0.0, due - self._clock())

    async def find_unclaimed(self, seconds: float, limit: int = 100) -> Sequence[Retry]:
        """Return retries that nobody takes, the longest due first; see the port."""
        self._check_open()
        latest: dict[str, float] = {}
        for key, attempt in self._attempts.items():
            latest[key.consumer] = max(attempt.due, latest.get(key.consumer, attempt.due))
        before = self._clock() - seconds
        found = self._of(consumer for consumer, due in latest.items() if due < before)
        return [attempt.retry for attempt in sorted(found, key=lambda each: each.due)[:limit]]

    async def list_dead_letters(self, limit: int = 100, pattern: str = "#") -> Sequence[DeadLetter]:
        """Return the newest dead letters whose event name matches ``pattern``; see the port."""
        self._check_open()
        check_pattern(pattern)
        newest = reversed(self._letters.values())
        return [
            letter
            for letter in newest
            if pattern == "#" or (letter.message.type and matches(pattern, letter.message.type))
        ][:limit]

    async def get_dead_letter(self, letter_id: str) -> DeadLetter | None:
        """Return one dead letter, or None."""
        self._check_open()
        return self._letters.get(letter_id)

    async def redrive(self, letter_ids: Sequence[str]) -> int:
        """Turn dead letters into retries that are due at once; see the port."""
        self._check_open()
        letters = self._take_letters(letter_ids)
        for letter in letters:
            key = letter.key if letter.key.event_id else InboxKey(letter.key.consumer, letter.id)
            self._handled.pop(key, None)
            self._attempts[key] = _Attempt(Retry(key, letter.message, 0, 0.0, letter.error), self._clock())
        return len(letters)

    async def purge_dead_letters(self, letter_ids: Sequence[str]) -> int:
        """Delete dead letters; return how many. Their keys stay marked as handled."""
        self._check_open()
        return len(self._take_letters(letter_ids))

    async def forget_handled(self, older_than: float, limit: int = 10_000) -> int:
        """Delete inbox marks and answers older than ``older_than`` seconds, up to ``limit`` in all; return how many."""
        self._check_open()
        latest = self._clock() - older_than
        marks = _oldest(self._handled, latest, limit)
        for key in marks:
            del self._handled[key]
        answers = _oldest(self._answered_at, latest, limit - len(marks))
        for answered in answers:
            del self._answers[answered], self._answered_at[answered]
        return len(marks) + len(answers)

    async def acquire_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew the lease ``name``; False where another owner holds it."""
        self._check_open()
        now = self._clock()
        holder, expires = self._leases.get(name, (owner, now))
        if (
            holder != owner and now < expires <= now + seconds
        ):  # one that ends later is from before the clock was set back
            return False
        self._leases[name] = (owner, now + seconds)
        return True

    async def release_lease(self, name: str, owner: str) -> None:
        """Give the lease back, if ``owner`` holds it."""
        self._check_open()
        if self._leases.get(name, ("", 0.0))[0] == owner:
            del self._leases[name]

    async def query(self, statement: Statement) -> Sequence[tuple[SqlValue, ...]]:
        """Run a reading statement on what the author's statements have committed.

        Raises:
            StatementError: it failed, or would write.
        """
        self._check_open()
        database, author = self._open_database()
        database.execute("PRAGMA query_only=ON")
        try:
            return author.execute(statement)
        finally:
            database.execute("PRAGMA query_only=OFF")

    async def check(self) -> str:
        """Return ``ok``: there is nothing that could be damaged."""
        self._check_open()
        return "ok"

    @property
    def _last_position(self) -> int:
        return self._forgotten + len(self._log)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreUnavailableError("the store is not open")

    def _check(self, changes: Changes) -> None:
        if not all(key.event_id for key in (*changes.handled, *(retry.key for retry in changes.retries))):
            raise ValueError("an event without an id can be neither marked as handled nor retried: dead-letter it")
        answered = [answer.key for answer in changes.answers]
        for answer_key in answered:
            if answer_key in self._answers or answered.count(answer_key) > 1:
                raise AlreadyAnsweredError(f"answered already: {answer_key}")
        marked = [letter.key for letter in changes.dead_letters if letter.key.event_id]
        seen = set(marked)
        for key in changes.handled:
            if key in self._handled or key in seen:
                raise AlreadyHandledError(f"handled already: {key.event_id!r} for {key.consumer!r}")
            seen.add(key)
        ids = [message.id for message in changes.emitted]
        if len(set(ids)) != len(ids) or not self._ids.isdisjoint(ids):
            raise InvalidEventError(
                "an event with this id is in the log already: an event that is emitted needs a new id"
            )

    def _apply(self, changes: Changes) -> None:
        """Nothing in here may fail: the changes are checked, and the author's statements are committed."""
        now = self._clock()
        for letter in changes.dead_letters:
            self._bury(letter, now)
        for retry in changes.retries:
            if retry.key not in self._handled:
                self._attempts[retry.key] = _Attempt(replace(retry, delay=0.0), now + retry.delay)
        for key in changes.handled:
            self._handled[key] = now
            self._attempts.pop(key, None)
        for answer in changes.answers:
            self._answers[answer.key] = answer
            self._answered_at[answer.key] = now
        for name, position in changes.checkpoints.items():
            self._checkpoints[name] = max(position, self._checkpoints.get(name, position))
        if changes.emitted:
            self._log.extend(map(Recorded, range(self._last_position + 1, 2**63), changes.emitted))
            self._ids.update(message.id for message in changes.emitted)
            self._signal.wake()
        if changes.checkpoints:
            self._forget_relayed()

    def _bury(self, letter: DeadLetter, now: float) -> None:
        if letter.key not in self._handled:
            self._letters.setdefault(letter.id, replace(letter, time=now))
        if letter.key.event_id:
            self._handled.setdefault(letter.key, now)
        self._attempts.pop(letter.key, None)

    def _forget_relayed(self) -> None:
        relayed = min(self._checkpoints.values()) - self._forgotten
        surplus = min(relayed, len(self._log) - self._kept_messages)
        if surplus > self._kept_messages:  # not at every commit: it moves the whole rest
            self._ids.difference_update(recorded.message.id for recorded in self._log[:surplus])
            del self._log[:surplus]
            self._forgotten += surplus

    def _of(self, consumers: Iterable[str]) -> list[_Attempt]:
        wanted = set(consumers)
        return [attempt for key, attempt in self._attempts.items() if key.consumer in wanted]

    def _take_letters(self, letter_ids: Sequence[str]) -> list[DeadLetter]:
        return [self._letters.pop(letter_id) for letter_id in dict.fromkeys(letter_ids) if letter_id in self._letters]

    def _execute(self, statements: Sequence[Statement]) -> None:
        database, author = self._open_database()
        try:
            with Transaction(database):
                for statement in statements:
                    author.execute(statement)
        except apsw.ConstraintError as error:  # a deferred one
            raise StatementError(f"at the end of the transaction: {error}") from error

    def _open_database(self) -> tuple[apsw.Connection, AuthorSql]:
        if self._database is None or self._author is None:
            self._database = apsw.Connection(":memory:")
            self._database.execute("PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY")
            self._author = AuthorSql(self._database, "the memory store's database")
        return self._database, self._author


def _oldest(times: Mapping[_Key, float], latest: float, limit: int) -> list[_Key]:
    """Return up to ``limit`` keys from before ``latest``. They stand in the order of their times: a young one ends it."""
    return list(islice(takewhile(lambda key: times[key] < latest, times), limit))
