"""What the SQLite store keeps through kills, full disks, locks, strangers' files and other processes."""

import asyncio
import os
import random
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from gemstone_events.errors import (
    ServiceConfigurationError,
    StatementError,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnavailableError,
)
from gemstone_events.message import Message
from gemstone_events.store.port import Answer, AnswerKey, Changes, EventStore, InboxKey, Statement
from gemstone_events.store.sqlite import SqliteStore, open_url
from gemstone_events.store.sqlite_schema import check_library

DEADLINE = 60.0
NOBODY = "65534"
PEER = Path(__file__).with_name("sqlite_store_peer.py")


def message(id: str, body: bytes = b"{}") -> Message:
    return Message({"id": id, "type": "a.b"}, body)


@asynccontextmanager
async def opened(path: Path, **options: float) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(path), **options)  # type: ignore[arg-type]
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def peer(path: Path, task: str, argument: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PEER), str(path), task, argument, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), DEADLINE)).decode().rstrip("\n")


async def lines(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.read(), DEADLINE)).decode().splitlines()


async def ids(store: EventStore) -> list[str]:
    return [recorded.message.id for recorded in await store.read_emitted(0, 1_000_000)]


def plain_database(path: Path, sql: str) -> None:
    database = apsw.Connection(str(path))
    database.execute(sql)
    database.close()


