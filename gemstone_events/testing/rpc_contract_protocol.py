"""Scenarios: JSON-RPC 2.0 as it is written, and what bad input gets."""

import json
from typing import NamedTuple

import pytest

from gemstone_events.rpc.dispatcher import DispatchLimits
from gemstone_events.testing.rpc_contract_harness import SECRET, Callers, RpcHarness, eventually

_PARSE_ERROR = b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}'
_INVALID = b'{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}'


class Example(NamedTuple):
    """An example of the specification, section 7: what is sent, and what is answered, without its blanks."""

    name: str
    request: bytes
    answer: bytes | None


EXAMPLES = (
    Example(
        "positional parameters",
        b'{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        b'{"jsonrpc":"2.0","result":19,"id":1}',
    ),
    Example(
        "positional parameters, turned around",
        b'{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        b'{"jsonrpc":"2.0","result":-19,"id":2}',
    ),
    Example(
        "named parameters",
        b'{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        b'{"jsonrpc":"2.0","result":19,"id":3}',
    ),
    Example(
        "named parameters, turned around",
        b'{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        b'{"jsonrpc":"2.0","result":19,"id":4}',
    ),
    Example("a notification", b'{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    Example("a notification of a method that does not exist", b'{"jsonrpc": "2.0", "method": "foobar"}', None),
    Example(
        "a call of a method that does not exist",
        b'{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        b'{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":"1"}',
    ),
    Example("invalid JSON", b'{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', _PARSE_ERROR),
    Example("an invalid request", b'{"jsonrpc": "2.0", "method": 1, "params": "bar"}', _INVALID),
    Example(
        "a batch that is invalid JSON",
        b"""[
  {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
  {"jsonrpc": "2.0", "method"
]""",
        _PARSE_ERROR,
    ),
    Example("an empty array", b"[]", _INVALID),
    Example("an invalid batch, not empty", b"[1]", b"[" + _INVALID + b"]"),
    Example("an invalid batch", b"[1,2,3]", b"[" + b",".join([_INVALID] * 3) + b"]"),
    Example(
        "a batch",
        b"""[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
    ]""",
        b'[{"jsonrpc":"2.0","result":7,"id":"1"},{"jsonrpc":"2.0","result":19,"id":"2"},'
        + _INVALID
        + b',{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":"5"},'
        + b'{"jsonrpc":"2.0","result":["hello",5],"id":"9"}]',
    ),
    Example(
        "a batch of notifications",
        b"""[
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
    ]""",
        None,
    ),
)

TRAPS = {
    "nothing": b"",
    "a truncated object": b'{"jsonrpc": "2.0", "method": "echo", "params": ["a"], "id": 1',
    "NaN": b'{"jsonrpc": "2.0", "method": "echo", "params": [NaN], "id": 1}',
    "a number beyond a double": b'{"jsonrpc": "2.0", "method": "echo", "params": [1e999], "id": 1}',
    "a repeated key": b'{"jsonrpc": "2.0", "method": "echo", "params": [1], "id": 1, "id": 2}',
    "an integer of 5000 digits": b'{"jsonrpc": "2.0", "method": "echo", "params": [' + b"7" * 5000 + b'], "id": 1}',
    "a lone surrogate": b'{"jsonrpc": "2.0", "method": "echo", "params": ["\\ud800"], "id": 1}',
    "a byte order mark": b'\xef\xbb\xbf{"jsonrpc": "2.0", "method": "echo", "params": [1], "id": 1}',
    "UTF-16": '{"jsonrpc": "2.0", "method": "echo", "params": [1], "id": 1}'.encode("utf-16"),
    "a depth of 100000": b"[" * 100_000,
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07danger!\x94.",
}


class ProtocolContract(RpcHarness):
    """The wire brings bodies to the dispatcher and answers back as they are."""

    @pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
    async def test_the_examples_of_the_specification_are_answered_byte_for_byte(
        self, callers: Callers, example: Example
    ) -> None:
        instance = await callers.serve()
        answer = await callers.send(instance, example.request, is_answered=example.answer is not None)
        assert answer == example.answer

    @pytest.mark.parametrize("trap", TRAPS)
    async def test_what_is_not_strict_json_is_a_parse_error(self, callers: Callers, trap: str) -> None:
        instance = await callers.serve()
        assert await callers.send(instance, TRAPS[trap]) == _PARSE_ERROR
        assert await callers.call(instance, "echo", "still here") == "still here"

    async def test_a_notification_is_carried_out(self, callers: Callers) -> None:
        instance = await callers.serve()
        body = b'{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}'
        assert await callers.send(instance, body, is_answered=False) is None
        await eventually(lambda: instance.calls == ["notify_hello"], "the notification")

    async def test_all_notifications_of_a_batch_are_carried_out(self, callers: Callers) -> None:
        instance = await callers.serve()
        one = b'{"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}'
        assert await callers.send(instance, b"[" + b",".join([one] * 20) + b"]", is_answered=False) is None
        await eventually(lambda: instance.calls == ["notify_hello"] * 20, "20 notifications")

    async def test_a_notification_that_fails_is_silent(self, callers: Callers) -> None:
        instance = await callers.serve()
        body = b'{"jsonrpc": "2.0", "method": "break"}'
        assert await callers.send(instance, body, is_answered=False) is None
        assert await callers.call(instance, "echo", 1) == 1

    async def test_parameters_that_do_not_fit_are_refused(self, callers: Callers) -> None:
        instance = await callers.serve()
        error = await callers.call(instance, "subtract", 42)
        assert isinstance(error, dict)
        assert (error["code"], error["message"]) == (-32602, "Invalid params")
        assert instance.calls == []

    async def test_an_error_of_the_service_brings_code_message_and_data(self, callers: Callers) -> None:
        instance = await callers.serve()
        error = await callers.call(instance, "refuse")
        assert error == {"code": 1001, "message": "Out of stock", "data": {"left": 0}}

    async def test_a_method_that_breaks_tells_nothing_of_how(self, callers: Callers) -> None:
        instance = await callers.serve()
        assert await callers.call(instance, "break") == {"code": -32603, "message": "Internal error"}

    async def test_a_private_method_is_denied_before_its_parameters_are_looked_at(self, callers: Callers) -> None:
        instance = await callers.serve()
        denied = {"code": -32001, "message": "Access denied"}
        assert await callers.call(instance, "secret", "a", "b", "too many") == denied
        assert await callers.call(instance, "secret", "a") == denied
        assert instance.calls == []

    async def test_a_private_method_can_be_called_with_leave(self, callers: Callers) -> None:
        instance = await callers.serve()
        assert await callers.call(instance, "secret", "sesame", headers={"authorization": SECRET}) == "sesame"
        wrong = await callers.call(instance, "secret", "sesame", headers={"authorization": f"{SECRET}!"})
        assert wrong == {"code": -32001, "message": "Access denied"}

    @pytest.mark.parametrize("id", [b"0", b'""', b"null", b"-1", b"18446744073709551615", '"ø"'.encode()])
    async def test_an_id_comes_back_as_it_was(self, callers: Callers, id: bytes) -> None:
        instance = await callers.serve()
        answer = await callers.send(instance, b'{"jsonrpc": "2.0", "method": "echo", "params": [1], "id": %b}' % id)
        assert answer == b'{"jsonrpc":"2.0","result":1,"id":%b}' % id

    @pytest.mark.parametrize("id", [b"1.5", b"1.0", b"[]", b"{}", b"true"])
    async def test_an_id_of_another_type_is_refused(self, callers: Callers, id: bytes) -> None:
        instance = await callers.serve()
        answer = await callers.send(instance, b'{"jsonrpc": "2.0", "method": "echo", "params": [1], "id": %b}' % id)
        assert answer == _INVALID
        assert instance.calls == []

    @pytest.mark.parametrize("method", ["__init__", "rpc.secret", "echo.__call__", "Echo", "a" * 1000, ""])
    async def test_a_name_that_is_not_exposed_is_not_found(self, callers: Callers, method: str) -> None:
        instance = await callers.serve()
        assert await callers.call(instance, method) == {"code": -32601, "message": "Method not found"}

    @pytest.mark.parametrize("text", ["Grüße, 世界 🌍", '\u0000\u001f\\"/\u2028', "e\u0301", ""])
    async def test_text_arrives_as_it_was_sent(self, callers: Callers, text: str) -> None:
        instance = await callers.serve()
        assert await callers.call(instance, "echo", text) == text

    async def test_a_batch_that_is_too_long_is_refused_whole(self, callers: Callers) -> None:
        instance = await callers.serve(limits=DispatchLimits(batch_size=3))
        one = b'{"jsonrpc": "2.0", "method": "echo", "params": [1], "id": 1}'
        taken = await callers.send(instance, b"[" + b",".join([one] * 3) + b"]")
        assert taken is not None
        assert [response["result"] for response in json.loads(taken)] == [1, 1, 1]
        refused = await callers.send(instance, b"[" + b",".join([one] * 4) + b"]")
        assert refused is not None
        assert json.loads(refused)["error"]["code"] == -32600
        assert len(instance.calls) == 3

    async def test_a_body_that_nests_too_deeply_is_refused(self, callers: Callers) -> None:
        instance = await callers.serve(limits=DispatchLimits(depth=5))
        taken = b'{"jsonrpc": "2.0", "method": "echo", "params": [[[[1]]]], "id": 1}'
        assert await callers.send(instance, taken) == b'{"jsonrpc":"2.0","result":[[[1]]],"id":1}'
        assert await callers.send(instance, taken.replace(b"1]]]]", b"[1]]]]]")) == _PARSE_ERROR
