"""The store in one SQLite file: the default, with no set-up; several processes of a machine may share it.

What is committed is on the disk (WAL, ``synchronous=FULL``). The author's own tables live in the same file; the
store's are named ``gemstone_*``. Three threads own a connection each: one writes, one answers the framework's
questions, and one runs what may take long, the author's queries and the check.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import quote, unquote

import apsw

from gemstone_events.errors import ServiceConfigurationError, StoreUnavailableError
from gemstone_events.names import check_pattern
from gemstone_events.store import sqlite_reads, sqlite_writes
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
from gemstone_events.store.sqlite_errors import translate
from gemstone_events.store.sqlite_group import GroupCommit, Outcomes
from gemstone_events.store.sqlite_schema import connect_reader, connect_writer
from gemstone_events.store.sqlite_thread import DatabaseThread
from gemstone_events.store.sqlite_units import Unit, commit_group, prepare_units

P = ParamSpec("P")
T = TypeVar("T")

LOCK_TIMEOUT_SECONDS = 10.0

_log = logging.getLogger(__name__)


def open_url(url: str) -> "SqliteStore":
    """Return the store for ``sqlite:///relative/file`` or ``sqlite:////absolute/file``, not yet opened.

    Raises:
        ServiceConfigurationError: the URL has another form or options.
    """
    scheme, _, rest = url.partition(":")
    path, _, options = rest.partition("?")
    file = unquote(path.removeprefix("///"))
    if scheme != "sqlite" or not path.startswith("///") or not file or file.endswith("/") or "\0" in file:
        raise ServiceConfigurationError(
            f"{url!r} names no file: use sqlite:///relative/file.db or, with four slashes, sqlite:////absolute/file.db"
        )
    if file == ":memory:":
        raise ServiceConfigurationError(f"{url!r} would keep nothing: use memory: for a store in memory")
    if options or rest.endswith("?"):
        raise ServiceConfigurationError(f"{url!r} has options and this store knows none: remove ?{options}")
    return SqliteStore(file)


class SqliteStore:
    """An ``EventStore`` in one SQLite file.

    Args:
        path: the file, relative to the working directory at the time of ``open``, or absolute.
        lock_timeout: seconds to wait while another process holds the write lock.
        max_pages: the most pages of 4 KiB that the file may have; None for no limit but the disk's.
    """

    durable = True
    """It survives the death of the process and of the machine's power, where the disk keeps what fsync promised."""

    def __init__(self, path: str, *, lock_timeout: float = LOCK_TIMEOUT_SECONDS, max_pages: int | None = None) -> None:
        self._path = path
        self._lock_timeout = lock_timeout
        self._max_pages = max_pages
        self._file = path
        self._known_position = 0
        self._author: AuthorSql | None = None
        self._query_author: AuthorSql | None = None
        self._signal = EmittedSignal()
        self._writer = DatabaseThread("gemstone-store-writer", self._connect_writer)
        self._reader = DatabaseThread("gemstone-store-reader", self._connect_reader, idle=self._look)
        self._slow_reader = DatabaseThread("gemstone-store-queries", self._connect_slow_reader)
        self._group = GroupCommit(self._writer, self._commit_group, self._signal.wake)

    @property
    def address(self) -> str:
        """The URL: there is nothing secret in it."""
        return f"sqlite:///{quote(self._path)}"

    async def open(self) -> None:
        """Create or check the file and its tables; the folder is made where it is missing.

        Raises:
            StoreRefusedError: it is no database, another program's, of a newer release, or not writable.
            StoreUnavailableError: another process keeps it locked.
        """
        if self._writer.running:
            return
        self._file = os.path.abspath(self._path)
        try:
            for thread in (self._writer, self._reader, self._slow_reader):
                await thread.start()
        except BaseException:
            await self.close()
            raise
        _log.info("opened %s with SQLite %s", self.address, apsw.sqlite_lib_version())

    async def close(self) -> None:
        """Finish the commits that wait, then close the file. Twice is harmless.

        Where this is cancelled, as the file is locked by another process or the disk hangs, the threads end by
        themselves when the database answers.
        """
        threads = (self._slow_reader, self._reader, self._writer)
        try:
            await self._group.drain()
            for thread in threads:
                await thread.stop()
        finally:
            for thread in threads:
                thread.dismiss()
            self._signal.wake()

    async def commit(self, changes: Changes) -> None:
        """Commit together with all that waits; see the port."""
        await self._group.add(Unit.of(changes))

    async def read_emitted(self, after: int, limit: int) -> Sequence[Recorded]:
        """Positions are given out under the write lock, so none appears below one that was read; see the port."""
        return await self._run(self._reader, sqlite_reads.read_emitted, after, limit)

    async def wait_emitted(self, after: int, timeout: float) -> None:
        """Return at once after a commit of this process, and within some 10 ms after one of another; see the port."""
        if not self._reader.idling:  # from now on it looks for what other processes commit
            self._reader.idling = True
            await self._run(self._reader, self._look)
        if not self._reader.running:
            raise StoreUnavailableError("the store is not open")
        expected = self._signal.expect()
        try:
            if self._known_position <= after:
                await self._signal.wait(expected, timeout)
        finally:
            self._signal.forget(expected)

    async def checkpoint(self, name: str) -> int | None:
        """Return a checkpoint's position, or None where it was never set."""
        return await self._run(self._reader, sqlite_reads.checkpoint, name)

    async def checkpoints(self) -> Mapping[str, int]:
        """Return all checkpoints."""
        return await self._run(self._reader, sqlite_reads.checkpoints)

    async def last_position(self) -> int:
        """Return the highest position in the log, 0 where it is empty."""
        return await self._run(self._reader, sqlite_reads.last_position)

    async def find_settled(self, keys: Sequence[InboxKey], *, final: bool = False) -> set[InboxKey]:
        """See ``EventStore.find_settled``."""
        return await self._run(self._reader, sqlite_reads.find_settled, keys, final) if keys else set()

    async def find_answer(self, key: AnswerKey) -> Answer | None:
        """Return the answer that is stored under ``key``, or None."""
        return await self._run(self._reader, sqlite_reads.find_answer, key)

    async def claim_retries(self, consumers: Sequence[str], owner: str, lease: float, limit: int) -> Sequence[Retry]:
        """Claim due retries, the longest due first; see the port."""
        return await self._run(self._writer, sqlite_writes.claim_retries, consumers, owner, lease, limit)

    async def renew_claims(self, owner: str, lease: float) -> int:
        """Keep others off all that ``owner`` has claimed; return how many those are."""
        return await self._run(self._writer, sqlite_writes.renew_claims, owner, lease)

    async def seconds_to_next_retry(self, consumers: Sequence[str]) -> float | None:
        """Return how long until a retry of ``consumers`` may be claimed (0 if now), or None where there is none."""
        return await self._run(self._reader, sqlite_reads.seconds_to_next_retry, consumers)

    async def find_unclaimed(self, seconds: float, limit: int = 100) -> Sequence[Retry]:
        """Return retries that nobody takes, the longest due first; see the port."""
        return await self._run(self._reader, sqlite_reads.find_unclaimed, seconds, limit)

    async def list_dead_letters(self, limit: int = 100, pattern: str = "#") -> Sequence[DeadLetter]:
        """Return the newest dead letters whose event name matches ``pattern``; see the port."""
        return await self._run(self._reader, sqlite_reads.list_dead_letters, limit, check_pattern(pattern))

    async def get_dead_letter(self, letter_id: str) -> DeadLetter | None:
        """Return one dead letter, or None."""
        return await self._run(self._reader, sqlite_reads.get_dead_letter, letter_id)

    async def redrive(self, letter_ids: Sequence[str]) -> int:
        """Turn dead letters into retries that are due at once; see the port."""
        return await self._run(self._writer, sqlite_writes.redrive, letter_ids)

    async def purge_dead_letters(self, letter_ids: Sequence[str]) -> int:
        """Delete dead letters; return how many. Their keys stay marked as handled."""
        return await self._run(self._writer, sqlite_writes.purge_dead_letters, letter_ids)

    async def forget_handled(self, older_than: float, limit: int = 10_000) -> int:
        """Delete inbox marks and answers older than ``older_than`` seconds, up to ``limit`` in all; return how many."""
        return await self._run(self._writer, sqlite_writes.forget_handled, older_than, limit)

    async def acquire_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Take or renew the lease ``name``, by the clock of the machine that holds the file."""
        return await self._run(self._writer, sqlite_writes.acquire_lease, name, owner, seconds)

    async def release_lease(self, name: str, owner: str) -> None:
        """Give the lease back, if ``owner`` holds it."""
        await self._run(self._writer, sqlite_writes.release_lease, name, owner)

    async def query(self, statement: Statement) -> Sequence[tuple[SqlValue, ...]]:
        """Run a reading statement on a connection that cannot write; see the port."""
        return await self._run(self._slow_reader, self._query, statement)

    async def check(self) -> str:
        """Run SQLite's integrity check, which reads the whole file."""
        return await self._run(self._slow_reader, sqlite_reads.integrity)

    async def _run(
        self,
        thread: DatabaseThread,
        job: Callable[Concatenate[apsw.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        def translated(connection: apsw.Connection) -> T:
            try:
                return job(connection, *args, **kwargs)
            except apsw.Error as error:
                raise translate(error, self._file, connection) from error

        return await thread.run(translated)

    def _connect_writer(self) -> apsw.Connection:
        connection = connect_writer(self._file, self._lock_timeout, self._max_pages)
        prepare_units(connection)
        self._author = AuthorSql(connection, self._file)
        return connection

    def _connect_reader(self) -> apsw.Connection:
        return connect_reader(self._file, self._lock_timeout)

    def _connect_slow_reader(self) -> apsw.Connection:
        connection = connect_reader(self._file, self._lock_timeout)
        self._query_author = AuthorSql(connection, self._file)
        return connection

    # The methods below run in the threads.

    def _commit_group(self, connection: apsw.Connection, units: Sequence[Unit]) -> Outcomes:
        assert self._author is not None
        outcomes = commit_group(connection, self._author, units, self._file)
        if any(unit.emits for unit in units):
            self._learn(connection)
        return outcomes

    def _query(self, connection: apsw.Connection, statement: Statement) -> Sequence[tuple[SqlValue, ...]]:
        assert self._query_author is not None
        return self._query_author.execute(statement)

    def _look(self, connection: apsw.Connection) -> None:
        known = self._known_position
        with contextlib.suppress(apsw.Error):
            self._learn(connection)
            if self._known_position > known:
                self._reader.tell(self._signal.wake)

    def _learn(self, connection: apsw.Connection) -> None:
        # Two threads come here; whichever is late must not take back what the other has seen.
        self._known_position = max(self._known_position, sqlite_reads.last_position(connection))
