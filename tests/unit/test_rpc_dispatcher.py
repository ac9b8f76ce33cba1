"""The dispatcher: the specification's examples, access, errors, limits and what observers see."""

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.dispatcher import Authorize, Dispatcher, DispatchLimits
from gemstone_events.rpc.errors import AccessDenied, RpcError
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.protocol import JsonRpcRequest

CONTEXT = CallContext("test")
INTERNAL = {"code": -32603, "message": "Internal error"}


async def invoke(method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext) -> object:
    result = method.function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


def dispatcher_of(*methods: Method, **options: object) -> Dispatcher:
    return Dispatcher(MethodTable(methods), invoke=invoke, **options)  # type: ignore[arg-type]


async def ask(dispatcher: Dispatcher, body: object, context: CallContext = CONTEXT) -> object:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await dispatcher.dispatch(raw, context)
    return None if answer is None else json.loads(answer)


def call(method: str, params: object = (), request_id: object = 1, **extra: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": request_id, **extra}


def notification(method: str, params: object = ()) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def failure(error: Mapping[str, object], request_id: object = 1) -> dict[str, object]:
    return {"jsonrpc": "2.0", "error": error, "id": request_id}


def success(result: object, request_id: object = 1) -> dict[str, object]:
    return {"jsonrpc": "2.0", "result": result, "id": request_id}


# The specification's examples (section 7).


def subtract(minuend: int, subtrahend: int) -> int:
    return minuend - subtrahend


SPECIFICATION = dispatcher_of(
    Method("subtract", subtract),
    Method("sum", lambda *numbers: sum(numbers)),
    Method("get_data", lambda: ["hello", 5]),
    Method("update", lambda *numbers: None),
    Method("notify_hello", lambda number: None),
    Method("notify_sum", lambda *numbers: None),
)

EXAMPLES = [
    (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        '{"jsonrpc": "2.0", "result": 19, "id": 1}',
    ),
    (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        '{"jsonrpc": "2.0", "result": -19, "id": 2}',
    ),
    (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        '{"jsonrpc": "2.0", "result": 19, "id": 3}',
    ),
    (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        '{"jsonrpc": "2.0", "result": 19, "id": 4}',
    ),
    ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    (
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
    ),
    (
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
    ),
    (
        '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
    ),
    (
        '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]',
        '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
    ),
    ("[]", '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}'),
    ("[1]", '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]'),
    (
        "[1,2,3]",
        """[
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}
        ]""",
    ),
    (
        """[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
        ]""",
        """[
        {"jsonrpc": "2.0", "result": 7, "id": "1"},
        {"jsonrpc": "2.0", "result": 19, "id": "2"},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
        {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
        ]""",
    ),
    (
        """[
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
        ]""",
        None,
    ),
]


@pytest.mark.parametrize(("request_text", "response_text"), EXAMPLES)
async def test_the_examples_of_the_specification_are_answered_as_it_says(
    request_text: str, response_text: str | None
) -> None:
    expected = None if response_text is None else json.loads(response_text)

    assert await ask(SPECIFICATION, request_text.encode()) == expected


# Ids, names and parameters.


@pytest.mark.parametrize("request_id", [0, "", None, "x", -7, 2**53])
async def test_an_id_comes_back_as_it_was(request_id: object) -> None:
    assert await ask(SPECIFICATION, call("subtract", [3, 2], request_id)) == success(1, request_id)


@pytest.mark.parametrize("name", ["__init__", "rpc.discover", "subtract.__call__", "Subtract", "", "a" * 10_000])
async def test_only_exposed_names_are_found(name: str) -> None:
    assert await ask(SPECIFICATION, call(name)) == failure({"code": -32601, "message": "Method not found"})


async def test_parameters_that_do_not_fit_are_answered_with_the_reason() -> None:
    assert await ask(SPECIFICATION, call("subtract", {"minuend": 1})) == failure(
        {"code": -32602, "message": "Invalid params", "data": "missing a required argument: 'subtrahend'"}
    )


async def test_a_type_error_inside_a_method_is_not_the_callers_mistake() -> None:
    def careless(a: int) -> int:
        return subtract(a)  # type: ignore[call-arg]

    assert await ask(dispatcher_of(Method("careless", careless)), call("careless", [1])) == failure(INTERNAL)


async def test_the_handler_reaches_a_method_that_takes_it() -> None:
    context = CallContext("test", make_handler=lambda context: f"handler of {context.wire}")
    dispatcher = dispatcher_of(Method("m", lambda handler, a: [handler, a], takes_handler=True))

    assert await ask(dispatcher, call("m", [1]), context) == success(["handler of test", 1])
    assert await ask(dispatcher, call("m", [1])) == success([None, 1])


# Access.


@pytest.mark.parametrize("leave", [False, None, 0, "", {}])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_private_method_is_denied_on_anything_falsy(leave: object, asynchronous: bool) -> None:
    async def later(method: Method, context: CallContext) -> object:
        return leave

    authorize: Authorize = later if asynchronous else (lambda method, context: leave)
    dispatcher = dispatcher_of(Method("secret", lambda: 1, private=True), authorize=authorize)

    assert await ask(dispatcher, call("secret")) == failure({"code": -32001, "message": "Access denied"})


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_private_method_is_open_to_those_who_have_leave(asynchronous: bool) -> None:
    async def later(method: Method, context: CallContext) -> object:
        return context.headers.get("token") == "good"

    authorize: Authorize = later if asynchronous else (lambda method, context: context.headers.get("token") == "good")
    dispatcher = dispatcher_of(Method("secret", lambda: 1, private=True), authorize=authorize)

    assert await ask(dispatcher, call("secret"), CallContext("test", {"token": "good"})) == success(1)
    assert await ask(dispatcher, call("secret")) == failure({"code": -32001, "message": "Access denied"})


async def test_private_methods_are_denied_by_default_and_public_ones_are_not_asked_about() -> None:
    def never(method: Method, context: CallContext) -> bool:
        raise AssertionError(f"asked about {method.name}")

    assert await ask(dispatcher_of(Method("secret", lambda: 1, private=True)), call("secret")) == failure(
        {"code": -32001, "message": "Access denied"}
    )
    assert await ask(dispatcher_of(Method("open", lambda: 1), authorize=never), call("open")) == success(1)


async def test_access_is_checked_before_the_parameters() -> None:
    dispatcher = dispatcher_of(Method("secret", lambda a, b: 1, private=True))

    assert await ask(dispatcher, call("secret", {"wrong": 1})) == failure({"code": -32001, "message": "Access denied"})


async def test_a_check_that_fails_denies_with_an_internal_error() -> None:
    def broken(method: Method, context: CallContext) -> bool:
        raise LookupError("token store")

    dispatcher = dispatcher_of(Method("secret", lambda: 1, private=True), authorize=broken)

    assert await ask(dispatcher, call("secret")) == failure(INTERNAL)


# Errors.


async def test_an_error_of_the_authors_own_is_answered_as_it_is() -> None:
    def sell() -> None:
        raise RpcError("Out of stock", code=1001, data={"left": 0})

    assert await ask(dispatcher_of(Method("sell", sell)), call("sell")) == failure(
        {"code": 1001, "message": "Out of stock", "data": {"left": 0}}
    )


async def test_an_internal_error_says_nothing_and_is_logged_once_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def explode() -> None:
        raise KeyError("password=hunter2")

    seen: list[Exception] = []
    answer = await dispatcher_of(Method("explode", explode), on_internal_error=seen.append).dispatch(
        json.dumps(call("explode")).encode(), CONTEXT
    )

    assert json.loads(answer or b"") == failure(INTERNAL)
    assert [type(error) for error in seen] == [KeyError]
    [record] = caplog.records
    assert (record.name, record.levelno, "explode" in record.getMessage()) == (
        "gemstone_events.rpc",
        logging.ERROR,
        True,
    )
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


@pytest.mark.parametrize("result", [object(), float("inf"), {1}, b"bytes", "\ud800", 2**70])
async def test_a_result_that_is_not_strict_json_is_an_internal_error(result: object) -> None:
    seen: list[Exception] = []
    dispatcher = dispatcher_of(Method("m", lambda: result), on_internal_error=seen.append)

    assert await ask(dispatcher, call("m")) == failure(INTERNAL)
    assert len(seen) == 1


async def test_data_of_an_error_that_is_not_strict_json_is_an_internal_error() -> None:
    def fail() -> None:
        raise RpcError(data=object())  # type: ignore[arg-type]

    assert await ask(dispatcher_of(Method("m", fail)), call("m")) == failure(INTERNAL)


async def test_a_result_beyond_the_limit_is_an_internal_error() -> None:
    dispatcher = dispatcher_of(Method("m", lambda: "x" * 200), limits=DispatchLimits(response_bytes=200))

    assert await ask(dispatcher, call("m")) == failure(INTERNAL)


async def test_a_method_that_awaits_something_cancelled_is_an_internal_error() -> None:
    async def await_cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    assert await ask(dispatcher_of(Method("m", await_cancelled)), call("m")) == failure(INTERNAL)


@pytest.mark.parametrize("error", [SystemExit(1), BaseExceptionGroup("", [SystemExit(1)]), BaseException("odd")])
@pytest.mark.parametrize("batch", [False, True])
async def test_no_exception_of_a_method_ends_the_process_or_leaves_its_caller_waiting(
    error: BaseException, batch: bool
) -> None:
    async def fail() -> None:
        raise error

    answer = await ask(dispatcher_of(Method("m", fail)), [call("m")] if batch else call("m"))
    assert answer == ([failure(INTERNAL)] if batch else failure(INTERNAL))


async def test_a_timeout_of_the_methods_own_is_an_internal_error_and_not_the_deadline() -> None:
    async def time_out() -> None:
        raise TimeoutError

    assert await ask(dispatcher_of(Method("m", time_out)), call("m")) == failure(INTERNAL)


async def test_a_cancelled_dispatch_is_cancelled_and_so_is_its_method() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    dispatcher = dispatcher_of(Method("wait", wait))
    for body in (call("wait"), [call("wait")]):
        started.clear()
        cancelled.clear()
        task = asyncio.create_task(ask(dispatcher, body))
        await asyncio.wait_for(started.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(cancelled.wait(), 5)


# Observers.


async def test_observers_see_a_request_after_the_access_check_with_its_extra_members() -> None:
    seen: list[JsonRpcRequest] = []
    dispatcher = dispatcher_of(
        Method("open", lambda: 1), Method("secret", lambda: 1, private=True), on_call=seen.append
    )
    await ask(dispatcher, [call("secret"), call("open", trace="t"), notification("open"), call("missing"), 1])

    assert [(request.method, request.extra, request.is_notification) for request in seen] == [
        ("open", {"trace": "t"}, False),
        ("open", {}, True),
    ]


async def test_an_observer_can_refuse_a_call_and_a_broken_one_fails_it() -> None:
    called: list[int] = []

    def refuse(request: JsonRpcRequest) -> None:
        raise AccessDenied("Too often")

    def fail(request: JsonRpcRequest) -> None:
        raise ZeroDivisionError

    method = Method("open", lambda: called.append(1))

    assert await ask(dispatcher_of(method, on_call=refuse), call("open")) == failure(
        {"code": -32001, "message": "Too often"}
    )
    assert await ask(dispatcher_of(method, on_call=fail), call("open")) == failure(INTERNAL)
    assert called == []


async def test_a_broken_observer_of_errors_changes_no_answer() -> None:
    def fail(error: Exception) -> None:
        raise ZeroDivisionError

    dispatcher = dispatcher_of(Method("m", lambda: object()), on_internal_error=fail)

    assert await ask(dispatcher, call("m")) == failure(INTERNAL)


# Notifications and batches.


async def test_a_notification_has_run_when_dispatch_returns_and_its_error_is_not_answered() -> None:
    ran: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0)
        ran.append("slow")

    def failing() -> None:
        ran.append("failing")
        raise KeyError

    dispatcher = dispatcher_of(Method("slow", slow), Method("failing", failing))
    for body in (notification("slow"), notification("failing"), notification("slow", [1]), notification("missing")):
        assert await ask(dispatcher, body) is None

    assert ran == ["slow", "failing"]


async def test_responses_of_a_batch_stand_in_the_order_of_its_requests() -> None:
    first_may_end = asyncio.Event()

    async def first() -> int:
        await first_may_end.wait()
        return 1

    def second() -> int:
        first_may_end.set()
        return 2

    dispatcher = dispatcher_of(Method("first", first), Method("second", second))

    assert await ask(dispatcher, [call("first", request_id="a"), call("second", request_id="b")]) == [
        success(1, "a"),
        success(2, "b"),
    ]


@pytest.mark.parametrize(("size", "accepted"), [(1, True), (50, True), (51, False)])
async def test_a_batch_holds_at_most_fifty_requests(size: int, accepted: bool) -> None:
    answer = await ask(SPECIFICATION, [call("get_data", request_id=i) for i in range(size)])

    if accepted:
        assert answer == [success(["hello", 5], i) for i in range(size)]
    else:
        assert answer == failure(
            {"code": -32600, "message": "Invalid Request", "data": "a batch holds 1 to 50 requests"}, None
        )


async def test_a_batch_within_a_batch_is_an_invalid_item() -> None:
    assert await ask(SPECIFICATION, [[call("get_data")]]) == [
        failure({"code": -32600, "message": "Invalid Request"}, None)
    ]


async def test_ten_calls_of_a_batch_run_at_once_and_no_more() -> None:
    running, most, ten_run = 0, 0, asyncio.Event()

    async def wait() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 10:
            ten_run.set()
        await ten_run.wait()
        await asyncio.sleep(0)
        running -= 1

    dispatcher = dispatcher_of(Method("wait", wait))
    async with asyncio.timeout(5):
        await ask(dispatcher, [call("wait", request_id=i) for i in range(30)])

    assert most == 10


# Limits.


async def hang() -> None:
    await asyncio.Event().wait()


async def test_a_call_that_takes_too_long_is_answered_with_deadline_exceeded() -> None:
    dispatcher = dispatcher_of(Method("hang", hang), limits=DispatchLimits(call_timeout=0.01))

    async with asyncio.timeout(5):
        assert await ask(dispatcher, call("hang")) == failure({"code": -32002, "message": "Deadline exceeded"})


async def test_a_check_that_takes_too_long_is_answered_with_deadline_exceeded() -> None:
    async def authorize(method: Method, context: CallContext) -> bool:
        await hang()
        return True

    dispatcher = dispatcher_of(
        Method("secret", lambda: 1, private=True), authorize=authorize, limits=DispatchLimits(call_timeout=0.01)
    )
    async with asyncio.timeout(5):
        assert await ask(dispatcher, call("secret")) == failure({"code": -32002, "message": "Deadline exceeded"})


async def test_a_shorter_deadline_of_the_caller_counts() -> None:
    async with asyncio.timeout(5):
        answer = await ask(dispatcher_of(Method("hang", hang)), call("hang"), CallContext("test", timeout=0.01))

    assert answer == failure({"code": -32002, "message": "Deadline exceeded"})


async def test_a_call_whose_deadline_has_passed_is_not_begun() -> None:
    called: list[int] = []
    dispatcher = dispatcher_of(Method("m", lambda: called.append(1)))

    assert await ask(dispatcher, call("m"), CallContext("test", timeout=0)) == failure(
        {"code": -32002, "message": "Deadline exceeded"}
    )
    assert called == []


async def test_a_service_that_cannot_be_reached_takes_one_line_of_the_log_for_each_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def sell() -> None:
        raise ServiceUnreachableError("stock cannot be reached\x1b[2J")

    caplog.set_level(logging.INFO, "gemstone_events.rpc")
    await ask(dispatcher_of(Method("sell", sell)), call("sell"))
    [line] = caplog.text.splitlines()
    assert "method 'sell' failed: ServiceUnreachableError: stock cannot be reached" in line
    assert "\x1b" not in line


async def test_a_notification_that_missed_its_deadline_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = dispatcher_of(Method("hang", hang), limits=DispatchLimits(call_timeout=0.01))

    async with asyncio.timeout(5):
        assert await ask(dispatcher, notification("hang")) is None
    assert "'hang' was not carried out" in caplog.text


async def test_a_request_beyond_the_limit_is_refused_and_a_notification_waits_for_its_turn() -> None:
    may_end, ran = asyncio.Event(), list[int]()
    dispatcher = dispatcher_of(
        Method("wait", may_end.wait), Method("mark", ran.append), limits=DispatchLimits(concurrent_calls=2)
    )
    waiting = [asyncio.create_task(ask(dispatcher, call("wait", request_id=i))) for i in range(2)]
    await asyncio.sleep(0)

    assert await ask(dispatcher, call("mark", [1])) == failure({"code": -32003, "message": "Overloaded"})
    notifying = asyncio.create_task(ask(dispatcher, notification("mark", [2])))
    await asyncio.sleep(0)
    assert ran == []

    may_end.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting, notifying) == [success(True, 0), success(True, 1), None]
        assert await ask(dispatcher, call("mark", [3])) == success(None)
    assert ran == [2, 3]


