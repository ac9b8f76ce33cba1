"""RemoteService in threads, scripts and event loops, over a wire in memory."""

import asyncio
import copy
import gc
import json
import pickle
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from gemstone_events.call_scope import CallScope, call_scope
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.retry import RetryPolicy
from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.authentication.credentials import BearerToken
from gemstone_events.rpc.call_errors import (
    InvalidAnswerError,
    MethodNotFoundError,
    OutcomeUnknownError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.async_call import AsyncMethodCall
from gemstone_events.rpc.client.loop_thread import LoopThread
from gemstone_events.rpc.client.remote_service import (
    RemoteClient,
    RemoteService,
    get_remote_service_instance_for_url,
)
from gemstone_events.rpc.client.requests import MethodCall, Notification
from gemstone_events.rpc.wire import ClientSettings, WireRequest
from gemstone_events.rpc.wire_pool import WirePool
from tests.unit.rpc_client_fake import PATIENCE, Answerer, FakeWires, echo

URL = "fake://service"
NOT_FOUND = b'{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":%s}'
SPECS = b'{"jsonrpc":"2.0","result":{"name":"billing","methods":{"users.add":"Add.","balance":""}},"id":%s}'


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> FakeWires:
    fake = FakeWires()
    fake.install(monkeypatch)
    return fake


def called(method: str, *params: object, **named: object) -> dict[str, object]:
    return {"method": method, "params": list(params) or named or None}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def threads_of_clients() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gemstone_events-calls"]


# Blocking, from a script.


def test_a_script_calls_and_gets_the_value(wires: FakeWires) -> None:
    with RemoteService(URL) as service:
        assert service.methods.add(1, 2) == called("add", 1, 2)
        assert service.methods.add(a=1, b=2) == called("add", a=1, b=2)
        assert service.notifications.add(1, 2) is None
        assert service.call_method("add", [1, 2]).result == called("add", 1, 2)
        assert service.notify("add", {"a": 1}) is None
    assert [request.is_answered for request in wires.requests] == [True, True, False, True, False]


def test_dotted_names_are_written_with_dots_or_brackets(wires: FakeWires) -> None:
    with RemoteService(URL) as service:
        assert service.methods.users.register(name="Ada") == called("users.register", name="Ada")
        assert service.methods["users.register"]("Ada") == called("users.register", "Ada")
        assert service.methods["users"]["_private"]() == called("users._private")
        assert service.notifications.users.forget(1) is None


def test_names_with_an_underscore_in_front_are_no_methods_by_accident(wires: FakeWires) -> None:
    service = RemoteService(URL)
    assert not hasattr(service.methods, "_ipython_display_")
    assert not hasattr(service.methods.users, "__len__")
    assert wires.made == []


def test_parameters_go_by_place_or_by_name_not_both(wires: FakeWires) -> None:
    with RemoteService(URL) as service:
        with pytest.raises(ValueError, match=r"by name, not both$"):
            service.methods.add(1, b=2)
        with pytest.raises(ValueError, match=r"options go into with_options\(timeout=…\)"):
            service.methods.slow(2, timeout=0.5)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"service_endpoint": None}, TypeError, "the URL of a service is wanted"),
        ({"service_endpoint": "billing"}, ServiceConfigurationError, "its scheme is missing"),
        ({"service_endpoint": "localhost:8001/api"}, ServiceConfigurationError, "its scheme is missing"),
        ({"retry": 4}, TypeError, r"write retry=RetryPolicy\(attempts=4\)"),
        ({"pool": WirePool()}, TypeError, "say with loop= which one it belongs to"),
        ({"loop": object()}, TypeError, "leave it out, or give the pool too"),
        ({"timeout": 10.0**10}, ValueError, r"up to 31536000 \(a year\)"),
        ({"authentication": "s3cret"}, TypeError, r"not a str: write HeaderToken\(token\) or BearerToken\(token\)$"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_at_once(
    arguments: dict[str, object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        RemoteService(**{"service_endpoint": URL, **arguments})  # type: ignore[arg-type]


def test_a_parameter_that_is_no_json_is_named(wires: FakeWires) -> None:
    with RemoteService(URL) as service:
        with pytest.raises(ValueError, match="the parameter 'tags' of 'pay' cannot be sent: Object of type set"):
            service.methods.pay(amount=1, tags={1})
        with pytest.raises(ValueError, match="the parameter 2 of 'pay' cannot be sent"):
            service.call_batch(MethodCall("pay", [1, {1}]))
    assert wires.made == []


def test_an_error_is_raised(wires: FakeWires) -> None:
    wires.script(NOT_FOUND, NOT_FOUND, NOT_FOUND.replace(b"%s", b"null"))
    with RemoteService(URL) as service:
        with pytest.raises(MethodNotFoundError):
            service.methods.nope()
        with pytest.raises(MethodNotFoundError):
            service.call_method("nope")
        with pytest.raises(MethodNotFoundError):
            service.notifications.nope()


def test_options_go_with_a_call(wires: FakeWires) -> None:
    with RemoteService(URL, headers={"X-All": "1"}) as service:
        service.methods.pay.with_options(idempotency_key="k", timeout=3.0).with_options(headers={"X-One": "2"})(5)
        service.call_method("pay", [5], idempotency_key="k2")
        service.call_method(MethodCall("pay", [5], idempotency_key="k3"))
    first, second, third = wires.requests
    assert first.headers == {"x-all": "1", "x-one": "2", "idempotency-key": "k"}
    assert first.timeout <= 3.0
    assert (second.headers["idempotency-key"], third.headers["idempotency-key"]) == ("k2", "k3")


def test_an_option_that_does_not_exist_is_refused(wires: FakeWires) -> None:
    with RemoteService(URL) as service:
        with pytest.raises(TypeError, match=r"'patience': no such option .* idempotent, timeout.* params, a list"):
            service.call_method("pay", patience=3)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="'patience'"):
            service.methods.pay.with_options(patience=3)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="'patience'"):
            service.call_batch(MethodCall("pay"), patience=3)  # type: ignore[call-arg]


def test_a_call_object_brings_everything_itself(wires: FakeWires) -> None:
    with RemoteService(URL) as service:
        with pytest.raises(ValueError, match="give it those"):
            service.call_method(MethodCall("add"), [1])
        with pytest.raises(ValueError, match="give it those"):
            service.notify(Notification("add"), timeout=3.0)
        with pytest.raises(TypeError, match="MethodCall"):
            service.call_method(Notification("add"))  # type: ignore[arg-type]


def test_a_batch_is_answered_in_any_order_and_read_in_that_of_the_calls(wires: FakeWires) -> None:
    async def backwards(request: WireRequest) -> bytes:
        answers = json.loads(await echo(request) or b"[]")
        return json.dumps(answers[::-1]).encode()

    wires.answer = backwards
    calls = [MethodCall("m", [number]) for number in range(5)]
    with RemoteService(URL) as service:
        results = service.call_batch(*calls, Notification("n"))
    assert [result.result for result in results] == [called("m", number) for number in range(5)]
    assert results.get_response_for_call(calls[3]).result == called("m", 3)
    assert len(wires.requests) == 1


def test_what_a_service_says_of_itself_is_asked_once(wires: FakeWires) -> None:
    wires.script(SPECS, SPECS.replace(b"billing", b"renamed"))
    with RemoteService(URL) as service:
        assert service.name == "billing"
        assert service.get_available_methods() == ["balance", "users.add"]
        assert len(wires.requests) == 1
        assert service.refresh_service_info()["name"] == "renamed"
        assert service.name == "renamed"


def test_a_service_that_says_nonsense_of_itself_is_an_invalid_answer(wires: FakeWires) -> None:
    wires.script(b'{"jsonrpc":"2.0","result":5,"id":%s}', b'{"jsonrpc":"2.0","result":{},"id":%s}')
    with RemoteService(URL) as service:
        with pytest.raises(InvalidAnswerError):
            _ = service.name
        with pytest.raises(InvalidAnswerError):
            service.get_available_methods()


# Calls under way, from a script.


def test_an_asynchronous_call_from_a_script_can_be_waited_for(wires: FakeWires) -> None:
    go = threading.Event()

    async def wait(request: WireRequest) -> bytes | None:
        while not go.is_set():
            await asyncio.sleep(0.005)
        return await echo(request)

    wires.answer = wait
    with RemoteService(URL) as service:
        call = service.methods.add(1, 2, __async=True)
        assert isinstance(call, AsyncMethodCall)
        assert not call.finished()
        assert not call.successful()
        assert call.error() is None
        assert call.wait(0.01) is None
        with pytest.raises(RuntimeError, match="not done"):
            call.result()
        go.set()
        assert call.wait() == called("add", 1, 2)
        assert call.finished()
        assert call.successful()
        assert call.result() == call.result(wait=True) == called("add", 1, 2)
        assert len({call, call, service.methods.add.call_async()}) == 2


def test_an_asynchronous_call_is_waited_for_only_so_long(wires: FakeWires) -> None:
    async def hang(request: WireRequest) -> bytes | None:
        await asyncio.Event().wait()
        raise AssertionError

    wires.answer = hang
    with RemoteService(URL) as service:
        call = service.methods.add.call_async(1, 2)
        for options in ({"wait": True, "timeout": 0.01}, {"timeout": 0.01}):
            with pytest.raises(RuntimeError, match=r"not done after 0.01 s"):
                call.result(**options)
        with pytest.raises(RuntimeError, match=r"not done: result\(wait=True\) waits"):
            call.result()


def test_an_asynchronous_call_that_fails_says_why(wires: FakeWires) -> None:
    wires.script(NOT_FOUND, NOT_FOUND)
    with RemoteService(URL) as service:
        call = service.call_method_async("nope")
        assert call.wait() is None
        assert call.finished()
        assert not call.successful()
        assert isinstance(call.error(), MethodNotFoundError)
        with pytest.raises(MethodNotFoundError):
            call.result()
        with pytest.raises(MethodNotFoundError):
            service.methods.nope.call_async().result(wait=True)


def closed_during_a_call(wires: FakeWires, hang: Answerer) -> RemoteService:
    """Return a client that was closed while a call was under way; its outcome is unknown."""
    wires.answer = hang
    service = RemoteService(URL)
    call = service.methods.add.call_async()
    until(lambda: bool(wires.requests))
    service.close()
    with pytest.raises(OutcomeUnknownError):
        call.result(wait=True)
    return service


def test_closing_fails_what_is_under_way_with_an_unknown_outcome(wires: FakeWires) -> None:
    async def hang(request: WireRequest) -> bytes | None:
        while not wires.made[0].is_closed:
            await asyncio.sleep(0.005)
        raise OutcomeUnknownError("closed")

    assert closed_during_a_call(wires, hang).counts.unknown == 1


def test_a_call_whose_loop_ended_has_an_unknown_outcome_and_does_not_hang(wires: FakeWires) -> None:
    async def hang(request: WireRequest) -> bytes | None:
        await asyncio.Event().wait()
        return None

    service = closed_during_a_call(wires, hang)
    until(lambda: service.counts.unknown == 1)


async def test_closing_ends_the_attempts_of_a_call(wires: FakeWires) -> None:
    async def fail(request: WireRequest) -> bytes | None:
        raise ServiceUnreachableError("away")

    wires.answer = fail
    service = RemoteService(URL, retry=RetryPolicy(attempts=1_000_000, first_delay=0.001, max_delay=0.001))
    call = service.methods.add()
    async with asyncio.timeout(PATIENCE):
        while not service.counts.repeated:
            await asyncio.sleep(0)
        await service.aclose()
        repeated = service.counts.repeated
        with pytest.raises(ServiceUnreachableError, match="the client was closed"):
            await call
    assert service.counts.repeated <= repeated + 1


# On an event loop.


async def test_a_coroutine_awaits_the_value(wires: FakeWires) -> None:
    wires_answered = [called("add", 1, 2), called("users.add", name="x")]
    async with RemoteService(URL) as service:
        assert await service.methods.add(1, 2) == wires_answered[0]
        assert await service.methods.users.add(name="x") == wires_answered[1]
        assert await service.notifications.add(1) is None
        assert (await service.call_method("add", [1])).result == called("add", 1)
        assert await service.notify("add") is None
        assert len(await service.call_batch(MethodCall("a"), MethodCall("b"))) == 2
    assert threads_of_clients() == []
    assert wires.made[0].is_closed


async def test_a_forgotten_await_is_pointed_out(wires: FakeWires) -> None:
    async with RemoteService(URL) as service:
        call = service.methods.add(1, 2)
        with pytest.raises(AttributeError, match="'methods' is asked of a call under way: await it first"):
            call.methods  # noqa: B018
        assert not hasattr(call, "__len__")
        await call


async def test_the_name_is_awaited_too(wires: FakeWires) -> None:
    wires.script(SPECS)
    async with RemoteService(URL) as service:
        assert await service.name == "billing"
        assert await service.get_available_methods() == ["balance", "users.add"]


async def test_a_call_goes_out_though_nobody_awaits_it(wires: FakeWires) -> None:
    async with RemoteService(URL) as service:
        service.notifications.add(1)
        gc.collect()
        async with asyncio.timeout(PATIENCE):
            while not wires.requests:
                await asyncio.sleep(0)


async def test_waiting_in_the_blocking_way_on_a_loop_is_refused(wires: FakeWires) -> None:
    async with RemoteService(URL) as service:
        call = service.methods.add(1)
        with pytest.raises(RuntimeError, match="await"):
            call.wait()
        with pytest.raises(RuntimeError, match="await"):
            call.result(wait=True)
        await call
        assert call.result() == call.wait() == called("add", 1)


async def test_an_error_is_raised_where_the_call_is_awaited(wires: FakeWires) -> None:
    wires.script(NOT_FOUND)
    async with RemoteService(URL) as service:
        call = service.methods.nope()
        with pytest.raises(MethodNotFoundError):
            await call
        assert isinstance(call.error(), MethodNotFoundError)


async def test_a_failure_that_nobody_looks_at_is_told_by_asyncio(wires: FakeWires) -> None:
    wires.script(NOT_FOUND, NOT_FOUND)
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with RemoteService(URL) as service:
        looked_at = service.methods.nope()
        await asyncio.sleep(0.05)
        assert looked_at.error() is not None
        del looked_at
        gc.collect()
        assert told == []
        service.methods.nope()
        await asyncio.sleep(0.05)
        gc.collect()
    assert [type(context["exception"]) for context in told] == [MethodNotFoundError]


async def test_many_calls_run_at_once(wires: FakeWires) -> None:
    gate = asyncio.Event()

    async def wait(request: WireRequest) -> bytes | None:
        if len(wires.requests) == 20:
            gate.set()
        await gate.wait()
        return await echo(request)

    wires.answer = wait
    async with asyncio.timeout(PATIENCE), RemoteService(URL) as service:
        values = await asyncio.gather(*(service.methods.m(number) for number in range(20)))
    assert values == [called("m", number) for number in range(20)]
    assert service.counts.answered == 20


async def test_cancelling_who_awaits_gives_the_call_up_and_is_counted(wires: FakeWires) -> None:
    async def hang(request: WireRequest) -> bytes | None:
        await asyncio.Event().wait()
        return None

    wires.answer = hang
    async with RemoteService(URL) as service:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await service.methods.add(1)
        assert service.counts.unknown == 1


async def test_a_call_cancelled_before_it_began_leaves_nothing_behind(wires: FakeWires) -> None:
    async with RemoteService(URL) as service:
        call = service.methods.add(1)
        awaiting = asyncio.ensure_future(call)
        awaiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaiting
        await call  # it was not begun by who was cancelled
    assert len(wires.requests) == 1


async def test_a_call_in_a_served_call_knows_its_scope_from_a_thread_too(wires: FakeWires) -> None:
    async with RemoteService(URL) as service:
        await service.methods.first()
        with call_scope(CallScope(time.monotonic() + 2.0, "trace")):
            await service.methods.second()
            await asyncio.to_thread(service.methods.third)
    assert [request.timeout <= 2.0 for request in wires.requests] == [False, True, True]
    assert [request.headers.get("traceparent") for request in wires.requests] == [None, "trace", "trace"]


# One home for all.


async def test_threads_use_the_loop_that_it_was_first_used_on(wires: FakeWires) -> None:
    async with RemoteService(URL) as service:
        await service.methods.m(0)
        values = await asyncio.gather(*(asyncio.to_thread(service.methods.m, number) for number in range(8)))
        assert values == [called("m", number) for number in range(8)]
    assert len(wires.made) == 1
    assert threads_of_clients() == []


def test_many_threads_share_one_home(wires: FakeWires) -> None:
    with RemoteService(URL) as service, ThreadPoolExecutor(16) as pool:
        values = list(pool.map(service.methods.m, range(200)))
        assert values == [called("m", number) for number in range(200)]
        assert len(threads_of_clients()) == 1
    assert len(wires.made) == 1
    assert service.counts.answered == 200


def test_the_handler_of_a_signal_may_call_while_the_first_call_begins(
    wires: FakeWires, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = RemoteService(URL)
    values: list[object] = []
    start = LoopThread.start

    def interrupted(thread: LoopThread) -> asyncio.AbstractEventLoop:
        monkeypatch.setattr(LoopThread, "start", start)
        values.append(service.methods.handled())  # what a handler would do, in the same thread
        return start(thread)

    monkeypatch.setattr(LoopThread, "start", interrupted)
    thread = threading.Thread(target=lambda: values.append(service.methods.first()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert values == [called("handled"), called("first")]
    service.close()


def test_where_no_thread_can_be_started_nothing_is_left_for_the_end_of_the_program(
    wires: FakeWires, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    left: set[object] = set()
    monkeypatch.setattr("atexit.register", left.add)
    monkeypatch.setattr("atexit.unregister", left.discard)  # threads of other clients may be ending at this moment
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(ServiceUnreachableError, match="no thread can be started"):
        RemoteService(URL).methods.add()
    assert not left


def test_a_loop_uses_the_home_that_a_script_began(wires: FakeWires) -> None:
    async def use() -> list[object]:
        return await asyncio.gather(*(service.methods.m(number) for number in range(5)))

    with RemoteService(URL) as service:
        service.methods.m(0)
        assert asyncio.run(use()) == [called("m", number) for number in range(5)]
        assert service.methods.m(9) == called("m", 9)
    assert len(wires.made) == 1


def test_two_runs_of_asyncio_in_a_row_have_connections_of_their_own(wires: FakeWires) -> None:
    service = RemoteService(URL)

    async def use() -> object:
        return await service.methods.m(1)

    for run in (1, 2):
        assert asyncio.run(use()) == called("m", 1)
        assert len(wires.made) == run
        assert wires.made[-1].is_closed  # by the end of the loop, though nobody closed the service
    assert service.methods.m(2) == called("m", 2)
    service.close()
    assert [wire.is_closed for wire in wires.made] == [True, True, True]


def test_a_loop_that_stands_still_is_not_waited_for(wires: FakeWires) -> None:
    service = RemoteService(URL)
    loop = asyncio.new_event_loop()

    async def use() -> object:
        return await service.methods.m(1)

    try:
        assert loop.run_until_complete(use()) == called("m", 1)
        assert service.methods.m(2) == called("m", 2)
        service.close()
        gc.collect()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    assert [wire.is_closed for wire in wires.made] == [True, True]


def test_what_was_handed_over_to_a_loop_ends_with_it(wires: FakeWires) -> None:
    async def hang(request: WireRequest) -> bytes | None:
        await asyncio.Event().wait()
        return None

    wires.answer = hang
    service = RemoteService(URL)
    loop = asyncio.new_event_loop()

    async def begin_and_hand_over() -> AsyncMethodCall[object]:
        service.methods.first()
        call = await asyncio.to_thread(service.methods.second.call_async)
        while len(wires.requests) < 2:
            await asyncio.sleep(0)
        return call

    try:
        call = loop.run_until_complete(begin_and_hand_over())
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert isinstance(call.error(), OutcomeUnknownError)
    finally:
        remaining = asyncio.all_tasks(loop)
        for task in remaining:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*remaining, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_closing_twice_is_harmless_and_using_it_again_opens_anew(wires: FakeWires) -> None:
    service = RemoteService(URL)
    service.close()
    service.methods.m()
    service.close()
    service.close()
    assert threads_of_clients() == []
    service.methods.m()
    service.close()
    assert [wire.is_closed for wire in wires.made] == [True, True]


async def test_closing_twice_on_a_loop_is_harmless(wires: FakeWires) -> None:
    service = RemoteService(URL)
    await service.aclose()
    await service.methods.m()
    await service.aclose()
    await service.aclose()
    await service.methods.m()
    service.close()
    async with asyncio.timeout(PATIENCE):
        while not all(wire.is_closed for wire in wires.made):
            await asyncio.sleep(0)
    service.close()


async def test_a_loop_can_close_the_thread_that_a_script_began(wires: FakeWires) -> None:
    service = RemoteService(URL)
    await asyncio.to_thread(service.methods.m)
    assert len(threads_of_clients()) == 1
    await service.aclose()
    assert threads_of_clients() == []
    assert wires.made[0].is_closed


def test_a_service_that_nobody_refers_to_any_more_ends_its_thread(wires: FakeWires) -> None:
    service = RemoteService(URL)
    service.methods.m()
    gone = weakref.ref(service)
    del service
    gc.collect()
    assert gone() is None
    until(lambda: threads_of_clients() == [])
    assert wires.made[0].is_closed


async def test_lent_connections_are_used_and_left_open(wires: FakeWires) -> None:
    pool = WirePool(ClientSettings(namespace="mine"))
    with RemoteService(URL, pool=pool) as service:
        assert await service.methods.m(1) == called("m", 1)
        assert await asyncio.to_thread(service.methods.m, 2) == called("m", 2)
        service.close()
        await service.aclose()
    assert not wires.made[0].is_closed
    assert wires.made[0].settings.namespace == "mine"
    await pool.close()


async def test_lent_connections_outlive_the_clients_that_borrow_them(wires: FakeWires) -> None:
    pool = WirePool()
    for _ in range(2):
        await RemoteService(URL, pool=pool).methods.m()
        gc.collect()
        for _ in range(10):  # turns of the loop, in which a client that is gone would close what it owns
            await asyncio.sleep(0)
    assert len(wires.made) == 1
    assert not wires.made[0].is_closed
    await pool.close()


@pytest.mark.parametrize("broken", ["memory://bus#service", "http://127.0.0.1:1"])
async def test_a_wire_that_cannot_be_closed_keeps_no_other_open(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WirePool()
    closed: list[str] = []

    async def close(url: str) -> None:
        closed.append(url)
        if url == broken:
            raise OSError("a defect")

    urls = ["memory://bus#service", "http://127.0.0.1:1"]
    for url in urls:
        monkeypatch.setattr(pool.wire_for(url), "close", partial(close, url))
    with pytest.raises(OSError, match="a defect"):
        await pool.close()
    assert sorted(closed) == sorted(urls)


def test_lent_connections_whose_loop_has_ended_are_unreachable(wires: FakeWires) -> None:
    async def lend() -> RemoteService:
        return RemoteService(URL, pool=WirePool(), loop=asyncio.get_running_loop())

    service = asyncio.run(lend())
    with pytest.raises(ServiceUnreachableError, match="lent"):
        service.methods.m()


def test_the_namespace_reaches_the_wire(wires: FakeWires) -> None:
    with RemoteService(URL, namespace="test") as service:
        service.methods.m()
        assert wires.made[0].settings.namespace == "test"
        wires.made[0].counts.late = 3
        assert service.wire_counts.late == 3
    assert service.wire_counts.late == 0


def test_a_service_that_is_never_called_opens_nothing(wires: FakeWires) -> None:
    with RemoteService(URL):
        pass
    assert wires.made == []
    assert threads_of_clients() == []


# Registries, old names, authentication.


def registry_answer(urls: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "result": urls, "id": "%s"}).encode().replace(b'"%s"', b"%s")


def test_a_service_is_found_by_a_registry(wires: FakeWires) -> None:
    wires.script(registry_answer(["http://127.0.0.1:8001/api"]))
    found = RemoteService.get_service_by_name(URL, "billing*", namespace="n")
    assert found.url == "http://127.0.0.1:8001/api"
    assert json.loads(wires.requests[0].body)["method"] == "locate_service"
    assert json.loads(wires.requests[0].body)["params"] == ["billing*"]
    assert wires.made[0].is_closed


async def test_a_service_is_found_by_a_registry_on_a_loop(wires: FakeWires) -> None:
    wires.script(registry_answer(["http://10.0.0.1:8001/api"]))
    allowed = AllowList(["http://10.0.0.0/8:*"])
    found = await RemoteService.get_service_by_name(URL, "billing", allowed_addresses=allowed)
    assert found.url == "http://10.0.0.1:8001/api"
    assert wires.made[0].is_closed


@pytest.mark.parametrize("urls", [[], None, 5, ["http://169.254.169.254/latest"], ["http://evil.example/api", 5]])
def test_a_registry_cannot_send_us_anywhere(wires: FakeWires, urls: object) -> None:
    wires.script(registry_answer(urls))
    with pytest.raises(ServiceNotFoundError):
        RemoteService.get_service_by_name(URL, "billing")


def test_only_random_choice_is_known(wires: FakeWires) -> None:
    with pytest.raises(ValueError, match="random"):
        RemoteService.get_service_by_name(URL, "billing", "first")


def test_old_names_still_work(wires: FakeWires) -> None:
    assert RemoteClient is RemoteService
    assert get_remote_service_instance_for_url(URL).url == URL


@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        ({"auth_type": "header", "auth_token": "t"}, "x-api-token", "t"),
        ({"auth_type": "header", "auth_params": "X-Key", "auth_token": "t"}, "x-key", "t"),
        ({"auth_type": "cookie", "auth_params": "Auth", "auth_token": "t"}, "cookie", "Auth=t"),
    ],
)
def test_old_options_authenticate_and_are_deprecated(
    wires: FakeWires, options: dict[str, str], header: str, value: str
) -> None:
    with pytest.warns(DeprecationWarning, match="authentication="):
        service = RemoteService(URL, options=options)
    with service:
        service.methods.m()
    assert wires.requests[0].headers[header] == value


def test_the_old_name_of_authentication_works_and_is_deprecated(wires: FakeWires) -> None:
    with pytest.warns(DeprecationWarning, match="authentication="):
        service = RemoteService(URL, authentication_method=BearerToken("t"))
    with service:
        service.methods.m()
    assert wires.requests[0].headers["authorization"] == "Bearer t"


def test_the_deprecation_points_at_the_authors_line(wires: FakeWires) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        RemoteService(URL, authentication_method=BearerToken("t"))
    assert [warning.filename for warning in caught] == [__file__]


def test_authentication_given_twice_or_in_the_body_is_refused(wires: FakeWires) -> None:
    with pytest.raises(ServiceConfigurationError, match="twice"):
        RemoteService(URL, authentication=BearerToken("t"), authentication_method=BearerToken("t"))
    with pytest.warns(DeprecationWarning, match="use"), pytest.raises(ServiceConfigurationError, match="auth_type"):
        RemoteService(URL, options={"auth_type": "request", "auth_token": "t"})


def test_what_is_shown_of_a_service_holds_no_password(wires: FakeWires) -> None:
    assert repr(RemoteService("fake://me:secret@host/#orders")) == "<RemoteService fake://me:***@host/#orders>"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_service_can_be_neither_copied_nor_pickled(wires: FakeWires, duplicate: Callable[[object], object]) -> None:
    service = RemoteService(URL)
    for each in (service, service.methods, service.notifications.add):
        if each is not service and duplicate is copy.copy:
            continue  # a method refers to its service as before
        with pytest.raises(TypeError, match="make one there, by its URL"):
            duplicate(each)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), None])
def test_a_service_has_a_timeout(timeout: float) -> None:
    with pytest.raises(ValueError, match="seconds above 0"):
        RemoteService(URL, timeout=timeout)
