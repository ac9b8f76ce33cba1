"""Requests and responses on the wire, without a dispatcher."""

import json

import pytest

from gemstone_events.errors import GemstoneError
from gemstone_events.rpc.errors import (
    AccessDenied,
    DeadlineExceeded,
    InternalError,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    Overloaded,
    ParseError,
    RpcError,
)
from gemstone_events.rpc.protocol import JsonRpcRequest, JsonRpcResponse, read_body, read_request, write_response
from gemstone_events.strict_json import JsonValue

VALID: dict[str, JsonValue] = {"jsonrpc": "2.0", "method": "add", "params": [1], "id": 1}


def test_a_request_is_read_with_all_its_members() -> None:
    assert read_request(VALID) == JsonRpcRequest("add", [1], 1, {}, False)


@pytest.mark.parametrize("request_id", [0, "", "a", -1, 2**63, None])
def test_every_id_that_is_a_string_an_integer_or_null_belongs_to_a_request(request_id: str | int | None) -> None:
    request = read_request({**VALID, "id": request_id})

    assert (request.id, request.is_notification) == (request_id, False)


def test_a_request_without_id_is_a_notification() -> None:
    assert read_request({"jsonrpc": "2.0", "method": "add"}) == JsonRpcRequest("add", (), None, {}, True)


def test_further_members_are_kept_as_extra() -> None:
    assert read_request({**VALID, "trace": "t", "tenant": 7}).extra == {"trace": "t", "tenant": 7}


@pytest.mark.parametrize(
    "value",
    [
        None, 1, "x", [], {},
        {**VALID, "jsonrpc": "1.0"},
        {**VALID, "jsonrpc": 2.0},
        {"method": "add", "id": 1},
        {"jsonrpc": "2.0", "id": 1},
        {**VALID, "method": None},
        {**VALID, "method": 1},
        {**VALID, "method": ["add"]},
        {**VALID, "params": "bar"},
        {**VALID, "params": 1},
        {**VALID, "params": None},
        {**VALID, "params": True},
        {**VALID, "id": True},
        {**VALID, "id": False},
        {**VALID, "id": 1.5},
        {**VALID, "id": 1.0},
        {**VALID, "id": []},
        {**VALID, "id": {}},
    ],
)  # fmt: skip
def test_what_is_not_a_request_object_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        read_request(value)  # type: ignore[arg-type]


def test_null_params_are_taken_from_old_gemstone_clients_only() -> None:
    assert read_request({**VALID, "params": None}, legacy=True).params == ()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{'a': 1}", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": 1, "a": 2}', b"[" * 33 + b"]" * 33, b"\xff\xfe"],
)
def test_what_is_not_strict_json_is_a_parse_error(body: bytes) -> None:
    with pytest.raises(ParseError):
        read_body(body)


@pytest.mark.parametrize(
    "request_object",
    [
        JsonRpcRequest("add", [1, 2], 3),
        JsonRpcRequest("add", {"a": 1}, "x", {"trace": "t"}),
        JsonRpcRequest("add", (), None),
        JsonRpcRequest("add", (), None, {}, True),
    ],
)
def test_a_request_reads_as_it_was_written(request_object: JsonRpcRequest) -> None:
    assert read_request(request_object.to_dict()) == request_object


def test_a_response_carries_exactly_one_of_result_and_error() -> None:
    assert json.loads(write_response(JsonRpcResponse(0, None))) == {"jsonrpc": "2.0", "result": None, "id": 0}
    assert json.loads(write_response(JsonRpcResponse("", error=MethodNotFound()))) == {
        "jsonrpc": "2.0",
        "error": {"code": -32601, "message": "Method not found"},
        "id": "",
    }


def test_the_legacy_envelope_carries_both() -> None:
    assert json.loads(write_response(JsonRpcResponse(1, 5), legacy=True)) == {
        "jsonrpc": "2.0", "result": 5, "error": None, "id": 1,
    }  # fmt: skip
    assert json.loads(write_response(JsonRpcResponse(1, error=InternalError()), legacy=True)) == {
        "jsonrpc": "2.0", "result": None, "error": {"code": -32603, "message": "Internal error"}, "id": 1,
    }  # fmt: skip


@pytest.mark.parametrize("result", [float("nan"), {1, 2}, object(), 2**64, "\ud800", {"x": b"bytes"}])
def test_a_result_that_is_not_strict_json_cannot_be_written(result: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        write_response(JsonRpcResponse(1, result))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ParseError, -32700), (InvalidRequest, -32600), (MethodNotFound, -32601), (InvalidParams, -32602),
        (InternalError, -32603), (AccessDenied, -32001), (DeadlineExceeded, -32002), (Overloaded, -32003),
    ],
)  # fmt: skip
def test_every_error_has_its_code(error: type[RpcError], code: int) -> None:
    assert error().to_dict()["code"] == code
    assert issubclass(error, GemstoneError)


def test_an_error_of_the_authors_own_carries_code_message_and_data() -> None:
    class OutOfStock(RpcError):
        code, message = 1001, "Out of stock"

    assert OutOfStock(data={"left": 0}).to_dict() == {"code": 1001, "message": "Out of stock", "data": {"left": 0}}
    assert RpcError("gone", code=7).to_dict() == {"code": 7, "message": "gone"}
    assert str(OutOfStock()) == "Out of stock (1001)"