class TestKilled:
    async def test_every_acknowledged_commit_survives_fifty_kills(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        seed = random.randrange(2**32)
        chance = random.Random(seed)
        print(f"seed {seed}")
        async with opened(path) as store:
            await store.commit(Changes(statements=[Statement("CREATE TABLE traces (name TEXT PRIMARY KEY)")]))
        acknowledged: set[str] = set()
        for cycle in range(10):
            lives = (self._live_and_be_killed(path, f"{cycle}.{n}", chance.randrange(1, 400)) for n in range(5))
            for names in await asyncio.gather(*lives):
                assert names, "a process died before it committed anything"
                acknowledged |= names
            await self._examine(path, acknowledged)
        assert len(acknowledged) > 50

    async def _live_and_be_killed(self, path: Path, prefix: str, units: int) -> set[str]:
        async with peer(path, "commit", prefix) as process:
            names = {await line(process) for _ in range(units)}
            process.send_signal(signal.SIGKILL)
            return names | set(await lines(process))

    async def _examine(self, path: Path, acknowledged: set[str]) -> None:
        async with opened(path) as store:
            assert await store.check() == "ok"
            found = await ids(store)
            units = {id.rpartition("/")[0] for id in found}
            assert acknowledged <= units, "an acknowledged commit is lost"
            assert len(found) == len(set(found)) == 2 * len(units), "half a unit was committed"
            assert {key.event_id for key in await store.find_settled([InboxKey("c", name) for name in units])} == units
            marks = await store.query(Statement("SELECT count(*) FROM gemstone_inbox"))
            assert marks[0][0] == len(units)
            traces = {name for (name,) in await store.query(Statement("SELECT name FROM traces"))}
            assert traces == {name for name in units if name.endswith("0")}


class TestSharedFile:
    async def test_another_process_sees_commits_as_they_happen(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        async with opened(path) as store, peer(path, "wait", "3") as process:
            assert await line(process) == "waiting"
            for number in range(3):  # one at a time: each is waited for
                await store.commit(Changes(emitted=[message(str(number))]))
                assert await line(process) == str(number)
            assert await lines(process) == ["done"]

    async def test_many_instances_may_make_a_new_file_at_once(self, tmp_path: Path) -> None:
        stores = [SqliteStore(str(tmp_path / "new" / "store.db")) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(store.commit(Changes(emitted=[message(str(n))])) for n, store in enumerate(stores)))
        assert sorted(await ids(stores[0])) == sorted(str(n) for n in range(8))
        await asyncio.gather(*(store.close() for store in stores))

    async def test_a_lock_that_is_not_given_up_makes_the_store_unavailable(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        async with opened(path, lock_timeout=0.1) as store:
            holder = apsw.Connection(str(path))
            holder.execute("BEGIN IMMEDIATE")
            units = [
                Changes(emitted=[message("1")]),
                Changes(emitted=[message("2")], statements=[Statement("SELECT 1")]),
            ]
            failed = await asyncio.gather(*map(store.commit, units), return_exceptions=True)
            assert [type(failure) for failure in failed] == [StoreUnavailableError] * 2
            assert "locked" in str(failed[0])
            with pytest.raises(StoreUnavailableError):
                await store.acquire_lease("relay", "me", 1.0)
            assert await ids(store) == []  # reading goes on
            holder.execute("ROLLBACK")
            holder.close()
            await store.commit(units[0])
            assert await ids(store) == ["1"]

    async def test_the_file_and_its_folder_are_the_owners_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "data" / "store.db"
        async with opened(path) as store:
            await store.commit(Changes(emitted=[message("1")]))
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}

    async def test_closing_leaves_one_whole_file(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        async with opened(path) as store:
            await store.commit(Changes(emitted=[message("1")]))
        assert [file.name for file in tmp_path.iterdir()] == ["store.db"]


class TestRefusals:
    async def refused(self, path: Path) -> str:
        store = SqliteStore(str(path), lock_timeout=0.5)
        with pytest.raises(StoreRefusedError) as refusal:
            await store.open()
        with pytest.raises(StoreUnavailableError):
            await store.commit(Changes())
        await store.close()
        return str(refusal.value)

    async def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("to do: nothing\n" * 100)
        assert "not an SQLite database" in await self.refused(path)
        assert path.read_text() == "to do: nothing\n" * 100

    async def test_another_programs_database(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        plain_database(path, "PRAGMA application_id=4711; CREATE TABLE theirs (x)")
        before = path.read_bytes()
        assert "application_id is 4711" in await self.refused(path)
        assert path.read_bytes() == before

    async def test_tables_of_our_names_that_we_did_not_make(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        plain_database(path, "CREATE TABLE gemstone_events (x)")
        assert "gemstone_*" in await self.refused(path)

    async def test_a_database_of_a_newer_release(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        async with opened(path):
            pass
        plain_database(path, "UPDATE gemstone_meta SET value = 2 WHERE name = 'schema_version'")
        assert "version 2" in await self.refused(path)

    async def test_a_folder_in_place_of_the_file(self, tmp_path: Path) -> None:
        assert "is a folder" in await self.refused(tmp_path)

    async def test_a_file_in_place_of_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "is not a folder" in await self.refused(tmp_path / "file" / "store.db")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    async def test_a_file_or_folder_that_may_not_be_written(self, tmp_path: Path) -> None:
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(0o755)
        path = tmp_path / "store.db"
        async with peer(path, "be nobody", NOBODY) as process:
            assert "StoreRefusedError" in (refusal := await line(process))
            assert "the right to write" in refusal
        async with opened(path):
            pass
        path.chmod(0o644)
        async with peer(path, "be nobody", NOBODY) as process:
            assert "the right to write" in await line(process)
        path.chmod(0o666)  # the file, and not its folder, where SQLite's other files must go
        async with peer(path, "be nobody", NOBODY) as process:
            assert "StoreRefusedError" in (refusal := await line(process))
            assert "folder" in refusal

    def test_a_library_that_may_corrupt_the_file(self) -> None:
        check_library("3.51.3")
        check_library("3.100.0")
        with pytest.raises(StoreRefusedError, match=r"3\.40\.1 can corrupt"):
            check_library("3.40.1")

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("sqlite:", "names no file"),
            ("sqlite://", "names no file"),
            ("sqlite:///", "names no file"),
            ("sqlite://file.db", "four slashes"),
            ("sqlite://host/file.db", "names no file"),
            ("sqlite:///folder/", "names no file"),
            ("sqlite:///:memory:", "memory:"),
            ("sqlite:///file.db?mode=ro", "options"),
            ("sqlite:///file.db?", "options"),
        ],
    )
    def test_a_url_that_cannot_be_meant(self, url: str, reason: str) -> None:
        with pytest.raises(ServiceConfigurationError, match=reason):
            open_url(url)

    async def test_a_relative_url_is_below_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        store = open_url("sqlite:///data/a%20b.db")
        await store.open()
        await store.close()
        assert (tmp_path / "data" / "a b.db").is_file()
        assert store.address == "sqlite:///data/a%20b.db"


class TestUpgrading:
    """Files of older releases, before there were answers."""

    OLDER = "DROP TABLE gemstone_answers"

    async def test_what_a_newer_release_keeps_is_added_and_the_rest_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        async with opened(path) as store:
            await store.commit(Changes([message("1")], [InboxKey("c", "1")]))
        plain_database(path, self.OLDER)
        answer = Answer(AnswerKey("m", "", "1"), "f", b"1")
        async with opened(path) as store:
            assert await ids(store) == ["1"]
            assert await store.find_answer(answer.key) is None
            await store.commit(Changes(answers=[answer]))
        async with opened(path) as store:
            assert await store.find_answer(answer.key) == answer
            assert await store.find_settled([InboxKey("c", "1")])

    async def test_several_processes_may_add_it_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        async with opened(path):
            pass
        plain_database(path, self.OLDER)
        async with peer(path, "wait", "0") as one, peer(path, "wait", "0") as two, peer(path, "wait", "0") as three:
            assert [await lines(process) for process in (one, two, three)] == [["waiting", "done"]] * 3
        async with opened(path) as store:
            assert await store.find_answer(AnswerKey("m", "", "1")) is None


class TestFull:
    async def test_a_full_database_refuses_whole_units_and_works_again(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        async with opened(path, max_pages=60) as store:
            done: list[str] = []

            async def fill_up() -> None:
                for name in map(str, range(100)):
                    await store.commit(Changes(emitted=[message(name, b"x" * 9000)], handled=[InboxKey("c", name)]))
                    done.append(name)

            with pytest.raises(StoreFullError, match="no room"):
                await fill_up()
            assert done
            big = [
                Changes(emitted=[message(f"big {n}", b"x" * 90_000)], handled=[InboxKey("c", f"big {n}")])
                for n in "abc"
            ]
            big[0].statements.append(Statement("SELECT 1"))
            failed = await asyncio.gather(*map(store.commit, big), return_exceptions=True)
            assert [type(failure) for failure in failed] == [StoreFullError] * 3
            assert await ids(store) == done
            keys = [InboxKey("c", name) for name in ("big a", "big b", "big c", *done)]
            assert await store.find_settled(keys) == set(keys[3:])
            assert await store.check() == "ok"
        async with opened(path) as store:
            await asyncio.gather(*map(store.commit, big))
            assert len(await ids(store)) == len(done) + 3

    async def test_files_that_may_not_grow_refuse_whole_units_and_work_again(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        async with peer(path, "fill", str(1_000_000)) as process:
            *done, refusal, later, ended = await lines(process)
        assert refusal == f"StoreFullError at n-{len(done)}1"
        assert len(done) > 10
        assert (later, ended) == ("n-later1", "done")
        async with opened(path) as store:
            assert await store.check() == "ok"
            assert await ids(store) == [f"{name}/{part}" for name in (*done, later) for part in "ab"]

    async def test_a_damaged_file_is_found(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        async with opened(path) as store:
            for number in range(30):
                await store.commit(Changes(emitted=[message(f"{number:050}", b"x" * 3000)]))
        with path.open("r+b") as file:
            file.seek(20 * 4096)
            file.write(b"\xaa" * 4096 * 10)
        async with opened(path) as store:
            try:
                assert await store.check() != "ok"
            except StoreRefusedError as error:
                assert "damaged" in str(error)  # noqa: PT017 - either answer names the damage


class TestMisuse:
    async def test_a_unit_that_cannot_be_stored_fails_alone(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "store.db") as store:
            units = [Changes(emitted=[message(str(n))]) for n in range(4)]
            units[1].checkpoints["relay"] = "seven"  # type: ignore[assignment]
            units[2].statements.append(Statement("SELECT 1"))
            failed = await asyncio.gather(*map(store.commit, units), return_exceptions=True)
            assert [type(failure) for failure in failed] == [type(None), StoreError, type(None), type(None)]
            assert sorted(await ids(store)) == ["0", "2", "3"]


class TestAuthorsTables:
    async def test_a_database_with_the_authors_tables_becomes_a_store(self, tmp_path: Path) -> None:
        path = tmp_path / "app.db"
        plain_database(path, "PRAGMA user_version=7; CREATE TABLE orders (n); INSERT INTO orders VALUES (1)")
        async with opened(path) as store:
            await store.commit(Changes(emitted=[message("1")], statements=[Statement("INSERT INTO orders VALUES (2)")]))
            assert await store.query(Statement("SELECT n FROM orders ORDER BY n")) == [(1,), (2,)]
            assert await store.query(Statement("PRAGMA user_version")) == [(7,)]

    @pytest.mark.parametrize(
        "sql",
        [
            "INSERT INTO gemstone_inbox VALUES ('c', '1', 0)",
            "DELETE FROM gemstone_events",
            "DROP TABLE gemstone_leases",
            "ALTER TABLE gemstone_meta RENAME TO mine",
            "INSERT INTO gemstone_unit (handled) VALUES ('[]')",
            "CREATE TRIGGER mine AFTER INSERT ON gemstone_events BEGIN SELECT 1; END",
            "ATTACH '{folder}/other.db' AS other",
            "PRAGMA synchronous=OFF",
            "VACUUM",
            "SELECT 1; COMMIT",
            "COMMIT /* by the author */",
        ],
    )
    async def test_a_statement_cannot_reach_what_is_the_stores(self, tmp_path: Path, sql: str) -> None:
        async with opened(tmp_path / "store.db") as store:
            await store.commit(Changes(emitted=[message("1")], statements=[Statement("CREATE TABLE t (x)")]))
            units = [
                Changes(emitted=[message("2")], statements=[Statement(sql.format(folder=tmp_path))]),
                Changes(emitted=[message("3")]),
            ]
            failed = await asyncio.gather(*map(store.commit, units), return_exceptions=True)
            assert [type(failure) for failure in failed] == [StatementError, type(None)]
            assert await ids(store) == ["1", "3"]
            assert not (tmp_path / "other.db").exists()

    @pytest.mark.parametrize(
        "sql",
        [
            "INSERT OR ROLLBACK INTO t VALUES (1)",
            "INSERT INTO child VALUES (99)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO guarded VALUES (1)",
        ],
        ids=["rolls back", "deferred foreign key", "constraint", "raising trigger"],
    )
    async def test_a_statement_that_spoils_the_transaction_spoils_its_own_unit_alone(
        self, tmp_path: Path, sql: str
    ) -> None:
        async with opened(tmp_path / "store.db") as store:
            tables = """
                CREATE TABLE t (x INTEGER PRIMARY KEY); INSERT INTO t VALUES (1);
                CREATE TABLE child (x REFERENCES t (x) DEFERRABLE INITIALLY DEFERRED);
                CREATE TABLE guarded (x);
                CREATE TRIGGER guard BEFORE INSERT ON guarded BEGIN SELECT RAISE(ROLLBACK, 'no entry'); END
            """
            await store.commit(Changes(statements=[Statement(tables)]))
            units = [
                Changes(
                    emitted=[message(str(n))],
                    statements=[Statement(sql if n == 3 else f"INSERT INTO t VALUES ({9 + n})")],
                )
                for n in range(6)
            ]
            failed = await asyncio.gather(*map(store.commit, units), return_exceptions=True)
            assert [n for n in range(6) if failed[n] is not None] == [3]
            assert isinstance(failed[3], StatementError)
            assert sorted(await ids(store)) == ["0", "1", "2", "4", "5"]
            assert await store.query(Statement("SELECT x FROM t WHERE x > 1 ORDER BY x")) == [
                (9,),
                (10,),
                (11,),
                (13,),
                (14,),
            ]

    @pytest.mark.parametrize(
        ("statement", "reason"),
        [
            (Statement("SELECT ?", (object(),)), "type object"),  # type: ignore[arg-type]
            (Statement("SELECT ?", (2**70,)), "too big"),
            (Statement("SELECT ?, ?", (1,)), "bindings"),
            (Statement("SELECT :a", {"b": 1}), ":a has no value"),
            (Statement("SELECT ?", ("\ud800",)), "surrogates"),
            (Statement("SELECT '" + "x" * 500 + "' FROM nowhere"), r"no such table: nowhere \[in: .{200}\]"),
        ],
        ids=["type", "integer", "count", "name", "surrogate", "table"],
    )
    async def test_a_statement_with_wrong_parameters_says_what_is_wrong(
        self, tmp_path: Path, statement: Statement, reason: str
    ) -> None:
        async with opened(tmp_path / "store.db") as store:
            with pytest.raises(StatementError, match=reason):
                await store.commit(Changes(statements=[statement]))
            with pytest.raises(StatementError, match=reason):
                await store.query(statement)

    async def test_a_query_cannot_leave_its_limits(self, tmp_path: Path) -> None:
        async with opened(tmp_path / "store.db") as store:
            for sql in ("PRAGMA query_only=OFF", "BEGIN", f"ATTACH '{tmp_path}/x.db' AS x", "CREATE TABLE t (x)"):
                with pytest.raises(StatementError):
                    await store.query(Statement(sql))
            assert await store.query(Statement("SELECT 1 AS one")) == [(1,)]
