"""What the SQLite store writes besides units of work, each in a transaction of its own."""

import json
from collections.abc import Sequence

import apsw

from gemstone_events.store.port import Retry
from gemstone_events.store.sqlite_reads import make_retry, rows_of, texts
from gemstone_events.store.sqlite_transaction import Transaction
from gemstone_events.store.sqlite_units import key_text

_DUE_RETRIES = """
SELECT number, consumer, event_id, mode, attributes, body, attempts, error FROM gemstone_retries
WHERE consumer IN (SELECT value FROM json_each(?)) AND due <= unixepoch('subsec') ORDER BY due LIMIT ?
"""
# The attempt is counted here: one that ends with its process must count too.
_CLAIM = """
UPDATE gemstone_retries SET owner = ?, attempts = attempts + 1, due = unixepoch('subsec') + ?
WHERE number IN (SELECT value FROM json_each(?))
"""
_RENEW = "UPDATE gemstone_retries SET due = unixepoch('subsec') + ? WHERE owner = ?"
# A letter without an event id gets its own id for one: so several of them stay apart among the retries.
_REDRIVE = """
INSERT INTO gemstone_retries (consumer, event_id, mode, attributes, body, attempts, due, error)
SELECT consumer, iif(event_id = '', id, event_id), mode, attributes, body, 0, unixepoch('subsec'), error
FROM gemstone_dead_letters WHERE id IN (SELECT value FROM json_each(?1))
ON CONFLICT (consumer, event_id) DO UPDATE SET due = excluded.due, attempts = 0, owner = NULL;
DELETE FROM gemstone_inbox WHERE (consumer, event_id) IN
    (SELECT consumer, event_id FROM gemstone_dead_letters WHERE id IN (SELECT value FROM json_each(?1)))
"""
_PURGE = "DELETE FROM gemstone_dead_letters WHERE id IN (SELECT value FROM json_each(?))"
_FORGET_MARKS = """
DELETE FROM gemstone_inbox WHERE (consumer, event_id) IN
    (SELECT consumer, event_id FROM gemstone_inbox WHERE handled_at < unixepoch('subsec') - ?
        ORDER BY handled_at LIMIT ?)
"""
_FORGET_ANSWERS = """
DELETE FROM gemstone_answers WHERE number IN
    (SELECT number FROM gemstone_answers WHERE answered_at < unixepoch('subsec') - ? ORDER BY answered_at LIMIT ?)
"""
# All ask for leases of one length, so that one which ends later than a new one would was written before the clock was
# set back: nobody may be there any more to give it up, and it would last as long as the clock was set back.
_ACQUIRE = """
INSERT INTO gemstone_leases VALUES (?1, ?2, unixepoch('subsec') + ?3)
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires
WHERE owner = excluded.owner OR expires <= unixepoch('subsec') OR expires > excluded.expires
"""
_RELEASE = "DELETE FROM gemstone_leases WHERE name = ? AND owner = ?"


def claim_retries(
    connection: apsw.Connection, consumers: Sequence[str], owner: str, lease: float, limit: int
) -> list[Retry]:
    """Take up to ``limit`` due retries for ``lease`` seconds, the longest due first."""
    with Transaction(connection):
        rows = rows_of(connection, _DUE_RETRIES, (texts(consumers), limit))
        if rows:
            connection.execute(_CLAIM, (key_text(owner), lease, json.dumps([row[0] for row in rows])))
    return [make_retry(*columns) for _, *columns in rows]


def renew_claims(connection: apsw.Connection, owner: str, lease: float) -> int:
    """Put off the end of all claims of ``owner``; return how many those are."""
    return _change(connection, _RENEW, (lease, key_text(owner)))


def redrive(connection: apsw.Connection, letter_ids: Sequence[str]) -> int:
    """Turn dead letters into retries that are due now; return how many."""
    wanted = texts(letter_ids)
    with Transaction(connection):
        connection.execute(_REDRIVE, (wanted, wanted))
        return _change(connection, _PURGE, (wanted,))


def purge_dead_letters(connection: apsw.Connection, letter_ids: Sequence[str]) -> int:
    """Delete dead letters; return how many."""
    return _change(connection, _PURGE, (texts(letter_ids),))


def forget_handled(connection: apsw.Connection, older_than: float, limit: int) -> int:
    """Delete up to ``limit`` marks and answers older than ``older_than`` seconds, the oldest first; return how many."""
    with Transaction(connection):
        marks = _change(connection, _FORGET_MARKS, (older_than, limit))
        return marks + _change(connection, _FORGET_ANSWERS, (older_than, limit - marks))


def acquire_lease(connection: apsw.Connection, name: str, owner: str, seconds: float) -> bool:
    """Take or renew a lease; False where another owner holds it."""
    return _change(connection, _ACQUIRE, (key_text(name), key_text(owner), seconds)) == 1


def release_lease(connection: apsw.Connection, name: str, owner: str) -> None:
    """Give a lease back."""
    connection.execute(_RELEASE, (key_text(name), key_text(owner)))


def _change(connection: apsw.Connection, sql: str, parameters: tuple[str | float | int, ...]) -> int:
    connection.execute(sql, parameters)
    return connection.changes()
