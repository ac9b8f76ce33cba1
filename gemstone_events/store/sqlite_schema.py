"""The tables of the SQLite store, and the opening of its database: what is refused, and how to mend it."""

import errno
import os
import time
from pathlib import Path

import apsw

from gemstone_events.errors import StoreError, StoreRefusedError
from gemstone_events.store.sqlite_errors import translate
from gemstone_events.store.sqlite_transaction import Transaction

APPLICATION_ID = 0x47656D45  # "GemE"
SCHEMA_VERSION = 1
OLDEST_SQLITE = (3, 51, 3)
"""Before it, two connections that write and checkpoint at once could corrupt a WAL file."""

_MAX_LOCK_PAUSE = 0.005
_MAX_IDLE_WAL_BYTES = 64 * 1024 * 1024

# mode is 'broadcast' or 'work', and NULL for an event that was appended to a stream and not emitted. data is text where
# it is UTF-8, so that SQL can look into it, and a blob otherwise. due is when an attempt may be claimed: a claim moves
# it to the end of its lease. Positions and dead letters are never numbered twice (AUTOINCREMENT).
_TABLES = """
CREATE TABLE gemstone_meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE gemstone_events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    stream TEXT,
    version INTEGER,
    mode TEXT,
    attributes TEXT NOT NULL,
    data ANY NOT NULL
) STRICT;
CREATE UNIQUE INDEX gemstone_events_stream ON gemstone_events (stream, version) WHERE stream IS NOT NULL;
CREATE TABLE gemstone_inbox (
    consumer TEXT NOT NULL,
    event_id TEXT NOT NULL,
    handled_at REAL NOT NULL,
    PRIMARY KEY (consumer, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX gemstone_inbox_handled_at ON gemstone_inbox (handled_at);
CREATE TABLE gemstone_retries (
    number INTEGER PRIMARY KEY,
    consumer TEXT NOT NULL,
    event_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL,
    attempts INTEGER NOT NULL,
    due REAL NOT NULL,
    error TEXT NOT NULL,
    owner TEXT,
    UNIQUE (consumer, event_id)
) STRICT;
CREATE INDEX gemstone_retries_due ON gemstone_retries (consumer, due);
CREATE TABLE gemstone_dead_letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    consumer TEXT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    mode TEXT NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    time REAL NOT NULL
) STRICT;
CREATE INDEX gemstone_dead_letters_type ON gemstone_dead_letters (type);
CREATE TABLE gemstone_checkpoints (name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE gemstone_leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) STRICT, WITHOUT ROWID;
"""

# What later releases added to version 1. A release that knows nothing of a table leaves it alone, so the version stays:
# both may have the file open at once, and one may go back to the older.
_ADDED_TABLES = """
CREATE TABLE IF NOT EXISTS gemstone_answers (
    number INTEGER PRIMARY KEY,
    method TEXT NOT NULL,
    caller TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    answered_at REAL NOT NULL,
    fingerprint TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (method, caller, idempotency_key)
) STRICT;
CREATE INDEX IF NOT EXISTS gemstone_answers_answered_at ON gemstone_answers (answered_at);
"""


def connect_writer(path: str, lock_timeout: float, max_pages: int | None) -> apsw.Connection:
    """Create or check the database and return the connection that writes.

    Args:
        path: the file; its folder is made where it is missing.
        lock_timeout: seconds to wait for other processes.
        max_pages: the most pages that the database may have (None: no limit but the disk's).

    Raises:
        StoreRefusedError: it cannot be used as it is.
        StoreUnavailableError: other processes keep it locked.
        StoreFullError: there is no room for its tables.
    """
    check_library(apsw.sqlite_lib_version())
    _make_file(path)
    connection = None
    try:
        connection = _connect(path, lock_timeout)
        _check_owner(connection, path)
        _use_wal(connection, path, lock_timeout)
        connection.execute("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY")
        connection.execute(f"PRAGMA journal_size_limit={_MAX_IDLE_WAL_BYTES}")
        if max_pages is not None:
            connection.execute(f"PRAGMA max_page_count={max_pages}")
        _create_tables(connection, path)
    except (apsw.Error, StoreRefusedError) as error:
        refusal = _refusal(error, path, connection)
        if connection is not None:
            connection.close()
        raise refusal from error.__cause__
    return connection


