"""What the SQLite store reads: each function is one statement on a connection, in its thread."""

import json
from collections.abc import Sequence
from typing import Any

import apsw

from gemstone_events.message import Message
from gemstone_events.names import matches
from gemstone_events.store.port import Answer, AnswerKey, DeadLetter, InboxKey, Recorded, Retry
from gemstone_events.store.sqlite_units import key_text

_READ_EMITTED = """
SELECT position, mode, attributes, data FROM gemstone_events
WHERE position > ? AND mode IS NOT NULL ORDER BY position LIMIT ?
"""
_FIND_SETTLED = """
SELECT key FROM jsonb_each(?1)
WHERE EXISTS (SELECT 1 FROM gemstone_inbox WHERE consumer = value->>0 AND event_id = value->>1)
    OR NOT ?2 AND EXISTS (SELECT 1 FROM gemstone_retries WHERE consumer = value->>0 AND event_id = value->>1)
"""
_FIND_ANSWER = """
SELECT fingerprint, body FROM gemstone_answers WHERE method = ? AND caller = ? AND idempotency_key = ?
"""
_SECONDS_TO_NEXT_RETRY = """
SELECT min(due) - unixepoch('subsec') FROM gemstone_retries
WHERE consumer IN (SELECT value FROM json_each(?))
"""
_UNCLAIMED = """
SELECT consumer, event_id, mode, attributes, body, attempts, error FROM gemstone_retries
WHERE consumer IN
    (SELECT consumer FROM gemstone_retries GROUP BY consumer HAVING max(due) < unixepoch('subsec') - ?)
ORDER BY due LIMIT ?
"""
_DEAD_LETTERS = """
SELECT id, consumer, event_id, mode, attributes, body, reason, error, attempts, time FROM gemstone_dead_letters
"""
_NEWEST_DEAD_LETTERS = f"{_DEAD_LETTERS} ORDER BY number DESC LIMIT ?"
_DEAD_LETTERS_OF_TYPES = f"""
{_DEAD_LETTERS} WHERE type IN (SELECT value FROM json_each(?)) ORDER BY number DESC LIMIT ?
"""
_DEAD_LETTER = f"{_DEAD_LETTERS} WHERE id = ?"


def rows_of(connection: apsw.Connection, sql: str, parameters: tuple[str | float, ...] = ()) -> list[tuple[Any, ...]]:
    """Return all rows of a query on the store's tables, which are STRICT: the schema says what the columns hold."""
    return connection.execute(sql, parameters).fetchall()


def make_message(mode: str, attributes: str, body: bytes) -> Message:
    """Return the message that is stored in these columns."""
    return Message(json.loads(attributes), body, mode == "broadcast")


def make_retry(
    consumer: str, event_id: str, mode: str, attributes: str, body: bytes, attempts: int, error: str
) -> Retry:
    """Return the retry that is stored in these columns."""
    return Retry(InboxKey(consumer, event_id), make_message(mode, attributes, body), attempts, 0.0, error)


def read_emitted(connection: apsw.Connection, after: int, limit: int) -> list[Recorded]:
    """Return the emitted messages above ``after``, in order, at most ``limit``."""
    return [
        Recorded(position, make_message(mode, attributes, data.encode() if isinstance(data, str) else data))
        for position, mode, attributes, data in rows_of(connection, _READ_EMITTED, (after, limit))
    ]


def last_position(connection: apsw.Connection) -> int:
    """Return the highest position of the log, 0 where it is empty."""
    position: int = connection.execute("SELECT coalesce(max(position), 0) FROM gemstone_events").get
    return position


def find_settled(connection: apsw.Connection, keys: Sequence[InboxKey], final: bool) -> set[InboxKey]:
    """Return those keys that are in the inbox or have a retry."""
    wanted = json.dumps([(key_text(consumer), key_text(event_id)) for consumer, event_id in keys], ensure_ascii=False)
    return {keys[index] for (index,) in rows_of(connection, _FIND_SETTLED, (wanted, final))}


def find_answer(connection: apsw.Connection, key: AnswerKey) -> Answer | None:
    """Return the answer under ``key``, or None."""
    rows = rows_of(connection, _FIND_ANSWER, tuple(map(key_text, key)))
    return Answer(key, rows[0][0], rows[0][1].encode()) if rows else None


def seconds_to_next_retry(connection: apsw.Connection, consumers: Sequence[str]) -> float | None:
    """Return how long until a retry of ``consumers`` may be claimed, or None."""
    seconds: float | None = connection.execute(_SECONDS_TO_NEXT_RETRY, (texts(consumers),)).get
    return None if seconds is None else max(0.0, seconds)


def find_unclaimed(connection: apsw.Connection, seconds: float, limit: int) -> list[Retry]:
    """Return retries of those consumers for whom everything has been due for more than ``seconds`` seconds."""
    return [make_retry(*row) for row in rows_of(connection, _UNCLAIMED, (seconds, limit))]


def checkpoints(connection: apsw.Connection) -> dict[str, int]:
    """Return all checkpoints."""
    return dict(rows_of(connection, "SELECT name, position FROM gemstone_checkpoints"))


def checkpoint(connection: apsw.Connection, name: str) -> int | None:
    """Return one checkpoint, or None."""
    sql = "SELECT position FROM gemstone_checkpoints WHERE name = ?"
    position: int | None = connection.execute(sql, (key_text(name),)).get
    return position


def list_dead_letters(connection: apsw.Connection, limit: int, pattern: str) -> list[DeadLetter]:
    """Return the newest dead letters whose type matches ``pattern``; ``#`` takes those without a type as well."""
    if pattern == "#":
        return [_letter(*row) for row in rows_of(connection, _NEWEST_DEAD_LETTERS, (limit,))]
    known = rows_of(connection, "SELECT DISTINCT type FROM gemstone_dead_letters")
    wanted = [kind for (kind,) in known if kind and matches(pattern, kind)]
    rows = rows_of(connection, _DEAD_LETTERS_OF_TYPES, (texts(wanted), limit))
    return [_letter(*row) for row in rows]


def get_dead_letter(connection: apsw.Connection, letter_id: str) -> DeadLetter | None:
    """Return one dead letter, or None."""
    rows = rows_of(connection, _DEAD_LETTER, (key_text(letter_id),))
    return _letter(*rows[0]) if rows else None


def integrity(connection: apsw.Connection) -> str:
    """Return ``ok``, or what SQLite's integrity check found."""
    return "; ".join(str(found) for (found,) in connection.execute("PRAGMA integrity_check"))


def texts(values: Sequence[str]) -> str:
    """Return strings as a JSON array, to be taken apart by ``json_each``."""
    return json.dumps([key_text(value) for value in values], ensure_ascii=False)


def _letter(
    letter_id: str,
    consumer: str,
    event_id: str,
    mode: str,
    attributes: str,
    body: bytes,
    reason: str,
    error: str,
    attempts: int,
    time: float,
) -> DeadLetter:
    message = make_message(mode, attributes, body)
    return DeadLetter(letter_id, InboxKey(consumer, event_id), message, reason, error, attempts, time)
