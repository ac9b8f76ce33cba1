"""The store contract: units of work are atomic, and the log is read in order and without gaps."""

import asyncio

import pytest

from gemstone_events.errors import AlreadyHandledError, InvalidEventError
from gemstone_events.message import Message
from gemstone_events.store.port import Changes, EventStore, InboxKey, Retry
from gemstone_events.testing.store_contract_harness import (
    DEADLINE,
    LONG,
    StoreHarness,
    ids,
    is_handled,
    is_settled,
    letter,
    message,
    numbered,
    outcomes,
    read_all,
    retry,
)

KEY = InboxKey("billing.charge", "1")


class LogContract(StoreHarness):
    """Commits, the log, and checkpoints."""

    async def test_what_is_emitted_is_read_back_in_order(self, store: EventStore) -> None:
        sent = [message("order.placed", body=b'{"n":1}'), message("invoice.print", body=b"[2]", broadcast=False)]
        await store.commit(Changes(emitted=sent))
        recorded = await store.read_emitted(0, 10)
        assert [one.message for one in recorded] == sent
        assert 0 < recorded[0].position < recorded[1].position

    @pytest.mark.parametrize(
        "body",
        [b"", b"\0", b"\xff\xfe not UTF-8", "\N{SNOWMAN} \N{GRINNING FACE}".encode(), b'"\\ud800"', bytes(range(256))],
        ids=["empty", "nul", "binary", "unicode", "escaped surrogate", "all bytes"],
    )
    async def test_a_body_comes_back_byte_for_byte(self, store: EventStore, body: bytes) -> None:
        key = InboxKey("c", "1")
        await store.commit(Changes(emitted=[message(body=body)]))
        await store.commit(Changes(retries=[Retry(key, message(id="1", body=body), 1, 0.0)]))
        dead = letter(InboxKey("c", "2"), about=message(id="2", body=body))
        await store.commit(Changes(dead_letters=[dead]))
        assert [one.message.body for one in await read_all(store)] == [body]
        assert [one.message.body for one in await store.claim_retries(["c"], "me", LONG, 1)] == [body]
        kept = await store.get_dead_letter(dead.id)
        assert kept is not None
        assert kept.message.body == body

    @pytest.mark.parametrize(
        "text", ["\0", "\ud800", "ünïcödé \N{GRINNING FACE}", "quote's \" \\ %s ?1", "x" * 8192], ids=ascii
    )
    async def test_attributes_hold_any_text(self, store: EventStore, text: str) -> None:
        odd = Message({"id": "1", "type": "a.b", text: text}, b"{}")
        await store.commit(Changes(emitted=[odd]))
        assert [one.message for one in await read_all(store)] == [odd]

    @pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "\N{SNOWMAN}", "'; --", "[1]"], ids=ascii)
    async def test_ids_of_any_text_are_told_apart(self, store: EventStore, text: str) -> None:
        marked, retried, other = InboxKey("c", text), InboxKey(text, "1"), InboxKey("c", text + "x")
        await store.commit(Changes(handled=[marked], retries=[retry(retried)]))
        assert await store.find_settled([other, marked, retried]) == {marked, retried}
        with pytest.raises(AlreadyHandledError):
            await store.commit(Changes(handled=[marked]))

    async def test_the_log_is_read_after_a_position_up_to_a_limit(self, store: EventStore) -> None:
        await store.commit(Changes(emitted=numbered(5)))
        first = await store.read_emitted(0, 2)
        rest = await store.read_emitted(first[-1].position, 10)
        assert ids(first) + ids(rest) == ["0", "1", "2", "3", "4"]
        assert await store.read_emitted(rest[-1].position, 10) == []

    async def test_last_position_is_that_of_the_newest_message(self, store: EventStore) -> None:
        assert await store.last_position() == 0
        await store.commit(Changes(emitted=numbered(3)))
        assert await store.last_position() == (await read_all(store))[-1].position

    async def test_an_empty_unit_is_committed(self, store: EventStore) -> None:
        await store.commit(Changes())
        assert await store.last_position() == 0

    async def test_a_unit_that_fails_writes_nothing_at_all(self, store: EventStore) -> None:
        await store.commit(Changes(handled=[KEY]))
        other = InboxKey("billing.charge", "2")
        with pytest.raises(AlreadyHandledError):
            await store.commit(
                Changes(
                    emitted=[message()],
                    handled=[other, KEY],
                    retries=[retry(InboxKey("retrying", "3"))],
                    dead_letters=[letter(InboxKey("dead", "4"))],
                    checkpoints={"relay": 7},
                )
            )
        assert await store.last_position() == 0
        assert await store.find_settled([other, InboxKey("retrying", "3"), InboxKey("dead", "4")]) == set()
        assert await store.list_dead_letters() == []
        assert await store.checkpoints() == {}

    async def test_a_unit_that_fails_does_not_touch_those_that_wait_with_it(self, store: EventStore) -> None:
        await store.commit(Changes(handled=[KEY]))
        units = [
            Changes(
                emitted=[message(id=str(number))], handled=[InboxKey("c", str(number)), *([KEY] * (number % 3 == 1))]
            )
            for number in range(30)
        ]
        failed = await outcomes(store, units)
        assert [isinstance(failure, AlreadyHandledError) for failure in failed] == [n % 3 == 1 for n in range(30)]
        assert sorted(ids(await read_all(store)), key=int) == [str(n) for n in range(30) if n % 3 != 1]
        assert len(await store.find_settled([InboxKey("c", str(number)) for number in range(30)])) == 20

    async def test_of_units_that_mark_one_key_at_once_exactly_one_is_committed(self, store: EventStore) -> None:
        failed = await outcomes(store, [Changes(emitted=[message(id=str(n))], handled=[KEY]) for n in range(20)])
        assert sum(failure is None for failure in failed) == 1
        assert sum(isinstance(failure, AlreadyHandledError) for failure in failed) == 19
        assert ids(await read_all(store)) == [str(failed.index(None))]

    async def test_an_event_id_that_is_in_the_log_is_refused(self, store: EventStore) -> None:
        await store.commit(Changes(emitted=[message(id="1")]))
        failed = await outcomes(store, [Changes(emitted=[message(id="2"), message(id="1")]), Changes(handled=[KEY])])
        assert isinstance(failed[0], InvalidEventError)
        assert failed[1] is None
        assert ids(await read_all(store)) == ["1"]

    async def test_a_key_without_an_event_id_is_refused(self, store: EventStore) -> None:
        for changes in (Changes(handled=[InboxKey("c", "")]), Changes(retries=[retry(InboxKey("c", ""))])):
            with pytest.raises(ValueError, match="without an id"):
                await store.commit(changes)

    async def test_changes_may_be_used_again_after_the_commit_began(self, store: EventStore) -> None:
        changes = Changes(emitted=[message(id="1")])
        committing = asyncio.ensure_future(store.commit(changes))
        await asyncio.sleep(0)
        changes.emitted[:] = [message(id="2")]
        await committing
        assert ids(await read_all(store)) == ["1"]

    async def test_a_commit_whose_waiter_is_cancelled_harms_nobody(self, store: EventStore) -> None:
        tasks = [
            asyncio.create_task(store.commit(Changes(emitted=[message(id=str(n))], handled=[InboxKey("c", str(n))])))
            for n in range(40)
        ]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[1::2] == [None] * 20
        await store.commit(Changes(emitted=[message(id="40")], handled=[InboxKey("c", "40")]))
        recorded = set(ids(await read_all(store)))
        assert {str(n) for n in range(1, 40, 2)} | {"40"} <= recorded
        # Cancelled or not, a unit happened whole or not at all.
        marked = await store.find_settled([InboxKey("c", str(n)) for n in range(41)])
        assert {key.event_id for key in marked} == recorded

    async def test_a_reader_that_tails_the_log_misses_nothing(self, store: EventStore) -> None:
        await self._tail(store, store)

    async def test_a_reader_in_another_instance_misses_nothing(self, store: EventStore, other: EventStore) -> None:
        await self._tail(store, other)

    async def _tail(self, store: EventStore, reader: EventStore) -> None:
        async def write(writer: int) -> None:
            for number in range(50):
                await store.commit(Changes(emitted=numbered(1 + number % 3, prefix=f"{writer}-{number}-")))

        expected = {
            f"{writer}-{number}-{i}" for writer in range(8) for number in range(50) for i in range(1 + number % 3)
        }
        writers = asyncio.gather(*(write(writer) for writer in range(8)))
        seen: list[str] = []
        position = 0
        async with asyncio.timeout(DEADLINE):
            while len(seen) < len(expected):
                for recorded in await reader.read_emitted(position, 13):
                    assert recorded.position > position
                    position = recorded.position
                    seen.append(recorded.message.id)
                await reader.wait_emitted(position, 0.05)
        await writers
        assert set(seen) == expected
        assert len(seen) == len(expected)

    async def test_waiting_ends_at_once_where_there_is_something_to_read(self, store: EventStore) -> None:
        await store.commit(Changes(emitted=[message()]))
        await asyncio.wait_for(store.wait_emitted(0, LONG), DEADLINE)

    async def test_waiting_ends_with_the_next_emitted_message(self, store: EventStore) -> None:
        waiting = [asyncio.create_task(store.wait_emitted(0, LONG)) for _ in range(3)]
        await asyncio.sleep(0)
        await store.commit(Changes(emitted=[message()]))
        await asyncio.wait_for(asyncio.gather(*waiting), DEADLINE)

    async def test_waiting_ends_with_a_message_of_another_instance(self, store: EventStore, other: EventStore) -> None:
        waiting = asyncio.create_task(store.wait_emitted(0, LONG))
        await asyncio.sleep(0)
        await other.commit(Changes(emitted=[message()]))
        await asyncio.wait_for(waiting, DEADLINE)
        assert len(await store.read_emitted(0, 10)) == 1

    async def test_waiting_ends_after_its_timeout(self, store: EventStore) -> None:
        await asyncio.wait_for(store.wait_emitted(0, 0.01), DEADLINE)

    async def test_waiting_that_is_cancelled_leaves_the_store_usable(self, store: EventStore) -> None:
        waiting = asyncio.create_task(store.wait_emitted(0, LONG))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await store.commit(Changes(emitted=[message()]))
        await asyncio.wait_for(store.wait_emitted(0, LONG), DEADLINE)

    async def test_a_checkpoint_is_kept_and_never_moves_back(self, store: EventStore) -> None:
        assert await store.checkpoint("relay") is None
        await store.commit(Changes(checkpoints={"relay": 5, "projection": 0}))
        await store.commit(Changes(checkpoints={"relay": 3}))
        await outcomes(store, [Changes(checkpoints={"projection": n}) for n in (2, 9, 4)])
        assert await store.checkpoint("relay") == 5
        assert await store.checkpoints() == {"relay": 5, "projection": 9}

    async def test_another_instance_sees_what_is_committed(self, store: EventStore, other: EventStore) -> None:
        await store.commit(
            Changes(
                emitted=numbered(2), handled=[KEY], checkpoints={"relay": 1}, dead_letters=[letter(InboxKey("d", "9"))]
            )
        )
        assert ids(await other.read_emitted(0, 10)) == ["0", "1"]
        assert await is_handled(other, KEY)
        assert await other.checkpoint("relay") == 1
        assert len(await other.list_dead_letters()) == 1
        with pytest.raises(AlreadyHandledError):
            await other.commit(Changes(handled=[KEY]))

    async def test_instances_that_commit_at_once_lose_nothing(self, store: EventStore, other: EventStore) -> None:
        units = [Changes(emitted=[message(id=str(n))], handled=[InboxKey("c", str(n % 40))]) for n in range(80)]
        halves = await asyncio.gather(outcomes(store, units[:40]), outcomes(other, units[40:]))
        failed = [*halves[0], *halves[1]]
        assert all(failure is None or isinstance(failure, AlreadyHandledError) for failure in failed)
        assert [(failed[n] is None) + (failed[n + 40] is None) for n in range(40)] == [1] * 40
        assert set(ids(await read_all(store))) == {str(n) for n in range(80) if failed[n] is None}
        assert await is_settled(store, InboxKey("c", "0"))
