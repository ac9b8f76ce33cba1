"""Units of work in SQLite: how one is written down, and how many are committed in one physical transaction.

All that a unit writes is one row inserted into a temporary view, whose trigger spreads it over the tables. The rows of
several units are joined as JSON arrays, so a whole group is a single statement: SQLite runs it, with its transaction
and its fsync, in one call, and Python's interpreter lock is given up only once (see ``sqlite_thread``).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import apsw

from gemstone_events.errors import (
    AlreadyAnsweredError,
    AlreadyHandledError,
    InvalidEventError,
    StatementError,
    StoreError,
)
from gemstone_events.message import Message
from gemstone_events.store.port import Answer, Changes, DeadLetter, InboxKey, Retry, Statement
from gemstone_events.store.sqlite_author import AuthorSql
from gemstone_events.store.sqlite_errors import translate
from gemstone_events.store.sqlite_transaction import (
    RELEASE_SAVEPOINT,
    ROLLBACK_TO_SAVEPOINT,
    SAVEPOINT,
    Transaction,
)

_ascii_json = json.JSONEncoder(separators=(",", ":")).encode
_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

_KINDS = ("emitted", "handled", "retries", "dead_letters", "checkpoints", "answers")
_INSERT = f"INSERT INTO gemstone_unit VALUES ({', '.join('?' * len(_KINDS))})"

# In this order a unit cannot lose a dead letter to its own mark, and a mark has the last word on retries.
# Answers come first: a repeated call shall learn that it is one, and not what else it would collide with.
# A retry or a dead letter whose key is marked already is dropped: the event has had its effect.
_VIEW = f"""
CREATE TEMP VIEW gemstone_unit AS SELECT {", ".join(f"NULL AS {kind}" for kind in _KINDS)};
CREATE TEMP TRIGGER gemstone_unit_insert INSTEAD OF INSERT ON gemstone_unit BEGIN
    INSERT INTO gemstone_answers (method, caller, idempotency_key, answered_at, fingerprint, body)
    SELECT value->>0, value->>1, value->>2, unixepoch('subsec'), value->>3, value->>4 FROM jsonb_each(NEW.answers);

    INSERT OR IGNORE INTO gemstone_dead_letters
        (id, consumer, event_id, type, mode, attributes, body, reason, error, attempts, time)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, unhex(value->>6), value->>7, value->>8,
        value->>9, unixepoch('subsec')
    FROM jsonb_each(NEW.dead_letters)
    WHERE NOT EXISTS (SELECT 1 FROM gemstone_inbox WHERE consumer = value->>1 AND event_id = value->>2);

    DELETE FROM gemstone_retries WHERE (consumer, event_id) IN
        (SELECT value->>1, value->>2 FROM jsonb_each(NEW.dead_letters));

    INSERT OR IGNORE INTO gemstone_inbox
    SELECT value->>1, value->>2, unixepoch('subsec') FROM jsonb_each(NEW.dead_letters) WHERE value->>2 <> '';

    INSERT INTO gemstone_events (id, type, mode, attributes, data)
    SELECT value->>0, value->>1, value->>2, value->>3, coalesce(unhex(value->>5), value->>4)
    FROM jsonb_each(NEW.emitted);

    INSERT INTO gemstone_retries (consumer, event_id, mode, attributes, body, attempts, due, error)
    SELECT value->>0, value->>1, value->>2, value->>3, unhex(value->>4), value->>5,
        unixepoch('subsec') + (value->>6), value->>7
    FROM jsonb_each(NEW.retries)
    WHERE NOT EXISTS (SELECT 1 FROM gemstone_inbox WHERE consumer = value->>0 AND event_id = value->>1)
    ON CONFLICT (consumer, event_id) DO UPDATE SET mode = excluded.mode, attributes = excluded.attributes,
        body = excluded.body, attempts = excluded.attempts, due = excluded.due, error = excluded.error, owner = NULL;

    INSERT INTO gemstone_inbox SELECT value->>0, value->>1, unixepoch('subsec') FROM jsonb_each(NEW.handled);

    DELETE FROM gemstone_retries WHERE (consumer, event_id) IN
        (SELECT value->>0, value->>1 FROM jsonb_each(NEW.handled));

    INSERT INTO gemstone_checkpoints SELECT value->>0, value->>1 FROM jsonb_each(NEW.checkpoints) WHERE true
    ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE excluded.position > position;
