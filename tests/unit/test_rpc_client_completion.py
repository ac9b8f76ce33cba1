"""Waiting for several calls, in threads and on event loops, without turning round and round."""

import asyncio
import gc
import json
import threading
from collections.abc import Iterator

import pytest

from gemstone_events.rpc.call_errors import MethodNotFoundError
from gemstone_events.rpc.client.async_call import AsyncMethodCall
from gemstone_events.rpc.client.completion import as_completed, first_completed, make_callbacks
from gemstone_events.rpc.client.remote_service import RemoteService
from gemstone_events.rpc.wire import WireRequest
from tests.unit.rpc_client_fake import PATIENCE, FakeWires

URL = "fake://service"


class Gates:
    """Answers ``m(number)`` when the test opens its gate; ``fail(number)`` with an error."""

    def __init__(self, wires: FakeWires) -> None:
        self._open = [threading.Event() for _ in range(5)]
        wires.answer = self._answer

    def open(self, *numbers: int) -> None:
        for number in numbers:
            self._open[number].set()

    async def _answer(self, request: WireRequest) -> bytes:
        value = json.loads(request.body)
        (number,) = value["params"]
        while not self._open[number].is_set():
            await asyncio.sleep(0.002)
        outcome = {"result": number} if value["method"] == "m" else {"error": {"code": -32601, "message": "no"}}
        return json.dumps({"jsonrpc": "2.0", **outcome, "id": value["id"]}).encode()


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Gates:
    wires = FakeWires()
    wires.install(monkeypatch)
    return Gates(wires)


@pytest.fixture
def service(gates: Gates) -> Iterator[RemoteService]:
    with RemoteService(URL) as service:
        yield service


def test_calls_come_in_the_order_in_which_they_are_done(gates: Gates, service: RemoteService) -> None:
    calls = [service.methods.m(number, __async=True) for number in range(3)]
    found = []
    completed = iter(as_completed(*calls))
    for number in (2, 0, 1):
        gates.open(number)
        found.append(next(completed).result())
    assert found == [2, 0, 1]
    assert list(completed) == []


def test_it_can_be_asked_for_one_at_a_time(gates: Gates, service: RemoteService) -> None:
    completed = as_completed(*(service.methods.m(number, __async=True) for number in range(2)))
    gates.open(1)
    assert next(completed).result() == 1
    gates.open(0)
    assert [call.result() for call in completed] == [0]


def test_calls_that_are_done_already_come_at_once(gates: Gates, service: RemoteService) -> None:
    gates.open(0, 1)
    calls = [service.methods.m(number, __async=True) for number in range(2)]
    for call in calls:
        call.wait()
    assert sorted(call.result() for call in as_completed(*calls)) == [0, 1]
    assert sorted(call.result() for call in as_completed(*calls)) == [0, 1]


