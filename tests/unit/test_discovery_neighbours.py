"""Which address of a service that was found is called, and which one after it."""

from collections.abc import Sequence

import pytest

from gemstone_events.neighbours import LocatedPool
from gemstone_events.rpc.call_errors import (
    OutcomeUnknownError,
    RequestRefusedError,
    ServiceException,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.caller import Caller
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.wire import ClientWire, WireRequest
from gemstone_events.rpc.wire_pool import WirePool
from tests.unit.rpc_client_fake import FakeWire, echo

A, B, C = "http://a/api", "http://b/api", "amqp://c/v#orders"


class Addresses(WirePool):
    """Answers at all addresses but those that are to fail."""

    def __init__(self, failures: dict[str, ServiceException]) -> None:
        super().__init__()
        self.failures = failures
        self.called: list[str] = []

    def wire_for(self, url: str) -> ClientWire:
        async def answer(request: WireRequest) -> bytes | None:
            self.called.append(url)
            if url in self.failures:
                raise self.failures[url]
            return await echo(request)

        return FakeWire(answer, self.settings)


async def call(pool: LocatedPool) -> None:
    """Call the service once, as whoever got it first at ``A``."""
    caller = Caller(A)
    await caller.call(pool, caller.prepare(MethodCall("count")))


async def test_where_an_address_cannot_be_reached_the_next_one_is_called_and_the_calls_after_it_begin_there() -> None:
    addresses = Addresses({A: ServiceUnreachableError("refused"), B: ServiceNotFoundError("nobody")})
    pool = LocatedPool(addresses, [A, B, C])
    await call(pool)
    await call(pool)
    assert addresses.called == [A, B, C, C]


@pytest.mark.parametrize("failure", [RequestRefusedError("too long"), OutcomeUnknownError("lost")])
async def test_a_call_that_was_refused_or_may_have_been_carried_out_goes_nowhere_else(
    failure: ServiceException,
) -> None:
    addresses = Addresses({A: failure})
    with pytest.raises(type(failure)):
        await call(LocatedPool(addresses, [A, B]))
    assert addresses.called == [A]


@pytest.mark.parametrize(("urls", "notes"), [([A], 1), ([A, B], 2)])
async def test_where_none_can_be_reached_the_failure_names_them_all(urls: Sequence[str], notes: int) -> None:
    addresses = Addresses({url: ServiceUnreachableError(f"{url} refused") for url in urls})
    pool = LocatedPool(addresses, urls)
    with pytest.raises(ServiceUnreachableError, match=f"{urls[-1]} refused") as failed:
        await call(pool)
    assert len(failed.value.__notes__) == notes
    assert notes == 1 or failed.value.__notes__[0] == f"none could be reached of {A}, {B}"
    addresses.failures.clear()
    await call(pool)
    assert addresses.called == [*urls, A]
