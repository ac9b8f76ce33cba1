"""Scenarios: services that come, go, and are not there."""

import asyncio
from urllib.parse import urlsplit

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    OutcomeUnknownError,
    ServiceException,
    ServiceUnreachableError,
)
from gemstone_events.rpc.wire import WireRequest
from gemstone_events.testing.rpc_contract_harness import DEADLINE, SOON, Callers, Instance, RpcHarness, eventually

_CLOSE_SECONDS = 6.0  # the port's five, and a little for a slow machine
_SLOW = b'{"jsonrpc": "2.0", "method": "slow", "id": 1}'


class LifecycleContract(RpcHarness):
    """Nothing hangs, whoever comes and goes."""

    async def test_a_service_that_never_was_is_an_error_at_once(self, callers: Callers) -> None:
        absent = callers.make()
        with pytest.raises(self.features.absent):
            await callers.call(absent, "echo", 1)

    async def test_a_service_that_stopped_is_an_error_at_once(self, callers: Callers) -> None:
        instance = await callers.serve()
        assert await callers.call(instance, "echo", 1) == 1
        assert await instance.served.stop(DEADLINE)
        await instance.served.close()
        with pytest.raises(self._absent_lately()) as caught:
            await callers.call(instance, "echo", 2)
        assert not isinstance(caught.value, CallTimeoutError)
        assert instance.calls == ["echo"]

    async def test_a_service_that_stopped_but_is_not_closed_is_an_error_at_once(self, callers: Callers) -> None:
        self.need("knows_at_once")
        instance = await callers.serve()
        assert await callers.call(instance, "echo", 1) == 1
        assert await instance.served.stop(DEADLINE)
        with pytest.raises(self.features.absent):
            await callers.call(instance, "echo", 2)
        assert instance.calls == ["echo"]

    async def test_a_service_that_comes_back_is_called_again(self, callers: Callers) -> None:
        self.need("shares")
        first = await callers.serve()
        assert await callers.call(first, "echo", 1) == 1
        await first.served.stop(DEADLINE)
        await first.served.close()
        second = await callers.serve()
        assert await callers.call(second, "echo", 2) == 2

    async def test_the_status_tells_whether_calls_come_in(self, callers: Callers) -> None:
        instance = callers.make()
        assert not instance.served.status().serving
        await instance.start()
        assert instance.served.status().detail == ""
        await instance.served.stop(DEADLINE)
        assert not instance.served.status().serving

    async def test_a_running_call_is_finished_and_answered_while_its_service_stops(self, callers: Callers) -> None:
        instance = await callers.serve()
        call = callers.begin(instance, _SLOW)
        await eventually(lambda: instance.running == 1, "the call")
        stopping = asyncio.get_running_loop().create_task(instance.served.stop(DEADLINE))
        await eventually(lambda: not instance.served.status().serving, "the stop")
        assert not stopping.done()
        instance.gate.set()
        assert await call == b'{"jsonrpc":"2.0","result":"%b","id":1}' % instance.id.encode()
        assert await stopping

    async def test_a_call_that_outlasts_the_stop_is_cancelled_and_its_outcome_unknown(self, callers: Callers) -> None:
        instance = await callers.serve()
        call = callers.begin(instance, _SLOW)
        await eventually(lambda: instance.running == 1, "the call")
        async with asyncio.timeout(DEADLINE):
            assert not await instance.served.stop(SOON)
            await instance.served.close()
            with pytest.raises(OutcomeUnknownError):
                await call
        assert (instance.running, instance.finished) == (0, 0)

    async def test_closing_a_client_ends_what_is_pending(self, callers: Callers) -> None:
        instance = await callers.serve()
        call = callers.begin(instance, _SLOW)
        await eventually(lambda: instance.running == 1, "the call")
        async with asyncio.timeout(_CLOSE_SECONDS):
            await callers.client.close()
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(OutcomeUnknownError):
                await call
        instance.gate.set()
        await eventually(lambda: instance.finished == 1, "the end of the method")

    async def test_closing_a_client_ends_what_is_pending_on_a_service_that_is_stopping(self, callers: Callers) -> None:
        instance = await callers.serve()
        call = callers.begin(instance, _SLOW)
        await eventually(lambda: instance.running == 1, "the call")
        stopping = asyncio.get_running_loop().create_task(instance.served.stop(DEADLINE))
        await eventually(lambda: not instance.served.status().serving, "the stop")
        async with asyncio.timeout(_CLOSE_SECONDS):
            await callers.client.close()
        async with asyncio.timeout(SOON * 10):
            with pytest.raises(OutcomeUnknownError):
                await call
        instance.gate.set()
        assert await stopping

    async def test_closing_twice_or_unopened_is_harmless(self, callers: Callers) -> None:
        unopened = callers.make()
        await unopened.served.close()
        await unopened.served.close()
        instance = await callers.serve()
        assert await callers.call(instance, "echo", 1) == 1
        await callers.client.close()
        await callers.client.close()
        await instance.served.stop(DEADLINE)
        await instance.served.stop(DEADLINE)
        await instance.served.close()
        await instance.served.close()

    async def test_closing_in_the_middle_of_many_calls_ends_them_all(self, callers: Callers) -> None:
        instance = await callers.serve()
        calls = [callers.begin(instance, _SLOW) for _ in range(50)]
        await eventually(lambda: instance.running == 50, "50 calls")
        async with asyncio.timeout(_CLOSE_SECONDS):
            await instance.served.close()
        async with asyncio.timeout(DEADLINE):
            ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {isinstance(end, OutcomeUnknownError | ServiceUnreachableError) for end in ends} == {True}

    async def test_two_instances_share_the_calls(self, callers: Callers) -> None:
        self.need("shares")
        first, second = await callers.serve(), await callers.serve()
        for number in range(40):
            assert await callers.call(first, "echo", number) == number
        assert len(first.calls) + len(second.calls) == 40
        assert first.calls
        assert second.calls

    async def test_calls_go_on_while_one_of_two_instances_leaves(self, callers: Callers) -> None:
        self.need("shares")
        first, second = await callers.serve(), await callers.serve()

        async def call_on(caller: int) -> None:
            for number in range(20):
                assert await callers.call(second, "echo", [caller, number]) == [caller, number]

        going_on = asyncio.gather(*(call_on(caller) for caller in range(10)))
        await eventually(lambda: len(first.calls) > 5, "calls of the first instance")
        assert await first.served.stop(DEADLINE)
        await first.served.close()
        await going_on
        assert len(first.calls) + len(second.calls) == 200

    async def test_who_serves_can_be_found(self, callers: Callers) -> None:
        self.need("finds")
        first, second = await callers.serve("orders"), await callers.serve("orders")
        billing = await callers.serve("billing.eu")
        assert await self._find(callers, first, "*") == sorted([first.id, second.id, billing.id])
        assert await self._find(callers, first, "orders") == sorted([first.id, second.id])
        assert await self._find(callers, first, "bill*") == [billing.id]
        assert await self._find(callers, first, "?rders") == sorted([first.id, second.id])
        assert await self._find(callers, first, "nobody") == []
        await second.served.stop(DEADLINE)
        await second.served.close()
        assert await self._find(callers, first, "*") == sorted([first.id, billing.id])

    async def test_who_serves_tells_what_it_says_of_itself(self, callers: Callers) -> None:
        self.need("finds")
        instance = await callers.serve()
        found = await callers.client.find(instance.served.url, "orders", SOON)
        assert list(found) == [instance.presence()]

    async def test_a_wire_that_finds_nobody_says_so(self, callers: Callers) -> None:
        if self.features.finds:
            pytest.skip("the wire finds services")
        instance = await callers.serve()
        with pytest.raises(ServiceConfigurationError):
            await callers.client.find(instance.served.url, "*", SOON)

    async def test_an_address_is_stable_and_holds_no_password(self, callers: Callers) -> None:
        instance = await callers.serve()
        client, other = callers.client, callers.make_client()
        assert client.address(instance.served.url) == other.address(instance.served.url)
        assert urlsplit(client.address(instance.served.url)).password is None

    @pytest.mark.parametrize("url", ["", "orders", "ftp://host/orders", "#orders"])
    async def test_a_url_of_something_else_is_refused(self, callers: Callers, url: str) -> None:
        with pytest.raises(ServiceConfigurationError):
            callers.client.address(url)
        with pytest.raises(ServiceConfigurationError):
            await callers.client.call(url, WireRequest(_SLOW, SOON))

    def _absent_lately(self) -> tuple[type[ServiceException], ...]:
        return (self.features.absent,) if self.features.knows_at_once else (self.features.absent, OutcomeUnknownError)

    async def _find(self, callers: Callers, instance: Instance, pattern: str) -> list[str]:
        """Return the ids of those who are found, sorted."""
        found = await callers.client.find(instance.served.url, pattern, SOON)
        assert all(presence.matches(pattern) for presence in found)
        return sorted(presence.instance for presence in found)