def connect_reader(path: str, lock_timeout: float) -> apsw.Connection:
    """Return a connection that cannot write, to a database that ``connect_writer`` has opened."""
    try:
        connection = _connect(path, lock_timeout)
        connection.wal_autocheckpoint(0)  # only writers checkpoint
        connection.execute("PRAGMA query_only=ON; PRAGMA temp_store=MEMORY")
    except apsw.Error as error:
        raise translate(error, path) from error
    return connection


def check_library(version: str) -> None:
    """Refuse a version of the SQLite library that may corrupt the database.

    Raises:
        StoreRefusedError: it is older than ``OLDEST_SQLITE``.
    """
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        oldest = ".".join(str(part) for part in OLDEST_SQLITE)
        raise StoreRefusedError(
            f"SQLite {version} can corrupt a database that two connections write: {oldest} or newer is needed; "
            "install apsw from its wheel, which carries one"
        )


def _refusal(error: apsw.Error | StoreRefusedError, path: str, connection: apsw.Connection | None) -> StoreError:
    if isinstance(error, StoreRefusedError):
        return error
    if isinstance(error, apsw.CantOpenError):  # the file exists: what it misses are the files beside it
        return StoreRefusedError(f"{path} cannot be opened: give this user the right to write its folder")
    return translate(error, path, connection)


def _connect(path: str, lock_timeout: float) -> apsw.Connection:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=200)
    connection.set_busy_handler(_LockPatience(lock_timeout).wait)
    return connection


class _LockPatience:
    """Waits for a lock in short steps, so that several busy processes take turns quickly."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._began = 0.0

    def wait(self, attempts: int) -> bool:
        """Pause, and tell SQLite whether to try again."""
        if not attempts:
            self._began = time.monotonic()
        if time.monotonic() - self._began > self._timeout:
            return False
        time.sleep(min(0.0002 * (attempts + 1), _MAX_LOCK_PAUSE))
        return True


def _make_file(path: str) -> None:
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise StoreRefusedError(f"{Path(path).parent} is not a folder: name another place for the store") from None
    except IsADirectoryError:
        raise StoreRefusedError(f"{path} is a folder: name a file in it") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreRefusedError(f"{path} cannot be created: the disk is full") from error
        raise StoreRefusedError(
            f"{path} cannot be opened for writing ({error.strerror}): give this user the right to write "
            "the file and its folder, or name another place for the store"
        ) from error


def _check_owner(connection: apsw.Connection, path: str) -> None:
    owner = connection.pragma("application_id")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if owner not in (0, APPLICATION_ID) and tables:
        raise StoreRefusedError(
            f"{path} belongs to another program (its application_id is {owner}, a store's is {APPLICATION_ID}): "
            "name another file"
        )
    if owner != APPLICATION_ID and any(name.startswith("gemstone_") for name in tables):
        raise StoreRefusedError(
            f"{path} holds tables named gemstone_* that no store of this kind made: name another file"
        )


def _use_wal(connection: apsw.Connection, path: str, lock_timeout: float) -> None:
    # Going over to WAL needs the file alone for a moment, and SQLite does not wait for that by itself.
    deadline = time.monotonic() + lock_timeout
    while True:
        try:
            mode = connection.pragma("journal_mode", "wal")
            break
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_MAX_LOCK_PAUSE)
    if mode != "wal":
        raise StoreRefusedError(
            f"{path} lies on a file system without shared memory (journal_mode stays {mode}): "
            "put the store on a local disk"
        )


def _create_tables(connection: apsw.Connection, path: str) -> None:
    with Transaction(connection):
        # Looked up by a statement: SQLite's other ways do not notice what another process has just made.
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'gemstone_meta'").get is None:
            _check_owner(connection, path)  # again, now that nobody can interfere
            connection.execute(_TABLES)
            connection.execute("INSERT INTO gemstone_meta VALUES ('schema_version', ?)", (SCHEMA_VERSION,))
            connection.pragma("application_id", APPLICATION_ID)
        version = connection.execute("SELECT value FROM gemstone_meta WHERE name = 'schema_version'").get
        if version != SCHEMA_VERSION:
            raise StoreRefusedError(
                f"{path} has tables of version {version} and this program knows version {SCHEMA_VERSION}: "
                "install the release of gemstone_events that wrote it, or a newer one"
            )
        connection.execute(_ADDED_TABLES)
