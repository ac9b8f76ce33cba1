"""The file of the embedded bus: opening, checking and creating it, and transactions on it.

WAL, so that readers and the one writer of the moment do not wait for each other. Every transaction begins IMMEDIATE: a
transaction that read before it writes fails at once with SQLITE_BUSY_SNAPSHOT when somebody wrote in between.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from gemstone_events.errors import TransportRefusedError

APPLICATION_ID = 0x47454D42  # "GEMB"
SCHEMA_VERSION = 1

# The foreign keys do the work of a broker: when an instance goes, cleanly or not, its claims are free again and its own
# queues go with it. AUTOINCREMENT, so that a late ack can never hit a younger delivery that got the same id.
_SCHEMA = """
-- One row. The identity tells this file from a later one at the same path; the topology counts the changes of
-- queues and consumers, so that everybody notices when to read them again.
CREATE TABLE bus (identity TEXT NOT NULL, topology INTEGER NOT NULL) STRICT;
INSERT INTO bus VALUES (hex(randomblob(16)), 1);

CREATE TABLE instances (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client TEXT NOT NULL,
    process INTEGER NOT NULL,
    expires_at REAL NOT NULL
) STRICT;

CREATE TABLE queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('group', 'instance', 'work')),
    group_name TEXT NOT NULL,
    pattern TEXT NOT NULL,
    owner INTEGER REFERENCES instances (id) ON DELETE CASCADE
) STRICT;
CREATE UNIQUE INDEX queue_identity ON queues (namespace, kind, group_name, pattern, ifnull(owner, 0));

CREATE TABLE consumers (
    queue INTEGER NOT NULL REFERENCES queues (id) ON DELETE CASCADE,
    instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    PRIMARY KEY (queue, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL REFERENCES queues (id) ON DELETE CASCADE,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX deliveries_of_queue ON deliveries (queue);

-- Apart from the deliveries, so that claiming a large message does not write it again. A claim without an instance
-- stays behind when a delivery is given back: whoever gets it next knows that it was delivered before.
CREATE TABLE claims (
    delivery INTEGER PRIMARY KEY REFERENCES deliveries (id) ON DELETE CASCADE,
    instance INTEGER REFERENCES instances (id) ON DELETE SET NULL
) STRICT;

-- Written to and emptied again to find out whether a full disk has room by now.
CREATE TABLE probes (filler BLOB NOT NULL) STRICT;

CREATE TRIGGER queue_added AFTER INSERT ON queues BEGIN UPDATE bus SET topology = topology + 1; END;
CREATE TRIGGER queue_dropped AFTER DELETE ON queues BEGIN UPDATE bus SET topology = topology + 1; END;
CREATE TRIGGER consumer_added AFTER INSERT ON consumers BEGIN UPDATE bus SET topology = topology + 1; END;
CREATE TRIGGER consumer_dropped AFTER DELETE ON consumers BEGIN UPDATE bus SET topology = topology + 1; END;
"""

_LOCK_POLL_SECONDS = 0.0002


class CommitUncertainError(Exception):
    """A COMMIT failed in a way that leaves open whether it is in the file."""


class BusFile:
    """One connection to the file. Every method belongs to the thread that opened it and raises ``apsw.Error``."""

    def __init__(self, path: Path, max_pages: int | None = None) -> None:
        """Set what will be opened: ``max_pages`` bounds the size of the file, in SQLite's pages of 4 KiB."""
        self.path = path
        self.lock_patience = 2.0
        """Seconds to wait for another process's transaction to end."""
        self._max_pages = max_pages
        self._blocked_since = 0.0
        self._durable: bool | None = None
        self._inode = 0
        self._db: apsw.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._db is not None

    @property
    def db(self) -> apsw.Connection:
        """The open connection."""
        if self._db is None:
            raise apsw.ConnectionClosedError("the bus file is not open")
        return self._db

    def open(self) -> None:
        """Open the file, and create it with its folder where there is none.

        Raises:
            TransportRefusedError: it cannot be a bus as it is; the message says how to mend it.
            apsw.Error: it cannot be opened now.
        """
        try:
            self._open()
        except (apsw.NotADBError, apsw.CorruptError) as error:
            self.close()
            raise TransportRefusedError(
                f"{self.path} is not an intact SQLite database ({error}): name another file in the URL, or move this one away"
            ) from error
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, OSError) as error:
            self.close()
            raise TransportRefusedError(
                f"{self.path} cannot be opened for writing ({error}): the user of this process needs "
                f"write access to the file and to the folder {self.path.parent}"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file. Twice is harmless."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def is_displaced(self) -> bool:
        """Tell whether somebody removed or replaced the file, so that others see another bus at the same path."""
        try:
            return os.stat(self.path).st_ino != self._inode
        except OSError:
            return True

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[apsw.Connection]:
        """Run one write transaction; ``durable`` waits until it is on the disk.

        Raises:
            CommitUncertainError: it may have been committed or not. After any other error it was certainly not.
        """
        db = self.db
        if durable is not self._durable:
            db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            self._commit(db)
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    def _commit(self, db: apsw.Connection) -> None:
        try:
            db.execute("COMMIT")
        except (apsw.BusyError, apsw.FullError):
            raise
        except apsw.Error as error:
            raise CommitUncertainError(str(error)) from error

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new = not self.path.exists()
        self._durable = None
        self._db = db = apsw.Connection(str(self.path))
        if is_new:
            # By path, and before WAL's side files copy the mode. Opening the file ourselves to set it is not an option:
            # closing any descriptor of it drops every POSIX lock that SQLite holds on it in this process.
            os.chmod(self.path, 0o600)
        self._inode = os.stat(self.path).st_ino
        db.set_busy_handler(self._wait_for_lock)
        self._check_ownership(db)
        db.execute("PRAGMA foreign_keys=ON")
        if db.execute("PRAGMA journal_mode=WAL").get != "wal":
            raise TransportRefusedError(
                f"{self.path} cannot be put in write-ahead-log mode: the embedded bus needs a local disk, not a network share"
            )
        if self._max_pages is not None:
            db.execute(f"PRAGMA max_page_count={self._max_pages:d}")
        if db.execute("PRAGMA application_id").get == 0:
            self._create()

    def _check_ownership(self, db: apsw.Connection) -> None:
        """Refuse what is not ours before anything is written to it."""
        db.execute("BEGIN")  # one snapshot: somebody may be creating it at this moment
        application = db.execute("PRAGMA application_id").get
        version = db.execute("PRAGMA user_version").get
        tables = db.execute("SELECT count(*) FROM sqlite_schema").get
        db.execute("COMMIT")
        if application != APPLICATION_ID and (application or version or tables):
            raise TransportRefusedError(f"{self.path} belongs to another program: name another file in the URL")
        if application == APPLICATION_ID and version != SCHEMA_VERSION:
            raise TransportRefusedError(
                f"{self.path} has the bus format {version} and this program knows {SCHEMA_VERSION}: "
                "let all services of the machine use the same version of gemstone_events, or name another file"
            )

    def _create(self) -> None:
        with self.transaction(durable=True) as db:
            if db.execute("PRAGMA application_id").get == 0:  # nobody else was faster
                db.execute(_SCHEMA)
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _wait_for_lock(self, calls: int) -> bool:
        """Wait a little for another process. SQLite's own handler soon sleeps for 50 to 100 ms, far too long here."""
        now = time.monotonic()
        if calls == 0:
            self._blocked_since = now
        if now - self._blocked_since > self.lock_patience:
            return False
        time.sleep(_LOCK_POLL_SECONDS)
        return True
