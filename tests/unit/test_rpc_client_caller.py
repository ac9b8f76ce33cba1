"""The core of all clients: deadlines, attempts, headers and counts."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping

import pytest

from gemstone_events.call_scope import CallScope, call_scope
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.retry import RetryPolicy
from gemstone_events.rpc.call_errors import (
    AccessDeniedError,
    CallTimeoutError,
    DeadlineExceededError,
    InterruptedCallError,
    InvalidAnswerError,
    OutcomeUnknownError,
    OverloadedError,
    ServiceUnreachableError,
    UnknownError,
)
from gemstone_events.rpc.client import caller as caller_module
from gemstone_events.rpc.client.caller import Caller
from gemstone_events.rpc.client.requests import MethodCall, Notification
from gemstone_events.rpc.wire import WireRequest
from tests.unit.rpc_client_fake import PATIENCE, FakeWires

URL = "fake://service"
RESULT = b'{"jsonrpc":"2.0","result":42,"id":%s}'
QUICK = RetryPolicy(attempts=3, first_delay=0.001)


def error(code: int) -> bytes:
    return (
        json.dumps({"jsonrpc": "2.0", "error": {"code": code, "message": "no"}, "id": "%s"})
        .encode()
        .replace(b'"%s"', b"%s")
    )


async def hang(request: WireRequest) -> bytes | None:
    await asyncio.Event().wait()
    return None


@pytest.fixture
def wires() -> FakeWires:
    return FakeWires()


async def result_of(caller: Caller, wires: FakeWires, call: MethodCall) -> object:
    return (await caller.call(wires, caller.prepare(call))).result


async def test_a_call_brings_its_result(wires: FakeWires) -> None:
    caller = Caller(URL)
    assert await result_of(caller, wires, MethodCall("add", [1, 2])) == {"method": "add", "params": [1, 2]}
    assert wires.requests[0].is_answered
    assert 0 < wires.requests[0].timeout <= 30.0


async def test_a_notification_wants_no_answer(wires: FakeWires) -> None:
    caller = Caller(URL)
    await caller.notify(wires, caller.prepare(Notification("add", [1, 2])))
    assert not wires.requests[0].is_answered


async def test_the_timeout_of_the_call_goes_before_that_of_the_service(wires: FakeWires) -> None:
    caller = Caller(URL, timeout=5.0)
    await result_of(caller, wires, MethodCall("add"))
    await result_of(caller, wires, MethodCall("add", timeout=50.0))
    assert 0 < wires.requests[0].timeout <= 5.0
    assert 10.0 < wires.requests[1].timeout <= 50.0


async def test_a_wire_that_hangs_is_given_up(wires: FakeWires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller_module, "_GRACE_SECONDS", 0.01)
    wires.answer = hang
    caller = Caller(URL, timeout=0.01)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(CallTimeoutError):
            await result_of(caller, wires, MethodCall("add"))
    assert caller.counts.unknown == 1


async def test_a_call_made_while_serving_one_gets_what_is_left_of_its_time_and_its_trace(wires: FakeWires) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    caller = Caller(URL)
    with call_scope(CallScope(time.monotonic() + 3.0, trace)):
        outgoing = caller.prepare(MethodCall("add"))
        shorter = caller.prepare(MethodCall("add", timeout=1.0))
    await caller.call(wires, outgoing)
    await caller.call(wires, shorter)
    assert 2.0 < wires.requests[0].timeout <= 3.0
    assert wires.requests[1].timeout <= 1.0
    assert wires.requests[0].headers["traceparent"] == trace


async def test_a_call_with_no_time_left_is_not_sent(wires: FakeWires) -> None:
    caller = Caller(URL)
    with call_scope(CallScope(time.monotonic() - 0.1)):
        outgoing = caller.prepare(MethodCall("add"))
    with pytest.raises(ServiceUnreachableError, match="no time is left"):
        await caller.call(wires, outgoing)
    assert wires.requests == []
    assert caller.counts.failed == 1


async def test_nothing_is_tried_again_by_default(wires: FakeWires) -> None:
    wires.script(ServiceUnreachableError("away"))
    caller = Caller(URL)
    with pytest.raises(ServiceUnreachableError):
        await result_of(caller, wires, MethodCall("add", idempotent=True))
    assert len(wires.requests) == 1


@pytest.mark.parametrize("failure", [ServiceUnreachableError("away"), error(-32003)])
async def test_what_was_not_carried_out_is_tried_again(wires: FakeWires, failure: bytes | Exception) -> None:
    wires.script(failure, failure, RESULT)
    caller = Caller(URL, retry=QUICK)
    assert await result_of(caller, wires, MethodCall("add")) == 42
    assert (caller.counts.answered, caller.counts.repeated, caller.counts.calls) == (1, 2, 1)


UNKNOWN = [
    OutcomeUnknownError("lost"),
    CallTimeoutError("late"),
    InvalidAnswerError("mad"),
    b"mad",
    None,
    error(-32002),
    error(-32004),
]


@pytest.mark.parametrize("failure", UNKNOWN)
async def test_what_may_have_been_carried_out_is_not_tried_again(wires: FakeWires, failure: bytes | Exception) -> None:
    wires.script(failure, RESULT)
    caller = Caller(URL, retry=QUICK)
    with pytest.raises((OutcomeUnknownError, DeadlineExceededError, InterruptedCallError)):
        await result_of(caller, wires, MethodCall("add"))
    assert len(wires.requests) == 1
    assert (caller.counts.unknown, caller.counts.calls) == (1, 1)


@pytest.mark.parametrize("failure", UNKNOWN)
@pytest.mark.parametrize(
    "call", [MethodCall("add", idempotent=True), MethodCall("add", idempotency_key=True)], ids=["idempotent", "key"]
)
async def test_what_may_happen_twice_or_has_a_key_is_tried_again(
    wires: FakeWires, failure: bytes | Exception, call: MethodCall
) -> None:
    wires.script(failure, RESULT)
    caller = Caller(URL, retry=QUICK)
    assert await result_of(caller, wires, call) == 42
    first, second = wires.requests
    assert first.body == second.body
    assert first.headers.get("idempotency-key") == second.headers.get("idempotency-key")


@pytest.mark.parametrize("doubt", UNKNOWN)
@pytest.mark.parametrize("last", [ServiceUnreachableError("away"), error(-32003)])
async def test_an_attempt_that_may_have_been_carried_out_is_not_forgotten_over_one_that_was_not(
    wires: FakeWires, doubt: bytes | Exception, last: bytes | Exception
) -> None:
    wires.script(last, doubt, last)
    caller = Caller(URL, retry=QUICK)
    with pytest.raises(OutcomeUnknownError, match="an earlier one may be") as raised:
        await result_of(caller, wires, MethodCall("pay", idempotency_key="k"))
    assert raised.value.__notes__ == ["calling 'pay' of fake://service, attempt 3"]
    assert (caller.counts.unknown, caller.counts.calls) == (1, 1)


async def test_an_answer_to_a_later_attempt_is_the_answer(wires: FakeWires) -> None:
    wires.script(OutcomeUnknownError("lost"), error(1001))
    caller = Caller(URL, retry=QUICK)
    with pytest.raises(UnknownError):
        await result_of(caller, wires, MethodCall("pay", idempotent=True))
    assert (caller.counts.failed, caller.counts.calls) == (1, 1)


@pytest.mark.parametrize("failure", [error(-32001), error(-32601), error(1001), ServiceConfigurationError("bad")])
async def test_a_refusal_is_final(wires: FakeWires, failure: bytes | Exception) -> None:
    wires.script(failure, RESULT)
    caller = Caller(URL, retry=QUICK)
    with pytest.raises(Exception):  # noqa: B017, PT011
        await result_of(caller, wires, MethodCall("add", idempotent=True))
    assert len(wires.requests) == 1
    assert caller.counts.failed == caller.counts.calls == 1


async def test_attempts_end_with_the_policy_and_the_last_error_is_raised(wires: FakeWires) -> None:
    wires.script(ServiceUnreachableError("1"), ServiceUnreachableError("2"), ServiceUnreachableError("3"), RESULT)
    caller = Caller(URL, retry=QUICK)
    with pytest.raises(ServiceUnreachableError, match="3") as raised:
        await result_of(caller, wires, MethodCall("add"))
    assert raised.value.__notes__ == ["calling 'add' of fake://service, attempt 3"]
    assert (caller.counts.failed, caller.counts.repeated) == (1, 2)


async def test_attempts_end_with_the_deadline(wires: FakeWires, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    wires.script(ServiceUnreachableError("away"), RESULT)
    caller = Caller(URL, timeout=5.0, retry=RetryPolicy(attempts=5, first_delay=60.0))
    async with asyncio.timeout(4.0):
        with pytest.raises(ServiceUnreachableError):
            await result_of(caller, wires, MethodCall("add"))
    assert len(wires.requests) == 1


async def test_a_policy_can_leave_out_an_error(wires: FakeWires) -> None:
    wires.script(error(-32003), RESULT)
    caller = Caller(URL, retry=RetryPolicy(attempts=3, first_delay=0.001, fatal=(OverloadedError,)))
    with pytest.raises(OverloadedError):
        await result_of(caller, wires, MethodCall("add"))


async def test_a_fresh_key_is_another_for_each_call(wires: FakeWires) -> None:
    caller = Caller(URL)
    call = MethodCall("add", idempotency_key=True)
    await result_of(caller, wires, call)
    await result_of(caller, wires, call)
    await result_of(caller, wires, MethodCall("add", idempotency_key="mine"))
    first, second, third = (request.headers["idempotency-key"] for request in wires.requests)
    assert first != second
    assert third == "mine"


class Signer:
    """Says something else each time."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def headers(self, body: bytes) -> Mapping[str, str]:
        self.bodies.append(body)
        return {"Authorization": f"signed {len(self.bodies)}"}


