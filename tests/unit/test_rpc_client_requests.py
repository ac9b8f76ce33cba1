"""What clients send, and what they refuse to."""

import copy
import json
import pickle

import pytest

from gemstone_events import strict_json
from gemstone_events.rpc.client.requests import MethodCall, Notification, Request, request_object


def sent(request: Request) -> object:
    return json.loads(strict_json.dumps(request_object(request).to_dict()))


def test_a_call_is_sent_with_its_parameters_and_id() -> None:
    assert sent(MethodCall("add", [1, 2], 7)) == {"jsonrpc": "2.0", "method": "add", "params": [1, 2], "id": 7}
    named = MethodCall("add", {"a": 1}, "x")
    assert sent(named) == {"jsonrpc": "2.0", "method": "add", "params": {"a": 1}, "id": "x"}


def test_parameters_that_are_not_there_are_not_sent() -> None:
    assert sent(MethodCall("add", id=1)) == {"jsonrpc": "2.0", "method": "add", "id": 1}
    assert sent(MethodCall("add", [], 1)) == sent(MethodCall("add", {}, 1)) == sent(MethodCall("add", id=1))


def test_a_notification_has_no_id_even_if_one_is_given() -> None:
    assert sent(Notification("add", (1,), 5)) == {"jsonrpc": "2.0", "method": "add", "params": [1]}


def test_each_call_gets_an_id_of_its_own() -> None:
    assert len({MethodCall("add").id for _ in range(1000)}) == 1000


def test_ids_that_are_falsy_are_kept() -> None:
    assert MethodCall("add", id=0).id == 0
    assert MethodCall("add", id="").id == ""


@pytest.mark.parametrize("identity", [True, 1.5, [1], {}, b"x"])
def test_an_id_is_a_text_or_a_whole_number(identity: str) -> None:
    with pytest.raises(ValueError, match="the id of a call is"):
        MethodCall("add", id=identity)


@pytest.mark.parametrize("params", ["text", b"bytes", 5, {1, 2}])
def test_parameters_are_a_list_or_a_dict(params: object) -> None:
    with pytest.raises(ValueError, match="list or a dict"):
        MethodCall("add", params)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5", 1e9, 10**400])
def test_no_call_may_wait_for_ever(timeout: float) -> None:
    with pytest.raises(ValueError, match="seconds above 0"):
        MethodCall("add", timeout=timeout)


@pytest.mark.parametrize("key", ["", "a\nb", 5, False])
def test_an_idempotency_key_is_a_printable_text(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency key"):
        MethodCall("add", idempotency_key=key)


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_method_has_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="name of a method"):
        Notification(name)


def test_what_is_shown_of_a_call_holds_no_headers() -> None:
    assert "secret" not in repr(MethodCall("add", headers={"authorization": "secret"}))


def test_calls_and_notifications_can_be_copied_and_pickled() -> None:
    for request in (MethodCall("add", [1], 7, timeout=3), Notification("add", {"a": 1}, idempotent=True)):
        for twin in (copy.copy(request), copy.deepcopy(request), pickle.loads(pickle.dumps(request))):
            assert (type(twin), repr(twin)) == (type(request), repr(request))
            assert twin != request
