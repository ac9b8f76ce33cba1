"""How calls under an idempotency key are told apart, and who waits for whom. What is stored: the integration tests."""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum

import pytest

from gemstone_events.errors import StoreUnavailableError
from gemstone_events.idempotency import AnsweredOnce, CarryOut, KeepAnswer, KeyedCall, caller_name, fingerprint
from gemstone_events.rpc.errors import Interrupted, InvalidParams
from gemstone_events.rpc.protocol import Params
from gemstone_events.store.memory import MemoryStore
from gemstone_events.store.port import AnswerKey, Changes

KEY = AnswerKey("orders:place", "", "1")
CALL = KeyedCall(KEY, "same")
OTHER = KeyedCall(KEY, "other")


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ((), []),
        ((), {}),
        ({"a": 1, "b": {"d": 2, "c": 3}}, {"b": {"c": 3, "d": 2}, "a": 1}),
        (["\N{SNOWMAN}"], ("\N{SNOWMAN}",)),
    ],
)
def test_the_same_parameters_have_one_fingerprint(one: Params, same: Params) -> None:
    assert fingerprint(one) == fingerprint(same)


def test_other_parameters_have_another_fingerprint() -> None:
    params: list[Params] = [(), [None], [[]], [1], [1.0], ["1"], [True], [1, 2], [2, 1], {"a": 1}, {"a": 2}, {"b": 1}]
    assert len({fingerprint(each) for each in params}) == len(params)


class User:
    """What an authenticate_request may return."""

    def __init__(self, name: object) -> None:
        self.name = name


class Role(Enum):
    ADMIN = 1


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ("ann", "ann"),
        (7, "7"),
        (User("ann"), "ann"),
        (Role.ADMIN, "ADMIN"),
        (True, ""),
        (None, ""),
        (object(), ""),
        ({"sub": "ann", "exp": 1}, ""),
        (User(None), ""),
    ],
)
def test_a_caller_is_known_by_what_stays_the_same(known: object, name: str) -> None:
    assert caller_name(known) == name


class Method:
    """Something to be carried out once, which commits as a unit of work does."""

    def __init__(self, store: MemoryStore, work: Callable[[int], Awaitable[object]]) -> None:
        self.store = store
        self.runs = 0
        self._work = work

    async def __call__(self, *, keep: KeepAnswer | None) -> object:
        self.runs += 1
        result = await self._work(self.runs)
        if keep is not None:
            await self.store.commit(Changes(answers=[keep(result)]))
        return result


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.open()
    return store


def answered_once(store: MemoryStore | None, max_bytes: int = 100) -> AnsweredOnce:
    return AnsweredOnce(lambda: store, max_bytes)


async def number(run: int) -> object:
    await asyncio.sleep(0)
    return [run]