async def test_each_attempt_is_signed_anew(wires: FakeWires) -> None:
    wires.script(ServiceUnreachableError("away"), RESULT)
    signer = Signer()
    caller = Caller(URL, retry=QUICK, authentication=signer, headers={"X-Shop": "1"})
    await result_of(caller, wires, MethodCall("add", headers={"X-Own": "2"}))
    assert [request.headers["authorization"] for request in wires.requests] == ["signed 1", "signed 2"]
    assert signer.bodies == [request.body for request in wires.requests]
    assert wires.requests[1].headers == {"x-shop": "1", "x-own": "2", "authorization": "signed 2"}


@pytest.mark.parametrize(
    "headers", [{"x": "a\r\nb: c"}, {"x": "a\nb"}, {"a b": "c"}, {"a\r\n": "c"}, {"": "c"}, {"a": 5}]
)
def test_a_header_cannot_smuggle_another(headers: Mapping[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        Caller(URL, headers=headers)
    with pytest.raises(ValueError, match="header"):
        Caller(URL).prepare(MethodCall("add", headers=headers))


@pytest.mark.parametrize("params", [[float("nan")], [object()], [2**70], ["\ud800"], {"a": {1, 2}}])
def test_what_is_not_json_is_refused_before_it_is_sent(params: list[object]) -> None:
    caller = Caller(URL)
    with pytest.raises(ValueError, match=r"."):
        caller.prepare(MethodCall("add", params))  # type: ignore[arg-type]
    assert caller.counts.calls == 0


async def test_a_batch_is_counted_call_by_call(wires: FakeWires) -> None:
    body = (
        b'[{"jsonrpc":"2.0","result":1,"id":1},{"jsonrpc":"2.0","error":{"code":5,"message":"no"},"id":2},'
        b'{"jsonrpc":"2.0","error":{"code":-32002,"message":"late"},"id":3}]'
    )
    wires.script(body)
    caller = Caller(URL)
    calls = [MethodCall("m", id=identity) for identity in (1, 2, 3, 4)]
    results = await caller.batch(wires, caller.prepare_batch([*calls, Notification("n")]))
    assert [type(result.error).__name__ for result in results] == [
        "NoneType",
        "UnknownError",
        "DeadlineExceededError",
        "InvalidAnswerError",
    ]
    counts = caller.counts
    assert (counts.answered, counts.failed, counts.unknown, counts.calls) == (2, 1, 2, 5)


async def test_a_batch_that_fails_counts_for_all_its_calls(wires: FakeWires) -> None:
    wires.script(OutcomeUnknownError("lost"))
    caller = Caller(URL)
    with pytest.raises(OutcomeUnknownError):
        await caller.batch(wires, caller.prepare_batch([MethodCall("m"), MethodCall("m")]))
    assert caller.counts.unknown == 2


@pytest.mark.parametrize(("idempotent", "attempts"), [((True, True), 2), ((True, False), 1)])
async def test_a_batch_is_repeated_only_if_all_of_it_may_be(
    wires: FakeWires, idempotent: tuple[bool, ...], attempts: int
) -> None:
    wires.script(OutcomeUnknownError("lost"), OutcomeUnknownError("lost"))
    caller = Caller(URL, retry=RetryPolicy(attempts=2, first_delay=0.001))
    with pytest.raises(OutcomeUnknownError):
        await caller.batch(wires, caller.prepare_batch([MethodCall("m", idempotent=each) for each in idempotent]))
    assert len(wires.requests) == attempts


async def test_the_options_of_a_batch_are_its_own(wires: FakeWires) -> None:
    caller = Caller(URL)
    outgoing = caller.prepare_batch([MethodCall("m")], timeout=3.0, idempotency_key="k", headers={"X-A": "b"})
    await caller.batch(wires, outgoing)
    assert wires.requests[0].timeout <= 3.0
    assert wires.requests[0].headers == {"idempotency-key": "k", "x-a": "b"}


def test_a_batch_refuses_what_cannot_be_sent_as_one() -> None:
    caller = Caller(URL)
    with pytest.raises(ValueError, match="at least one"):
        caller.prepare_batch([])
    with pytest.raises(TypeError, match="not str"):
        caller.prepare_batch(["add"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="have the id 1"):
        caller.prepare_batch([MethodCall("a", id=1), MethodCall("b", id=1)])
    for call in (MethodCall("a", timeout=1), MethodCall("a", idempotency_key="k"), MethodCall("a", headers={"b": "c"})):
        with pytest.raises(ValueError, match="part of a batch"):
            caller.prepare_batch([call])


async def test_a_batch_of_notifications_wants_no_answer(wires: FakeWires) -> None:
    caller = Caller(URL)
    results = await caller.batch(wires, caller.prepare_batch([Notification("a"), Notification("b")]))
    assert len(results) == 0
    assert not wires.requests[0].is_answered
    assert caller.counts.answered == 2


async def test_a_caller_who_goes_away_leaves_an_unknown_outcome_and_a_line_in_the_log(
    wires: FakeWires, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gemstone_events.rpc.client")
    wires.answer = hang
    caller = Caller(URL)
    task = asyncio.ensure_future(result_of(caller, wires, MethodCall("add")))
    async with asyncio.timeout(PATIENCE):
        while not wires.requests:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert caller.counts.unknown == caller.counts.calls == 1
    assert "outcome is unknown" in caplog.text


async def test_a_defect_of_a_wire_counts_as_unknown(wires: FakeWires) -> None:
    wires.script(RuntimeError("a defect"))
    caller = Caller(URL)
    with pytest.raises(RuntimeError):
        await result_of(caller, wires, MethodCall("add"))
    assert caller.counts.unknown == 1


async def test_the_error_says_what_was_called_and_hides_the_password(wires: FakeWires) -> None:
    wires.script(error(-32001))
    caller = Caller("fake://me:secret@host/vhost#orders")
    with pytest.raises(AccessDeniedError) as raised:
        await result_of(caller, wires, MethodCall("orders.cancel"))
    assert raised.value.__notes__ == ["calling 'orders.cancel' of fake://me:***@host/vhost#orders, attempt 1"]
