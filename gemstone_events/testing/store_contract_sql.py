"""The store contract: the author's own SQL, and a store's opening and closing.

The statements are of the SQL that all databases share; ``parameter`` says how the store's dialect writes one.
"""

import asyncio

import pytest

from gemstone_events.errors import AlreadyHandledError, StatementError, StoreUnavailableError
from gemstone_events.store.port import Changes, EventStore, InboxKey, Statement
from gemstone_events.testing.store_contract_harness import (
    DEADLINE,
    LONG,
    MakeStore,
    StoreHarness,
    ids,
    is_handled,
    message,
    outcomes,
    read_all,
)

KEY = InboxKey("billing.charge", "1")


class SqlContract(StoreHarness):
    """Statements, queries, opening, closing."""

    parameter = "?"
    """The placeholder of a positional parameter."""
    named_parameter = ":{}"
    """The placeholder of a named parameter, ``{}`` standing for its name."""

    def insert(self, number: int) -> Statement:
        """Return a statement that adds a number to the author's table."""
        return Statement(f"INSERT INTO numbers (n) VALUES ({self.parameter})", (number,))

    async def create(self, store: EventStore) -> None:
        """Create the author's table."""
        await store.commit(Changes(statements=[Statement("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")]))

    async def numbers(self, store: EventStore) -> list[object]:
        """Return what is in the author's table."""
        return [n for (n,) in await store.query(Statement("SELECT n FROM numbers ORDER BY n"))]

    async def test_statements_run_in_order_and_are_queried(self, store: EventStore) -> None:
        await self.create(store)
        double = Statement("UPDATE numbers SET n = n * 2")
        await store.commit(Changes(statements=[self.insert(3), double, self.insert(1)]))
        assert await self.numbers(store) == [1, 6]

    async def test_values_of_every_type_come_back(self, store: EventStore) -> None:
        values = (None, 2**40, 1.5, "\N{SNOWMAN}", b"\0\xff")
        marks = ", ".join([self.parameter] * len(values))
        await store.commit(
            Changes(
                statements=[
                    Statement("CREATE TABLE things (a INTEGER, b BIGINT, c REAL, d TEXT, e BLOB)"),
                    Statement(f"INSERT INTO things VALUES ({marks})", values),
                ]
            )
        )
        assert [tuple(row) for row in await store.query(Statement("SELECT a, b, c, d, e FROM things"))] == [values]

    async def test_parameters_may_have_names(self, store: EventStore) -> None:
        await self.create(store)
        named = self.named_parameter.format("number")
        await store.commit(Changes(statements=[Statement(f"INSERT INTO numbers VALUES ({named})", {"number": 7})]))
        found = await store.query(Statement(f"SELECT n FROM numbers WHERE n = {named}", {"number": 7}))
        assert [tuple(row) for row in found] == [(7,)]
        with pytest.raises(StatementError):
            await store.commit(Changes(statements=[Statement(f"INSERT INTO numbers VALUES ({named})", {"x": 8})]))

    async def test_a_failing_statement_undoes_its_unit(self, store: EventStore) -> None:
        await self.create(store)
        broken = Changes(
            emitted=[message()], handled=[KEY], statements=[self.insert(1), Statement("INSERT INTO nowhere VALUES (1)")]
        )
        with pytest.raises(StatementError, match="nowhere"):
            await store.commit(broken)
        assert await self.numbers(store) == []
        assert await store.last_position() == 0
        assert not await is_handled(store, KEY)

    async def test_a_unit_that_was_handled_already_runs_no_statement(self, store: EventStore) -> None:
        await self.create(store)
        await store.commit(Changes(handled=[KEY]))
        with pytest.raises(AlreadyHandledError):
            await store.commit(Changes(handled=[KEY], statements=[self.insert(1)]))
        assert await self.numbers(store) == []

    async def test_a_failing_statement_does_not_touch_the_units_that_wait_with_it(self, store: EventStore) -> None:
        await self.create(store)
        await store.commit(Changes(statements=[self.insert(5)]))
        units = [Changes(emitted=[message(id=str(n))], statements=[self.insert(n)]) for n in range(10)]
        units += [Changes(emitted=[message(id=str(n))]) for n in range(10, 20)]
        failed = await outcomes(store, units)
        assert [n for n in range(20) if failed[n] is not None] == [5]
        assert isinstance(failed[5], StatementError)
        assert await self.numbers(store) == list(range(10))
        assert sorted(map(int, ids(await read_all(store)))) == [n for n in range(20) if n != 5]

    @pytest.mark.parametrize("sql", ["COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT mine", "this is no SQL", ""])
    async def test_a_statement_cannot_control_the_transaction(self, store: EventStore, sql: str) -> None:
        await self.create(store)
        await store.commit(Changes(statements=[self.insert(1)]))  # the store's own statements have run by now
        if sql:
            with pytest.raises(StatementError):
                await store.commit(Changes(statements=[self.insert(2), Statement(sql)], emitted=[message()]))
            assert await self.numbers(store) == [1]
            assert await store.last_position() == 0
        await store.commit(Changes(statements=[self.insert(3)]))
        assert await self.numbers(store) == [1, 3]

    async def test_a_query_sees_what_is_committed_and_cannot_write(self, store: EventStore) -> None:
        await self.create(store)
        with pytest.raises(StatementError):
            await store.query(self.insert(1))
        with pytest.raises(StatementError):
            await store.query(Statement("SELECT nothing FROM nowhere"))
        assert await self.numbers(store) == []
        await store.commit(Changes(statements=[self.insert(1)]))
        assert await self.numbers(store) == [1]

    async def test_a_sound_database_is_found_ok(self, store: EventStore) -> None:
        await store.commit(Changes(emitted=[message()], handled=[KEY]))
        assert await store.check() == "ok"

    async def test_opening_and_closing_twice_is_harmless(self, store: EventStore) -> None:
        await store.open()
        await store.commit(Changes(emitted=[message()]))
        await store.close()
        await store.close()

    async def test_a_store_that_was_never_opened_can_be_closed(self, make_store: MakeStore) -> None:
        await make_store().close()

    async def test_a_store_that_is_not_open_says_so(self, make_store: MakeStore) -> None:
        store = make_store()
        with pytest.raises(StoreUnavailableError, match="not open"):
            await store.commit(Changes(emitted=[message()]))
        await store.open()
        await store.close()
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(StoreUnavailableError, match="not open"):
                await store.commit(Changes(emitted=[message()]))
            with pytest.raises(StoreUnavailableError, match="not open"):
                await store.read_emitted(0, 1)

    async def test_closing_finishes_the_commits_that_wait(self, store: EventStore, make_store: MakeStore) -> None:
        large = [Changes(emitted=[message(id=str(n), body=b"x" * 300_000)]) for n in range(60)]
        committing = [asyncio.create_task(store.commit(changes)) for changes in large]
        await asyncio.sleep(0)
        await asyncio.wait_for(store.close(), DEADLINE)
        assert await asyncio.gather(*committing) == [None] * 60
        if store.durable:
            again = make_store()
            await again.open()
            assert len(await read_all(again)) == 60
            await again.close()

    async def test_closing_ends_the_waits_for_messages(self, store: EventStore) -> None:
        waiting = asyncio.create_task(store.wait_emitted(0, LONG))
        await asyncio.sleep(0)
        await store.close()
        done, _ = await asyncio.wait([waiting], timeout=DEADLINE)
        assert done, "the wait went on after the store was closed"
        assert waiting.exception() is None or isinstance(waiting.exception(), StoreUnavailableError)

    async def test_a_durable_store_keeps_everything_when_it_is_opened_again(
        self, store: EventStore, make_store: MakeStore
    ) -> None:
        if not store.durable:
            pytest.skip("the store declares durable=False")
        await self.create(store)
        await store.commit(
            Changes(emitted=[message(id="1")], handled=[KEY], statements=[self.insert(1)], checkpoints={"relay": 1})
        )
        await store.close()
        again = make_store()
        await again.open()
        assert ids(await read_all(again)) == ["1"]
        assert await is_handled(again, KEY)
        assert await again.checkpoint("relay") == 1
        assert await self.numbers(again) == [1]
        await again.close()