async def turns(count: int = 20) -> None:
    """Let the other tasks go as far as they can without this one."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_equal_calls_at_once_run_once(store: MemoryStore) -> None:
    method, once = Method(store, number), answered_once(store)
    assert await asyncio.gather(*(once.run(CALL, method) for _ in range(50))) == [[1]] * 50
    assert await once.run(CALL, method) == [1]
    assert method.runs == 1


async def test_each_repetition_gets_a_result_of_its_own(store: MemoryStore) -> None:
    method, once = Method(store, number), answered_once(store)
    first, second = await asyncio.gather(*(once.run(CALL, method) for _ in range(2)))
    assert first == second
    assert first is not second


async def test_calls_under_other_keys_do_not_wait(store: MemoryStore) -> None:
    never = asyncio.Event()

    async def hang(run: int) -> object:
        await never.wait()
        return None

    once = answered_once(store)
    hanging = asyncio.create_task(once.run(CALL, Method(store, hang)))
    await turns()
    other = KeyedCall(KEY._replace(caller="ann"), "same")
    assert await once.run(other, Method(store, number)) == [1]
    hanging.cancel()


async def test_a_key_that_was_used_with_other_parameters_is_refused(store: MemoryStore) -> None:
    method, once = Method(store, number), answered_once(store)
    await once.run(CALL, method)
    with pytest.raises(InvalidParams) as refusal:
        await once.run(OTHER, method)
    assert "other parameters" in str(refusal.value.data)
    assert method.runs == 1


async def test_it_is_refused_while_the_first_call_runs(store: MemoryStore) -> None:
    method, once = Method(store, number), answered_once(store)
    first, second = await asyncio.gather(once.run(CALL, method), once.run(OTHER, method), return_exceptions=True)
    assert first == [1]
    assert isinstance(second, InvalidParams)


async def test_when_the_first_call_fails_one_that_waits_goes_on(store: MemoryStore) -> None:
    async def fail_first(run: int) -> object:
        await turns(5)
        if run == 1:
            raise OSError("not yet")
        return run

    method, once = Method(store, fail_first), answered_once(store)
    outcomes = await asyncio.gather(*(once.run(CALL, method) for _ in range(10)), return_exceptions=True)
    assert isinstance(outcomes[0], OSError)
    assert outcomes[1:] == [2] * 9
    assert method.runs == 2


async def test_a_cancelled_call_holds_up_nobody_and_one_that_waits_can_be_cancelled(store: MemoryStore) -> None:
    never = asyncio.Event()

    async def hang_first(run: int) -> object:
        if run == 1:
            await never.wait()
        return run

    method, once = Method(store, hang_first), answered_once(store)
    tasks = [asyncio.create_task(once.run(CALL, method)) for _ in range(4)]
    await turns()
    tasks[1].cancel()
    await turns()
    assert [task.done() for task in tasks] == [False, True, False, False]
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[2:]) == [2, 2]
    assert tasks[0].cancelled()


async def test_what_cannot_be_answered_is_not_kept(store: MemoryStore) -> None:
    unfit = ["x" * 100, float("nan"), {1, 2}, {1: "a", "1": "b"}, "\ud800"]

    async def work(run: int) -> object:
        return unfit[run - 1]

    method, once = Method(store, work), answered_once(store)
    for _ in unfit:
        with pytest.raises(ValueError, match=r"limit is 100|Out of range|serializable|repeats a key|surrogate"):
            await once.run(CALL, method)
        assert await store.find_answer(KEY) is None


async def test_an_answer_may_be_as_deep_as_python_writes_it(store: MemoryStore) -> None:
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]

    async def work(run: int) -> object:
        return deep

    once = answered_once(store, 1000)
    assert await once.run(CALL, Method(store, work)) == deep
    assert await once.run(CALL, Method(store, work)) == deep


async def test_a_call_that_may_have_run_needs_a_store_that_remembers(store: MemoryStore) -> None:
    method, once = Method(store, number), answered_once(store)
    repeated = KeyedCall(KEY, "same", may_have_run=True)
    with pytest.raises(Interrupted):
        await once.run(repeated, method)
    assert method.runs == 0
    await once.run(CALL, method)
    assert await once.run(repeated, method) == [1]
    store.durable = True
    assert await once.run(KeyedCall(KEY._replace(caller="ann"), "same", may_have_run=True), method) == [2]


async def test_a_failure_is_void_where_another_instance_has_answered(store: MemoryStore) -> None:
    elsewhere = answered_once(store)

    async def too_late(run: int) -> object:
        await elsewhere.run(CALL, Method(store, number))
        raise OSError("it is sold out")

    assert await answered_once(store).run(CALL, Method(store, too_late)) == [1]


async def test_a_failure_is_told_where_the_store_cannot_be_asked(store: MemoryStore) -> None:
    async def break_down(run: int) -> object:
        await store.close()
        raise OSError("first")

    once = answered_once(store)
    with pytest.raises(OSError, match="first"):
        await once.run(CALL, Method(store, break_down))
    with pytest.raises(StoreUnavailableError):
        await once.run(CALL, Method(store, number))


async def test_without_a_store_it_is_just_run(store: MemoryStore) -> None:
    method: CarryOut = Method(store, number)
    once = answered_once(None)
    assert [await once.run(CALL, method), await once.run(OTHER, method)] == [[1], [2]]
