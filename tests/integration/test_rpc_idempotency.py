"""Calls with an idempotency key, over HTTP: one effect and one answer, through repetitions, races and kills."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPError

from gemstone_events import MicroService, exposed_method
from gemstone_events.errors import StoreUnavailableError
from gemstone_events.rpc.authentication.principal import Principal
from gemstone_events.rpc.authentication.token_table import hash_token
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.errors import RpcError
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.store.memory import MemoryStore
from gemstone_events.store.port import Answer, AnswerKey, Changes, Statement

PATIENCE = 30.0


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.005)


async def post(url: str, body: object, key: str | None = None, **headers: str) -> bytes:
    """Send a body as any HTTP client would, and return the answer's."""
    client = AsyncHTTPClient(force_instance=True, max_clients=100)
    try:
        named = {"Content-Type": "application/json", **({} if key is None else {"Idempotency-Key": key}), **headers}
        response = await client.fetch(
            url, method="POST", body=json.dumps(body), headers=named, request_timeout=PATIENCE
        )
        return response.body
    finally:
        client.close()


def request(method: str, *params: object, id: object = 1, **named: object) -> dict[str, object]:
    """Return a request object."""
    return {"jsonrpc": "2.0", "method": method, "params": named or list(params), "id": id}


async def call(url: str, key: str | None, method: str, *params: object, **named: object) -> object:
    """Call a method and return its result, or its error's code."""
    answer = json.loads(await post(url, request(method, *params, **named), key))
    return answer["result"] if "result" in answer else answer["error"]["code"]


class SoldOut(RpcError):
    """There is nothing left."""

    code, message = 1001, "Sold out"


class Orders(MicroService):
    """Numbers what is ordered."""

    name = "orders"
    port = 0

    async def on_service_start(self) -> None:
        self.runs: list[object] = []
        self.unit_of_work.execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, what)")

    async def rows(self) -> list[tuple[object, ...]]:
        """Return what was ordered."""
        return list(await self.store.query(Statement("SELECT number, what FROM orders ORDER BY number")))

    @exposed_method()
    def place(self, what: str) -> object:
        """Order, in a thread."""
        self.runs.append(what)
        time.sleep(0.02)
        self.unit_of_work.execute("INSERT INTO orders (what) VALUES (?)", (what,))
        self.emit_event("order.placed", {"what": what})
        return {"run": len(self.runs), "what": [what, None, 1.5]}

    @exposed_method()
    async def look(self) -> int:
        """Do nothing but answer."""
        self.runs.append("look")
        return len(self.runs)

    @exposed_method()
    async def fail(self, kind: str) -> object:
        """Fail the first time, after an effect."""
        self.runs.append(kind)
        self.unit_of_work.execute("INSERT INTO orders (what) VALUES (?)", (kind,))
        if len(self.runs) == 1:
            if kind == "result":
                return object()
            if kind == "statement":
                self.unit_of_work.execute("INSERT INTO nowhere VALUES (1)")
                return 1
            raise SoldOut if kind == "rpc" else OSError(kind)
        return len(self.runs)

    @exposed_method()
    async def linger(self) -> int:
        """Take too long the first time."""
        self.runs.append("linger")
        if len(self.runs) == 1:
            await asyncio.sleep(PATIENCE)
        return len(self.runs)

    @exposed_method(requires_handler_reference=True)
    async def look_around(self, handler: object) -> list[object]:
        """Make calls of its own."""
        return [await handler.call_method(self.look) for _ in range(2)]  # type: ignore[attr-defined]


