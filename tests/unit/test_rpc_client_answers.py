"""Which answers clients take, and what they make of the others."""

import copy
import json
import pickle
from collections.abc import Callable

import pytest

from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    InvalidAnswerError,
    InvalidParamsError,
    MethodNotFoundError,
    RequestRefusedError,
    ServiceException,
    UnknownError,
)
from gemstone_events.rpc.client.answers import check_silence, read_batch, read_single
from gemstone_events.rpc.client.requests import MethodCall

CALL = MethodCall("add", [1, 2], 1)


def answer(**members: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


ERROR = {"code": -32602, "message": "Invalid params", "data": "b is missing"}


@pytest.mark.parametrize(
    "body",
    [
        answer(result=3, id=1),
        answer(result=3, error=None, id=1),  # as old gemstone answers
    ],
)
def test_a_result_is_taken_from_strict_and_from_old_servers(body: bytes) -> None:
    result = read_single(body, CALL)
    assert (result.result, result.error, result.id, result.method_call) == (3, None, 1, CALL)


def test_a_result_may_be_null() -> None:
    assert read_single(answer(result=None, id=1), CALL).unwrap() is None


@pytest.mark.parametrize("members", [{}, {"result": None}])
@pytest.mark.parametrize("identity", [1, None])
def test_an_error_is_raised_with_code_message_and_data(members: dict[str, object], identity: object) -> None:
    with pytest.raises(InvalidParamsError) as raised:
        read_single(answer(error=ERROR, id=identity, **members), CALL)
    assert (raised.value.code, raised.value.message, raised.value.data) == (-32602, "Invalid params", "b is missing")


def test_an_error_of_the_services_own_is_an_unknown_error() -> None:
    with pytest.raises(UnknownError) as raised:
        read_single(answer(error={"code": 1001, "message": "Out of stock"}, id=1), CALL)
    assert raised.value.code == 1001


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"nonsense",
        b"3",
        b"[]",
        b"null",
        b'{"jsonrpc":"2.0","result":NaN,"id":1}',
        b'{"jsonrpc":"2.0","result":1,"result":2,"id":1}',
        b"[" * 100_000,
        b'{"result":3,"id":1}',
        answer(result=3),
        answer(result=3, id=None),
        answer(result=3, id=2),
        answer(result=3, id="1"),
        answer(result=3, id=True),
        answer(result=3, id=1.0),
        answer(id=1),
        answer(error=None, id=1),
        answer(error="no", id=1),
        answer(error={"code": "x", "message": "y"}, id=1),
        answer(error={"code": True, "message": "y"}, id=1),
        answer(error={"code": 5}, id=1),
        answer(error=ERROR, id=2),
        answer(error=ERROR, result=3, id=1),
    ],
)
def test_what_is_no_answer_to_the_call_leaves_its_outcome_unknown(body: bytes | None) -> None:
    with pytest.raises(InvalidAnswerError):
        read_single(body, CALL)


def batch(*items: dict[str, object]) -> bytes:
    return json.dumps([{"jsonrpc": "2.0", **item} for item in items]).encode()


def test_the_results_of_a_batch_come_in_the_order_of_the_calls() -> None:
    calls = [MethodCall("m", id=identity) for identity in (1, "1", 3)]
    results = read_batch(batch({"result": "c", "id": 3}, {"result": "a", "id": 1}, {"result": "b", "id": "1"}), calls)
    assert [result.result for result in results] == ["a", "b", "c"]
    assert len(results) == 3
    assert results.get_response_for_call(calls[2]).result == "c"
    with pytest.raises(KeyError):
        results.get_response_for_call(MethodCall("another"))


def test_each_result_of_a_batch_carries_its_own_error() -> None:
    good, bad = MethodCall("m", id=1), MethodCall("n", id=2)
    results = read_batch(
        batch({"error": ERROR, "result": None, "id": 2}, {"result": 1, "error": None, "id": 1}), [good, bad]
    )
    assert results.get_response_for_call(good).successful
    failed = results.get_response_for_call(bad)
    assert not failed.successful
    with pytest.raises(InvalidParamsError):
        failed.unwrap()


def test_a_call_without_an_answer_of_its_own_in_a_batch_has_an_unknown_outcome() -> None:
    missing, twice, mad, fine = (MethodCall("m", id=identity) for identity in range(4))
    body = batch(
        {"result": 1, "id": 1}, {"result": 2, "id": 1}, {"id": 2}, {"result": 3, "id": 3}, {"result": 4, "id": 99}
    )
    results = read_batch(body, [missing, twice, mad, fine])
    assert [type(result.error) for result in results] == [InvalidAnswerError] * 3 + [type(None)]
    assert results.get_response_for_call(fine).result == 3


def test_a_batch_that_is_refused_as_a_whole_raises() -> None:
    with pytest.raises(RequestRefusedError) as raised:
        read_batch(answer(error={"code": -32600, "message": "Invalid Request"}, id=None), [CALL])
    assert raised.value.code == -32600


@pytest.mark.parametrize("body", [None, b"x", answer(result=3, id=1), b"3"])
def test_something_else_than_a_list_is_no_answer_to_a_batch(body: bytes | None) -> None:
    with pytest.raises(InvalidAnswerError):
        read_batch(body, [CALL])


@pytest.mark.parametrize("body", [None, b"[]", answer(result=None, error=None), b"OK"])
def test_what_servers_say_to_notifications_is_passed_over(body: bytes | None) -> None:
    check_silence(body)
    assert len(read_batch(body, [])) == 0


def test_a_notification_that_could_not_be_read_raises() -> None:
    with pytest.raises(MethodNotFoundError):
        check_silence(answer(error={"code": -32601, "message": "Method not found"}, id=None))


def test_a_method_that_is_not_there_is_named_with_its_service() -> None:
    error = {"code": -32601, "message": "Method not found"}
    with pytest.raises(MethodNotFoundError) as raised:
        read_single(answer(error=error, id=1), CALL, "amqp://host/#billing")
    assert str(raised.value) == "Method not found: 'add' of amqp://host/#billing"
    assert raised.value.message == "Method not found"
    [result] = read_batch(b"[%b]" % answer(error=error, id=1), [CALL], "amqp://host/#billing")
    assert str(result.error) == "Method not found: 'add' of amqp://host/#billing"


@pytest.mark.parametrize("code", [-32600, -32700])
def test_a_request_that_is_none_was_not_carried_out_and_a_methods_own_error_of_that_code_may_be(code: int) -> None:
    error = {"code": code, "message": "no", "data": "why"}
    with pytest.raises(RequestRefusedError, match="no: why"):
        read_single(answer(error=error, id=None), CALL)
    with pytest.raises(UnknownError):
        read_single(answer(error=error, id=1), CALL)


@pytest.mark.parametrize(
    "error", [MethodNotFoundError("no"), UnknownError("mine", code=1001, data={"left": 0}), CallTimeoutError("late")]
)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_outlive_copying_and_pickling(
    error: ServiceException, duplicate: Callable[[ServiceException], ServiceException]
) -> None:
    twin = duplicate(error)
    assert type(twin) is type(error)
    assert (str(twin), twin.code, twin.message, twin.data) == (str(error), error.code, error.message, error.data)