END;
"""


def prepare_units(connection: apsw.Connection) -> None:
    """Make a connection ready for ``commit_group``."""
    connection.execute(_VIEW)


def key_text(text: str) -> str:
    """Return ``text`` as SQLite can store it: the same, but for lone surrogates, which become ``\\\\ud800``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def message_attributes(message: Message) -> str:
    """Return a message's attributes as JSON of ASCII characters, which holds any text whatsoever."""
    return _ascii_json(dict(message.attributes))


def message_mode(message: Message) -> str:
    """Return the name of a message's way to travel."""
    return "broadcast" if message.broadcast else "work"


@dataclass(frozen=True, slots=True)
class Unit:
    """The changes of one unit of work, written down for the trigger: per kind, JSON rows joined by commas."""

    rows: tuple[str, ...]
    handled: Sequence[InboxKey]
    statements: Sequence[Statement]

    @classmethod
    def of(cls, changes: Changes) -> "Unit":
        """Write ``changes`` down; they may change afterwards.

        Raises:
            ValueError: a key to be marked or retried has no event id, so that it could not be told from others.
        """
        if not all(key.event_id for key in (*changes.handled, *(retry.key for retry in changes.retries))):
            raise ValueError("an event without an id can be neither marked as handled nor retried: dead-letter it")
        rows = (
            ",".join(map(_emitted_row, changes.emitted)),
            ",".join([_json((key_text(consumer), key_text(event_id))) for consumer, event_id in changes.handled]),
            ",".join(map(_retry_row, changes.retries)),
            ",".join(map(_dead_letter_row, changes.dead_letters)),
            ",".join([_json((key_text(name), position)) for name, position in changes.checkpoints.items()]),
            ",".join(map(_answer_row, changes.answers)),
        )
        return cls(rows, tuple(changes.handled), tuple(changes.statements))

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return sum(map(len, self.rows))

    @property
    def emits(self) -> bool:
        """It adds to the log."""
        return bool(self.rows[0])

    @property
    def joinable(self) -> bool:
        """It may be written in one statement with others: it sees no effect of theirs that would make a difference."""
        return not self.statements and not self.rows[3]


def commit_group(
    connection: apsw.Connection, author: AuthorSql, units: Sequence[Unit], path: str
) -> list[StoreError | InvalidEventError | None]:
    """Commit units, all that can be in one transaction, and return for each why it failed, or None.

    Raises:
        StoreError: the database failed and nothing was committed.
    """
    try:
        return _Group(connection, author, path).commit(units)
    except apsw.Error as error:
        raise translate(error, path, connection) from error


_OWN_FAULTS = (apsw.ConstraintError, apsw.MismatchError, apsw.SQLError, apsw.TooBigError, ValueError)
"""What a unit's own content can cause. Anything else is the database's fault, and befalls all units alike."""


class _InseparableError(Exception):
    """One unit spoiled the transaction for all."""