@pytest.fixture(params=["memory", "embedded"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """Return the settings of a service that tells nobody of its events."""
    store = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/orders.db"
    return {"event_transports": [], "event_store": store}


@pytest.fixture
def durable(tmp_path: Path) -> dict[str, object]:
    """Return the settings of services that share a store."""
    return {"event_transports": [], "event_store": f"sqlite:///{tmp_path}/orders.db"}


async def emitted(service: Orders) -> int:
    return len(await service.store.read_emitted(0, 1000))


async def test_fifty_equal_calls_at_once_have_one_effect_and_equal_answers(settings: dict[str, object]) -> None:
    async with Orders(**settings) as orders:
        body = request("place", "tea")
        answers = await asyncio.gather(*(post(orders.url, body, "key 1") for _ in range(50)))
        assert set(answers) == {b'{"jsonrpc":"2.0","result":{"run":1,"what":["tea",null,1.5]},"id":1}'}
        assert await post(orders.url, body, "key 1") == answers[0]
        assert orders.runs == ["tea"]
        assert await orders.rows() == [(1, "tea")]
        assert await emitted(orders) == 1


async def test_fifty_calls_under_fifty_keys_have_fifty_effects(settings: dict[str, object]) -> None:
    async with Orders(**settings) as orders:
        await asyncio.gather(*(call(orders.url, f"key {n}", "place", "tea") for n in range(50)))
        assert len(await orders.rows()) == 50


async def test_calls_without_a_key_are_calls_of_their_own(settings: dict[str, object]) -> None:
    async with Orders(**settings) as orders:
        assert [await call(orders.url, None, "look") for _ in range(3)] == [1, 2, 3]


async def test_a_method_without_effects_answers_again_as_well(settings: dict[str, object]) -> None:
    async with Orders(**settings) as orders:
        assert [await call(orders.url, "1", "look") for _ in range(3)] == [1, 1, 1]


async def test_one_key_stands_for_one_call_of_each_method(settings: dict[str, object]) -> None:
    async with Orders(**settings) as orders:
        assert await call(orders.url, "1", "look") == 1
        await call(orders.url, "1", "place", "tea")
        assert await orders.rows() == [(1, "tea")]


async def test_a_key_that_was_used_with_other_parameters_is_refused(settings: dict[str, object]) -> None:
    async with Orders(**settings) as orders:
        await call(orders.url, "1", "place", "tea")
        error = json.loads(await post(orders.url, request("place", "coffee"), "1"))["error"]
        assert error["code"] == -32602
        assert "idempotency key was used for a call with other parameters" in error["data"]
        assert await orders.rows() == [(1, "tea")]


@pytest.mark.parametrize("kind", ["rpc", "os", "result", "statement"])
async def test_a_call_that_failed_had_no_effect_and_is_run_again(settings: dict[str, object], kind: str) -> None:
    async with Orders(**settings) as orders:
        assert await call(orders.url, "1", "fail", kind) == (1001 if kind == "rpc" else -32603)
        assert await orders.rows() == []
        assert [await call(orders.url, "1", "fail", kind) for _ in range(2)] == [2, 2]
        assert await orders.rows() == [(1, kind)]


async def test_a_call_that_took_too_long_is_run_again_by_one_that_waits(settings: dict[str, object]) -> None:
    async with Orders(**settings) as orders:
        hasty = asyncio.create_task(post(orders.url, request("linger"), "1", **{"Gemstone-Timeout": "0.2"}))

        async def begun() -> object:
            return orders.runs

        await until(begun)
        assert await call(orders.url, "1", "linger") == 2
        assert json.loads(await hasty)["error"]["code"] == -32002
        assert await call(orders.url, "1", "linger") == 2


async def test_the_requests_of_a_batch_are_told_apart(settings: dict[str, object]) -> None:
    batch = [request("place", "tea", id=1), request("place", "tea", id=2), request("place", "milk", id=3)]
    async with Orders(**settings) as orders:
        first = await post(orders.url, batch, "1")
        assert await post(orders.url, batch, "1") == first
        assert sorted(what for _, what in await orders.rows()) == ["milk", "tea", "tea"]


async def test_a_notification_takes_effect_once(settings: dict[str, object]) -> None:
    notification = {"jsonrpc": "2.0", "method": "place", "params": ["tea"]}
    async with Orders(**settings) as orders:
        for _ in range(3):
            assert await post(orders.url, notification, "1") == b""
        assert await orders.rows() == [(1, "tea")]


async def test_what_a_method_calls_through_its_handler_has_no_part_in_the_key(settings: dict[str, object]) -> None:
    async with Orders(**settings) as orders:
        assert [await call(orders.url, "1", "look_around") for _ in range(2)] == [[1, 2], [1, 2]]


class Guarded(Orders):
    """Knows its callers by a header."""

    def authenticate_request(self, handler: RpcHandler) -> object:
        """Trust whatever it says."""
        name = handler.request.headers.get("X-User")
        return Principal(name, frozenset({"read"})) if name else None

    @exposed_method(private=True)
    def own(self) -> int:
        """Answer each call with a number of its own."""
        self.runs.append("own")
        return len(self.runs)

    @exposed_method(scopes=["read"])
    def scoped(self) -> int:
        """Do the same."""
        return self.own()


@pytest.mark.parametrize("method", ["own", "scoped"])
async def test_no_caller_gets_the_answer_to_another_by_guessing_his_key(
    settings: dict[str, object], method: str
) -> None:
    async def numbered(user: str) -> object:
        return json.loads(await post(guarded.url, request(method), "1", **{"X-User": user}))["result"]

    async with Guarded(**settings) as guarded:
        assert [await numbered(user) for user in ("ann", "bob", "ann", "bob")] == [1, 2, 1, 2]
        assert await call(guarded.url, "1", method) == -32001, "a stranger gets none at all"


class Trusting(Guarded):
    """Says of its callers no more than that it knows them."""

    def api_token_is_valid(self, api_token: str) -> bool:
        return api_token.startswith("good")

    authenticate_request = MicroService.authenticate_request


async def test_callers_who_are_known_only_as_true_are_told_apart_by_their_tokens(settings: dict[str, object]) -> None:
    async def numbered(token: str) -> object:
        return json.loads(await post(trusting.url, request("own"), "1", **{"X-Api-Token": token}))["result"]

    async with Trusting(**settings) as trusting:
        assert [await numbered(token) for token in ("good 1", "good 2", "good 1", "good 2")] == [1, 2, 1, 2]


async def test_no_token_comes_into_the_store(durable: dict[str, object], tmp_path: Path) -> None:
    async with Trusting(**durable) as trusting:
        await post(trusting.url, request("own"), "1", **{"X-Api-Token": "good-and-secret"})
        assert trusting.runs == ["own"]
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"orders:own" in stored
    assert b"good-and-secret" not in stored
    assert hash_token("good-and-secret").removeprefix("sha256:").encode() not in stored


async def test_a_key_of_a_caller_who_cannot_be_told_from_others_is_refused(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    class Vague(Guarded):
        def authenticate_request(self, handler: RpcHandler) -> bool:
            return "X-User" in handler.request.headers

    async with Vague(**settings) as vague:
        for user in ("ann", "bob"):
            answer = json.loads(await post(vague.url, request("own"), "1", **{"X-User": user}))
            assert answer["error"]["code"] == -32603
        assert vague.runs == []
        assert json.loads(await post(vague.url, request("own"), **{"X-User": "ann"}))["result"] == 1
    assert "let authenticate_request return a Principal or a name, not 'bool'" in caplog.text


@pytest.mark.parametrize("kind", [Guarded, Trusting])
async def test_what_a_public_method_says_to_a_known_caller_is_not_repeated_to_strangers(
    settings: dict[str, object], kind: type[Guarded]
) -> None:
    async def described(**headers: str) -> set[str]:
        answer = json.loads(await post(service.url, request("rpc.discover"), "1", **headers))
        return {method["name"] for method in answer["result"]["methods"]}

    async with kind(**settings) as service:
        for _ in range(2):
            assert "own" in await described(**{"X-User": "ann", "X-Api-Token": "good"})
            assert "own" not in await described()


async def test_a_result_that_is_too_large_has_no_effect(settings: dict[str, object]) -> None:
    class Verbose(Orders):
        @exposed_method()
        async def pad(self) -> str:
            self.unit_of_work.execute("INSERT INTO orders (what) VALUES ('padding')")
            return "x" * 5_000_000

    async with Verbose(**settings) as orders:
        for _ in range(2):
            assert await call(orders.url, "1", "pad") == -32603
        assert await orders.rows() == []


async def test_an_answer_is_remembered_by_the_next_process(durable: dict[str, object]) -> None:
    async with Orders(**durable) as orders:
        first = await post(orders.url, request("place", "tea"), "1")
    async with Orders(**durable) as orders:
        assert await post(orders.url, request("place", "tea"), "1") == first
        assert orders.runs == []


class Slow(Orders):
    """Waits in its methods until both instances are there."""

    meeting: list[object]

    async def all_met(self) -> None:
        while len(self.meeting) < 2:
            await asyncio.sleep(0.005)

    @exposed_method()
    async def meet(self) -> object:
        """Take a fixed number: a second order cannot have it."""
        self.meeting.append(self)
        await self.all_met()
        self.unit_of_work.execute("INSERT INTO orders VALUES (4711, ?)", (self.instance_id,))
        self.emit_event("order.placed", {}, event_id="4711")
        return self.instance_id

    @exposed_method()
    async def come_late(self) -> str:
        """The first to come orders; the last looks when that is done, and finds the tea sold out."""
        self.meeting.append(self)
        if len(self.meeting) == 1:
            await self.all_met()
            self.unit_of_work.execute("INSERT INTO orders (what) VALUES ('tea')")
            return "sold"
        await until(self.rows)
        raise SoldOut


@pytest.mark.parametrize("method", ["meet", "come_late"])
async def test_of_two_instances_that_run_one_call_one_takes_effect(durable: dict[str, object], method: str) -> None:
    meeting: list[object] = []
    async with Slow(**durable) as one, Slow(**durable) as two:
        one.meeting = two.meeting = meeting
        calls = [call(instance.url, "1", method) for instance in (one, two) for _ in range(10)]
        answers = await asyncio.gather(*calls)
        assert set(map(id, meeting)) == {id(one), id(two)}, "both ran the method"
        assert len(set(answers)) == 1
        assert answers[0] in (one.instance_id, two.instance_id, "sold")
        assert len(await one.rows()) == 1


KILLED = """
import os, signal, sys
from gemstone_events import MicroService, exposed_method
from gemstone_events.store.sqlite import SqliteStore

class Store(SqliteStore):
    async def commit(self, changes):
        if changes.answers and "before" in sys.argv:
            os.kill(os.getpid(), signal.SIGKILL)
        await super().commit(changes)
        if changes.answers and "after" in sys.argv:
            os.kill(os.getpid(), signal.SIGKILL)

class Orders(MicroService):
    name = "orders"
    port = 0
    event_transports = []
    event_store = Store(sys.argv[1])
    def on_service_start(self):
        self.unit_of_work.execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, what)")
    @exposed_method()
    def place(self, what):
        self.unit_of_work.execute("INSERT INTO orders (what) VALUES (?)", (what,))
        self.emit_event("order.placed", what)
        return os.getpid()

async def main():
    async with Orders() as orders:
        print(orders.url, flush=True)
        await orders.wait_stopped()

import asyncio
asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_call_whose_process_is_killed_around_its_commit_has_one_effect(
    tmp_path: Path, durable: dict[str, object], moment: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path / "orders.db"), moment, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode().strip()
        with pytest.raises((OSError, HTTPError)):
            await post(url, request("place", "tea"), "1")
        assert await asyncio.wait_for(process.wait(), PATIENCE) == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    async with Orders(**durable) as orders:
        answer = await call(orders.url, "1", "place", "tea")
        if moment == "after":
            assert answer == process.pid, "the answer that nobody got"
            assert orders.runs == []
        else:
            assert orders.runs == ["tea"]
        assert await call(orders.url, "1", "place", "tea") == answer
        assert await orders.rows() == [(1, "tea")]
        assert await emitted(orders) == 1


async def test_an_answer_is_forgotten_in_the_end(durable: dict[str, object]) -> None:
    async with Orders(**durable) as orders:
        await call(orders.url, "1", "place", "tea")
    async with Orders(inbox_retention=0.001, **durable) as orders:  # it has no handlers, and tidies up all the same
        key = AnswerKey("orders:place", "", "1")

        async def forgotten() -> bool:
            return await orders.store.find_answer(key) is None

        await until(forgotten)
        await call(orders.url, "1", "place", "tea")
        assert len(await orders.rows()) == 2


class CountingStore(MemoryStore):
    """Counts what the service asks of it."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Changes] = []
        self.questions = 0
        self.broken = False

    async def commit(self, changes: Changes) -> None:
        self.commits.append(changes)
        await super().commit(changes)

    async def find_answer(self, key: AnswerKey) -> Answer | None:
        if self.broken:
            raise StoreUnavailableError("it cannot be read")
        self.questions += 1
        return await super().find_answer(key)


async def test_a_call_without_a_key_asks_nothing_of_the_store() -> None:
    store = CountingStore()
    async with Orders(event_transports=[], event_store=store) as orders:
        store.commits.clear()
        await call(orders.url, None, "look")
        assert (store.questions, store.commits) == (0, [])
        await call(orders.url, None, "place", "tea")
        assert (store.questions, len(store.commits), store.commits[0].answers) == (0, 1, [])
        await call(orders.url, "1", "look")
        assert (store.questions, len(store.commits)) == (1, 2)


async def test_a_call_with_a_key_is_not_run_where_the_store_cannot_say_whether_it_was() -> None:
    store = CountingStore()
    async with Orders(event_transports=[], event_store=store) as orders:
        store.broken = True
        assert await call(orders.url, "1", "look") == -32603
        assert orders.runs == []
        store.broken = False
        assert await call(orders.url, "1", "look") == 1


async def dispatched(service: Orders, body: object, headers: Mapping[str, str], *, repeated: bool = False) -> object:
    """Answer a body as a broker's wire has it answered."""
    context = CallContext("test", headers, is_repeated=repeated)
    answer = await service._expose().dispatcher.dispatch(json.dumps(body).encode(), context)
    assert answer is not None
    return json.loads(answer)


async def test_a_call_that_another_instance_may_have_run_is_run_only_where_the_store_would_know(
    settings: dict[str, object],
) -> None:
    headers = {"idempotency-key": "1"}
    async with Orders(**settings) as orders:
        answer = await dispatched(orders, request("look"), headers, repeated=True)
        if settings["event_store"] == "memory:":
            assert answer["error"]["code"] == -32004
        else:
            assert answer["result"] == 1


async def test_a_service_that_does_not_run_is_tried_out_without_a_store() -> None:
    orders = Orders(event_transports=[], event_store="memory:")
    orders.runs = []
    answers = [await dispatched(orders, request("look"), {"idempotency-key": "1"}) for _ in range(2)]
    assert [answer["result"] for answer in answers] == [1, 2]
