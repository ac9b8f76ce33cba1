"""The store contract: answers to calls, kept for their repetitions."""

import pytest

from gemstone_events.errors import AlreadyAnsweredError
from gemstone_events.store.port import Answer, AnswerKey, Changes, EventStore, InboxKey, Statement
from gemstone_events.testing.store_contract_harness import (
    LONG,
    StoreHarness,
    eventually,
    ids,
    is_handled,
    message,
    outcomes,
    read_all,
)

KEY = AnswerKey("orders:place", "ann", "1")
MARK = InboxKey("billing.charge", "1")


def answer(key: AnswerKey = KEY, body: bytes = b'{"number":1}') -> Answer:
    """Return an answer to a call."""
    return Answer(key, "fingerprint", body)


class AnswersContract(StoreHarness):
    """A call has one answer, and it is there if and only if its effects are."""

    async def test_an_answer_comes_back_whole(self, store: EventStore) -> None:
        bodies = [b"null", b'"\\u0000 \\\\ \\" "', '["\N{SNOWMAN}\N{PILE OF POO}"]'.encode(), b"1.50", b" [1 , 2]\n"]
        bodies.append(b'"' + b"x" * 3_000_000 + b'"')
        kept = [Answer(KEY._replace(idempotency_key=str(n)), f"{n:064x}", body) for n, body in enumerate(bodies)]
        for one in kept:
            await store.commit(Changes(answers=[one]))
        assert [await store.find_answer(one.key) for one in kept] == kept

    async def test_an_answer_is_found_under_its_own_key_alone(self, store: EventStore) -> None:
        await store.commit(Changes(answers=[answer()]))
        others = [KEY._replace(method="orders:pay"), KEY._replace(caller=""), KEY._replace(idempotency_key="2")]
        others += [AnswerKey("orders:placeann", "", "1"), AnswerKey("ann", "orders:place", "1")]
        assert [await store.find_answer(key) for key in others] == [None] * len(others)
        await store.commit(Changes(answers=[answer(key) for key in others]))
        assert [await store.find_answer(key) for key in (KEY, *others)] == [answer(key) for key in (KEY, *others)]

    async def test_keys_of_any_text_stay_apart(self, store: EventStore) -> None:
        texts = ["", " ", "'", '"', "[", "\\", "\N{SNOWMAN}", "a\nb", "a", "A", "x" * 5000, "%", "1", "01", "1.0"]
        keys = [AnswerKey("m", text, text) for text in texts]
        await store.commit(Changes(answers=[answer(key, b'"%d"' % n) for n, key in enumerate(keys)]))
        found = [await store.find_answer(key) for key in keys]
        assert [one and one.body for one in found] == [b'"%d"' % n for n in range(len(keys))]

    async def test_an_answer_alone_is_a_change(self) -> None:
        assert Changes(answers=[answer()])
        assert not Changes()

    async def test_an_answer_is_committed_with_the_effects_of_its_call(self, store: EventStore) -> None:
        create = Statement("CREATE TABLE orders (n INTEGER PRIMARY KEY)")
        insert = Statement("INSERT INTO orders VALUES (1)")
        unit = Changes([message(id="1")], [MARK], [create, insert], answers=[answer()])
        await store.commit(unit)
        assert await store.find_answer(KEY) == answer()
        assert ids(await read_all(store)) == ["1"]
        assert await store.query(Statement("SELECT n FROM orders")) == [(1,)]

    async def test_a_unit_that_fails_leaves_no_answer(self, store: EventStore) -> None:
        failed = await outcomes(
            store,
            [
                Changes(statements=[Statement("INSERT INTO nowhere VALUES (1)")], answers=[answer()]),
                Changes([message(id="1"), message(id="1")], answers=[answer()]),
                Changes(handled=[MARK, MARK], answers=[answer()]),
            ],
        )
        assert all(isinstance(failure, Exception) for failure in failed)
        assert await store.find_answer(KEY) is None

    async def test_a_second_answer_is_refused_with_all_that_came_with_it(self, store: EventStore) -> None:
        await store.commit(Changes(answers=[answer()]))
        with pytest.raises(AlreadyAnsweredError):
            await store.commit(Changes([message()], [MARK], answers=[answer(body=b"2")]))
        assert await store.find_answer(KEY) == answer()
        assert await store.last_position() == 0
        assert not await is_handled(store, MARK)

    async def test_a_unit_with_two_answers_to_one_call_is_refused(self, store: EventStore) -> None:
        with pytest.raises(AlreadyAnsweredError):
            await store.commit(Changes(answers=[answer(), answer()]))
        assert await store.find_answer(KEY) is None

    async def test_a_repetition_learns_that_it_is_one_whatever_else_it_collides_with(self, store: EventStore) -> None:
        create = Statement("CREATE TABLE orders (n INTEGER PRIMARY KEY)")
        insert = Statement("INSERT INTO orders VALUES (1)")
        await store.commit(Changes([message(id="1")], [MARK], [create, insert], answers=[answer()]))
        for repeated in (
            Changes(statements=[insert], answers=[answer()]),
            Changes([message(id="1")], answers=[answer()]),
            Changes(handled=[MARK], answers=[answer()]),
        ):
            with pytest.raises(AlreadyAnsweredError):
                await store.commit(repeated)

    async def test_of_equal_calls_committed_at_once_one_takes_effect(self, store: EventStore) -> None:
        units = [Changes([message(id=str(n))], answers=[answer(body=b"%d" % n)]) for n in range(20)]
        failed = await outcomes(store, units)
        assert sum(isinstance(failure, AlreadyAnsweredError) for failure in failed) == 19
        winner = failed.index(None)
        assert ids(await read_all(store)) == [str(winner)]
        assert await store.find_answer(KEY) == answer(body=b"%d" % winner)

    async def test_a_repetition_does_not_touch_the_units_that_wait_with_it(self, store: EventStore) -> None:
        await store.commit(Changes(answers=[answer()]))
        units = [Changes([message(id=str(n))], [InboxKey("c", str(n))]) for n in range(30)]
        for n in range(0, 30, 3):
            units[n].answers.append(answer(KEY if n % 2 else KEY._replace(idempotency_key=f"new {n}")))
        failed = await outcomes(store, units)
        refused = [n for n in range(30) if n % 3 == 0 and n % 2]
        assert [n for n in range(30) if isinstance(failed[n], AlreadyAnsweredError)] == refused
        assert [failure for n, failure in enumerate(failed) if n not in refused] == [None] * (30 - len(refused))
        assert sorted(map(int, ids(await read_all(store)))) == [n for n in range(30) if n not in refused]

    async def test_two_instances_give_one_answer(self, store: EventStore, other: EventStore) -> None:
        await store.commit(Changes(answers=[answer()]))
        assert await other.find_answer(KEY) == answer()
        with pytest.raises(AlreadyAnsweredError):
            await other.commit(Changes([message()], answers=[answer()]))
        assert await store.last_position() == 0

    async def test_old_answers_are_forgotten_and_young_ones_are_not(self, store: EventStore) -> None:
        await store.commit(Changes([message()], [MARK], answers=[answer()]))
        assert await store.forget_handled(LONG) == 0
        forgotten = 0

        async def forget() -> bool:
            nonlocal forgotten
            forgotten += await store.forget_handled(0.0)
            return forgotten == 2

        await eventually(forget, "a mark and an answer to be older than nothing")
        assert await store.find_answer(KEY) is None
        assert not await is_handled(store, MARK)
        await store.commit(Changes(answers=[answer(body=b"2")]))
        assert await store.find_answer(KEY) == answer(body=b"2")

    async def test_no_more_marks_and_answers_are_forgotten_than_asked(self, store: EventStore) -> None:
        keys = [KEY._replace(idempotency_key=str(n)) for n in range(4)]
        marks = [InboxKey("c", str(n)) for n in range(3)]
        await store.commit(Changes(handled=marks, answers=[answer(key) for key in keys]))
        forgotten = 0

        async def forget() -> bool:
            nonlocal forgotten
            forgotten += await store.forget_handled(0.0, 5 - forgotten)
            return forgotten == 5

        await eventually(forget, "five to be older than nothing")
        left = [await store.find_answer(key) is not None for key in keys]
        assert sum(left) + len(await store.find_settled(marks)) == 2