@dataclass(frozen=True, slots=True)
class _Group:
    connection: apsw.Connection
    author: AuthorSql
    path: str

    def commit(self, units: Sequence[Unit]) -> list[StoreError | InvalidEventError | None]:
        if all(unit.joinable for unit in units):
            try:
                self._insert(units)  # a transaction of its own
                return [None] * len(units)
            except _OWN_FAULTS as error:
                if len(units) == 1:
                    return [_conflict(units[0], error)]
        try:
            return self._commit_in_savepoints(units)
        except _InseparableError:
            return [self._commit_alone(unit) for unit in units]

    def _insert(self, units: Iterable[Unit]) -> None:
        columns = zip(*(unit.rows for unit in units), strict=True)
        self.connection.execute(_INSERT, [f"[{','.join(filter(None, rows))}]" for rows in columns])

    def _commit_in_savepoints(self, units: Sequence[Unit]) -> list[StoreError | InvalidEventError | None]:
        try:
            with Transaction(self.connection):
                return [self._write_in_savepoint(unit) for unit in units]
        except apsw.ConstraintError as error:  # a deferred one, of the author's
            raise _InseparableError from error

    def _write_in_savepoint(self, unit: Unit) -> StoreError | InvalidEventError | None:
        self.connection.execute(SAVEPOINT)
        outcome = self._write(unit)
        if not self.connection.in_transaction:
            raise _InseparableError  # a statement of the author's ended the transaction: ON CONFLICT ROLLBACK
        if outcome is not None:
            self.connection.execute(ROLLBACK_TO_SAVEPOINT)
        self.connection.execute(RELEASE_SAVEPOINT)
        return outcome

    def _commit_alone(self, unit: Unit) -> StoreError | InvalidEventError | None:
        try:
            with Transaction(self.connection):
                if (failure := self._write(unit)) is not None:
                    raise failure
        except apsw.ConstraintError as error:
            return StatementError(f"at the end of the transaction: {error}")
        except apsw.Error as error:
            return translate(error, self.path, self.connection)
        except (StoreError, InvalidEventError) as error:
            return error
        return None

    def _write(self, unit: Unit) -> StoreError | InvalidEventError | None:
        try:
            self._insert((unit,))
            for statement in unit.statements:
                self.author.execute(statement)
        except _OWN_FAULTS as error:
            return _conflict(unit, error)
        except StatementError as error:
            return error
        return None


def _conflict(unit: Unit, error: Exception) -> StoreError | InvalidEventError:
    text = str(error)
    if "gemstone_inbox." in text:
        keys = ", ".join(f"{event_id!r} for {consumer!r}" for consumer, event_id in unit.handled[:3])
        return AlreadyHandledError(f"handled already: {keys}{' or others' if len(unit.handled) > 3 else ''}")
    if "gemstone_answers." in text:
        return AlreadyAnsweredError("a call with this idempotency key has its answer already")
    if "gemstone_events.id" in text:
        return InvalidEventError("an event with this id is in the log already: an event that is emitted needs a new id")
    return StoreError(f"a unit of work cannot be stored: {text}")


def _emitted_row(message: Message) -> str:
    attributes = message.attributes
    row = [
        key_text(attributes.get("id", "")),
        key_text(attributes.get("type", "")),
        "broadcast" if message.broadcast else "work",
        _ascii_json(attributes if type(attributes) is dict else dict(attributes)),
    ]
    try:
        row.append(message.body.decode())
    except UnicodeDecodeError:
        row += ["", message.body.hex()]
    return _json(row)


def _retry_row(retry: Retry) -> str:
    return _json(
        (
            key_text(retry.key.consumer),
            key_text(retry.key.event_id),
            message_mode(retry.message),
            message_attributes(retry.message),
            retry.message.body.hex(),
            retry.attempts,
            float(retry.delay),
            key_text(retry.error),
        )
    )


def _dead_letter_row(letter: DeadLetter) -> str:
    return _json(
        (
            key_text(letter.id),
            key_text(letter.key.consumer),
            key_text(letter.key.event_id),
            key_text(letter.message.type),
            message_mode(letter.message),
            message_attributes(letter.message),
            letter.message.body.hex(),
            key_text(letter.reason),
            key_text(letter.error),
            letter.attempts,
        )
    )


def _answer_row(answer: Answer) -> str:
    return _json((*map(key_text, answer.key), answer.fingerprint, answer.body.decode()))