def test_waiting_asks_nothing_over_and_over(
    gates: Gates, service: RemoteService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[AsyncMethodCall[object]] = []
    finished = AsyncMethodCall.finished
    monkeypatch.setattr(AsyncMethodCall, "finished", lambda call: asked.append(call) or finished(call))
    calls = [service.methods.m(number, __async=True) for number in range(3)]
    threading.Timer(0.2, gates.open, (0, 1, 2)).start()
    assert len(list(as_completed(*calls))) == 3
    assert len(asked) < 20


def test_the_first_call_is_returned_and_the_others_go_on(gates: Gates, service: RemoteService) -> None:
    calls = [service.methods.m(number, __async=True) for number in range(3)]
    gates.open(1)
    assert first_completed(*calls) is calls[1]
    gates.open(0, 2)
    assert [call.wait() for call in calls] == [0, 1, 2]


def test_callbacks_get_results_and_errors(gates: Gates, service: RemoteService) -> None:
    gates.open(0, 1, 2)
    calls = [
        service.methods.m(0, __async=True),
        service.methods.fail(1, __async=True),
        service.call_method_async("m", [2]),
    ]
    results: list[object] = []
    errors: list[BaseException] = []
    assert make_callbacks(calls, results.append, errors.append) is None
    assert 0 in results
    assert len(results) == 2
    assert [type(error) for error in errors] == [MethodNotFoundError]


def test_a_callback_that_raises_ends_the_waiting(gates: Gates, service: RemoteService) -> None:
    gates.open(0, 1)
    told: list[object] = []

    def fail(result: object) -> None:
        told.append(result)
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        make_callbacks([service.methods.m(number, __async=True) for number in range(2)], fail, fail)
    assert len(told) == 1


def test_callbacks_run_in_threads_of_their_own_if_wanted(gates: Gates, service: RemoteService) -> None:
    gates.open(0, 1)
    names: list[str] = []
    both = threading.Barrier(3)

    def note(outcome: object) -> None:
        names.append(threading.current_thread().name)
        both.wait(PATIENCE)

    make_callbacks(
        [service.methods.m(0, __async=True), service.methods.fail(1, __async=True)], note, note, run_in_threads=True
    )
    both.wait(PATIENCE)
    assert threading.current_thread().name not in names
    assert len(set(names)) == 2


def test_foreign_objects_and_nothing_are_refused() -> None:
    with pytest.raises(TypeError, match="not str"):
        as_completed("call")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"not list: write \(\*calls\)"):
        as_completed([])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not int"):
        first_completed(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no call"):
        first_completed()
    assert list(as_completed()) == []


async def test_on_a_loop_calls_are_iterated_asynchronously(gates: Gates) -> None:
    async with asyncio.timeout(PATIENCE), RemoteService(URL) as service:
        calls = [service.methods.m(number) for number in range(3)]
        found = []
        gates.open(1)
        async for call in as_completed(*calls):
            found.append(call.result())
            gates.open(*{1: [0], 0: [2], 2: []}[found[-1]])
        assert found == [1, 0, 2]
        with pytest.raises(RuntimeError, match="async for"):
            list(as_completed(*calls))


async def test_on_a_loop_it_can_be_asked_for_one_at_a_time(gates: Gates) -> None:
    async with asyncio.timeout(PATIENCE), RemoteService(URL) as service:
        completed = as_completed(*(service.methods.m(number) for number in range(2)))
        gates.open(1)
        assert (await anext(completed)).result() == 1
        gates.open(0)
        assert [call.result() async for call in completed] == [0]


async def test_on_a_loop_the_first_call_is_awaited(gates: Gates) -> None:
    async with asyncio.timeout(PATIENCE), RemoteService(URL) as service:
        calls = [service.methods.m(number) for number in range(2)]
        gates.open(1)
        assert await first_completed(*calls) is calls[1]
        gates.open(0)
        assert await asyncio.gather(*calls) == [0, 1]


async def test_on_a_loop_callbacks_are_awaited(gates: Gates) -> None:
    results: list[object] = []
    errors: list[BaseException] = []
    gates.open(0, 1)
    async with asyncio.timeout(PATIENCE), RemoteService(URL) as service:
        waiting = make_callbacks([service.methods.m(0), service.methods.fail(1)], results.append, errors.append)
        assert waiting is not None
        await waiting
    assert results == [0]
    assert [type(error) for error in errors] == [MethodNotFoundError]


async def test_a_call_of_one_loop_can_be_awaited_on_another(gates: Gates) -> None:
    async with asyncio.timeout(PATIENCE), RemoteService(URL) as service:
        call = service.methods.m(0)

        async def elsewhere() -> object:
            return await call

        waiting = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        gates.open(0)
        assert await waiting == 0
        assert await asyncio.to_thread(call.wait) == 0


async def test_a_later_failure_of_a_call_that_lost_is_no_news(gates: Gates) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with RemoteService(URL) as service:
        calls = [service.methods.m(0), service.methods.fail(1)]
        gates.open(0, 1)
        assert (await first_completed(*calls)).result() == 0
        async with asyncio.timeout(PATIENCE):
            while not calls[1].finished():
                await asyncio.sleep(0.002)
    calls.clear()
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    assert told == []
