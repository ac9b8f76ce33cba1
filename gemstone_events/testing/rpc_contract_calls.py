"""Scenarios: sizes, many calls at once, what travels with a call, and its deadline."""

import asyncio
import json

import pytest

from gemstone_events.rpc.call_context import IDEMPOTENCY_HEADER, TRACE_HEADER
from gemstone_events.rpc.call_errors import CallTimeoutError, OutcomeUnknownError, ServiceUnreachableError
from gemstone_events.rpc.dispatcher import DispatchLimits
from gemstone_events.rpc.wire import ClientSettings, WireRequest
from gemstone_events.testing.rpc_contract_harness import DEADLINE, SECRET, SOON, Callers, RpcHarness, eventually

_MEBIBYTE = 1024 * 1024
_SLOW = b'{"jsonrpc": "2.0", "method": "slow", "id": 1}'
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class CallsContract(RpcHarness):
    """Each call gets its own answer, in time, or an exception that says what is known."""

    async def test_a_body_of_a_mebibyte_comes_and_goes(self, callers: Callers) -> None:
        instance = await callers.serve()
        text = "0123456789abcdef" * (_MEBIBYTE // 16)
        assert await callers.call(instance, "echo", text) == text

    async def test_a_body_that_is_too_long_is_not_carried_out(self, callers: Callers) -> None:
        # Where the wire brings it to the service's door, the service says so itself.
        instance = await callers.serve(body_bytes=100_000)
        body = b'{"jsonrpc": "2.0", "method": "echo", "params": ["%b"], "id": 1}'
        try:
            refusal = await callers.send(instance, body % (b"x" * 150_000))
        except ServiceUnreachableError:
            pass
        else:
            assert refusal is not None
            assert json.loads(refusal)["error"]["code"] == -32600
        assert instance.calls == []
        assert await callers.call(instance, "echo", "x" * 50_000) == "x" * 50_000

    async def test_an_answer_that_the_service_may_not_give_is_an_internal_error(self, callers: Callers) -> None:
        instance = await callers.serve(limits=DispatchLimits(response_bytes=1000))
        assert await callers.call(instance, "repeat", "x", 2000) == {"code": -32603, "message": "Internal error"}
        assert await callers.call(instance, "repeat", "x", 500) == "x" * 500

    async def test_an_answer_that_is_too_long_for_its_caller_is_an_exception(self, callers: Callers) -> None:
        instance = await callers.serve()
        narrow = callers.make_client(ClientSettings(body_bytes=10_000))
        body = b'{"jsonrpc": "2.0", "method": "repeat", "params": ["x", %d], "id": 1}'
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(OutcomeUnknownError):
                await narrow.call(instance.served.url, WireRequest(body % 100_000, DEADLINE))
            answer = await narrow.call(instance.served.url, WireRequest(body % 5, DEADLINE))
        assert answer == b'{"jsonrpc":"2.0","result":"xxxxx","id":1}'

    async def test_a_hundred_calls_at_once_each_get_their_own_answer(self, callers: Callers) -> None:
        instance = await callers.serve()
        answers = await asyncio.gather(*(callers.call(instance, "echo", number) for number in range(100)))
        assert answers == list(range(100))

    async def test_a_slow_call_holds_back_no_other(self, callers: Callers) -> None:
        instance = await callers.serve()
        slow = callers.begin(instance, _SLOW)
        await eventually(lambda: instance.running == 1, "the slow call")
        assert await callers.call(instance, "echo", "quick") == "quick"
        assert not slow.done()
        instance.gate.set()
        assert await slow == b'{"jsonrpc":"2.0","result":"%b","id":1}' % instance.id.encode()

    async def test_no_more_calls_run_at_once_than_the_service_takes(self, callers: Callers) -> None:
        self.need("bounds")
        instance = await callers.serve(concurrency=3)
        calls = [callers.begin(instance, _SLOW) for _ in range(10)]
        await eventually(lambda: instance.running == 3, "three calls")
        instance.gate.set()
        assert len(set(await asyncio.gather(*calls))) == 1
        assert (instance.finished, instance.most) == (10, 3)

    async def test_a_call_knows_nothing_of_those_before_it(self, callers: Callers) -> None:
        instance = await callers.serve(concurrency=1)
        marks = (callers.call(instance, "mark", f"of call {number}") for number in range(5))
        assert await asyncio.gather(*marks) == ["none"] * 5
        assert await callers.call(instance, "mark", "the last") == "none"

    async def test_a_client_sends_no_more_calls_than_it_may(self, callers: Callers) -> None:
        instance = await callers.serve()
        client = callers.make_client(ClientSettings(pending=2))
        loop = asyncio.get_running_loop()
        waiting = [loop.create_task(client.call(instance.served.url, WireRequest(_SLOW, DEADLINE))) for _ in range(2)]
        await eventually(lambda: instance.running == 2, "two calls")
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(ServiceUnreachableError):
                await client.call(instance.served.url, WireRequest(_SLOW, DEADLINE))
            instance.gate.set()
            await asyncio.gather(*waiting)
        assert instance.finished == 2

    @pytest.mark.parametrize(
        ("name", "value"),
        [("authorization", SECRET), (TRACE_HEADER, _TRACE), (IDEMPOTENCY_HEADER, "order-17"), ("x-tenant", "blue sky")],
    )
    async def test_a_header_arrives(self, callers: Callers, name: str, value: str) -> None:
        instance = await callers.serve()
        await callers.call(instance, "echo", 1, headers={name: value})
        assert instance.contexts[0].headers.get(name) == value

    async def test_the_key_of_a_call_reaches_the_service(self, callers: Callers) -> None:
        instance = await callers.serve()
        await callers.call(instance, "echo", 1, headers={IDEMPOTENCY_HEADER: "order-17"})
        assert instance.contexts[0].idempotency_key == "order-17"

    async def test_the_service_knows_who_calls(self, callers: Callers) -> None:
        self.need("knows_peers")
        instance = await callers.serve()
        await callers.call(instance, "echo", 1)
        assert instance.contexts[0].peer
        assert instance.contexts[0].wire

    async def test_a_method_may_ask_for_the_wires_handler(self, callers: Callers) -> None:
        instance = await callers.serve()
        assert isinstance(await callers.call(instance, "who"), str)

    async def test_the_time_that_its_caller_waits_travels_with_a_call(self, callers: Callers) -> None:
        instance = await callers.serve()
        await callers.call(instance, "echo", 1, timeout=17.0)
        timeout = instance.contexts[0].timeout
        assert timeout is not None
        assert 0 < timeout <= 17.0

    async def test_a_call_that_takes_too_long_ends_with_its_deadline(self, callers: Callers) -> None:
        instance = await callers.serve()
        with pytest.raises(CallTimeoutError):
            await callers.send(instance, _SLOW, timeout=SOON)
        assert instance.calls == ["slow"]
        assert await callers.call(instance, "echo", "after") == "after"

    async def test_a_call_whose_turn_comes_too_late_never_runs(self, callers: Callers) -> None:
        self.need("bounds")
        instance = await callers.serve(concurrency=1)
        first = callers.begin(instance, _SLOW)
        await eventually(lambda: instance.running == 1, "the first call")
        for _ in range(2):  # those that come later may not even be read by the service yet
            late = (callers.call(instance, "refuse", timeout=SOON) for _ in range(5))
            ends = await asyncio.gather(*late, return_exceptions=True)
            assert all(isinstance(end, CallTimeoutError | ServiceUnreachableError) for end in ends), ends
        # Where a broker is between, it begins to count when a call reaches it: one more call lets that time pass, too.
        with pytest.raises((CallTimeoutError, ServiceUnreachableError)):
            await callers.call(instance, "break", timeout=5 * SOON)
        instance.gate.set()
        await first
        assert await callers.call(instance, "echo", "after") == "after"
        assert "refuse" not in instance.calls, instance.calls

    async def test_cancelling_the_caller_leaves_the_method_running_to_its_end(self, callers: Callers) -> None:
        instance = await callers.serve()
        call = callers.begin(instance, _SLOW)
        await eventually(lambda: instance.running == 1, "the call")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await callers.call(instance, "echo", "meanwhile") == "meanwhile"
        assert instance.running == 1
        instance.gate.set()
        await eventually(lambda: instance.finished == 1, "the end of the method")

    async def test_answers_that_come_too_late_go_to_nobody_else(self, callers: Callers) -> None:
        instance = await callers.serve()
        calls = [callers.begin(instance, _SLOW) for _ in range(20)]
        await eventually(lambda: instance.running == 20, "20 calls")
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        instance.gate.set()
        answers = await asyncio.gather(*(callers.call(instance, "echo", number) for number in range(100)))
        assert answers == list(range(100))
        assert callers.client.counts.unexpected == 0