async def test_json_nested_too_deeply_is_a_parse_error() -> None:
    dispatcher = dispatcher_of(Method("m", lambda x: x), limits=DispatchLimits(depth=4))

    assert await ask(dispatcher, call("m", [[[]]])) == success([[]])
    assert await ask(dispatcher, call("m", [[[[]]]])) == failure({"code": -32700, "message": "Parse error"}, None)


# The envelope of old gemstone.


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (call("get_data"), {"jsonrpc": "2.0", "result": ["hello", 5], "error": None, "id": 1}),
        (call("get_data", None), {"jsonrpc": "2.0", "result": ["hello", 5], "error": None, "id": 1}),
        (
            call("missing"),
            {"jsonrpc": "2.0", "result": None, "error": {"code": -32601, "message": "Method not found"}, "id": 1},
        ),
        (notification("get_data"), {"jsonrpc": "2.0", "result": None, "error": None}),
        ([notification("get_data")], []),
        (
            [notification("get_data"), call("get_data")],
            [{"jsonrpc": "2.0", "result": ["hello", 5], "error": None, "id": 1}],
        ),
    ],
)
async def test_old_gemstone_clients_get_the_envelope_they_expect(body: object, expected: object) -> None:
    dispatcher = dispatcher_of(Method("get_data", lambda: ["hello", 5]), legacy_envelope=True)

    assert await ask(dispatcher, body) == expected


async def test_a_request_can_be_handled_without_bytes() -> None:
    handle: Callable[[JsonRpcRequest, CallContext], Awaitable[object]] = SPECIFICATION.handle
    response = await handle(JsonRpcRequest("subtract", [3, 2], 1), CONTEXT)

    assert getattr(response, "result", None) == 1
    assert await handle(JsonRpcRequest("update", [1], is_notification=True), CONTEXT) is None


async def test_a_result_that_was_not_awaited_is_pointed_out_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def forget() -> object:
        return {"hi": asyncio.get_running_loop().create_future()}

    assert await ask(dispatcher_of(Method("forget", forget)), call("forget")) == failure(INTERNAL)
    await ask(dispatcher_of(Method("forget", forget)), [call("forget")])
    assert [record.getMessage() for record in caplog.records] == [
        "the result of 'forget' (1) cannot be sent: Object of type Future is not JSON serializable; await it"
    ] * 2
