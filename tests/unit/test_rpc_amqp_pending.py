"""Calls that wait for their answers."""

import asyncio

import pytest

from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    InvalidAnswerError,
    OutcomeUnknownError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.wire import WireCounts
from gemstone_events.rpc.wires.amqp.pending import PendingCall, PendingCalls


def begin(pending: PendingCalls, seconds: float = 60.0, *, written: bool = True) -> PendingCall:
    now = asyncio.get_running_loop().time()
    call = pending.begin("orders", now + seconds, True)
    call.written_at = now if written else 0.0
    return call


async def test_a_call_gets_its_answer() -> None:
    pending = PendingCalls(10, WireCounts())
    first, second = begin(pending), begin(pending)
    assert first.id != second.id
    assert pending.get(second.id) is second
    pending.succeed(second, b"2")
    assert await second.answer == b"2"
    assert pending.get(second.id) is None
    assert not first.answer.done()
    pending.end("tests are over")
    with pytest.raises(OutcomeUnknownError):
        await first.answer


async def test_each_call_is_given_up_at_its_own_deadline() -> None:
    counts = WireCounts()
    pending = PendingCalls(10, counts)
    long, short, unwritten = begin(pending, 60.0), begin(pending, 0.02), begin(pending, 0.01, written=False)
    with pytest.raises(ServiceUnreachableError, match="takes no messages"):
        await asyncio.wait_for(unwritten.answer, 5.0)
    with pytest.raises(CallTimeoutError):
        await asyncio.wait_for(short.answer, 5.0)
    assert not long.answer.done()
    assert counts.unknown == 1
    also_short = begin(pending, 0.01)
    with pytest.raises(CallTimeoutError):
        await asyncio.wait_for(also_short.answer, 5.0)
    pending.succeed(long, None)


async def test_late_answers_are_told_from_forged_ones() -> None:
    counts = WireCounts()
    pending = PendingCalls(10, counts)
    cancelled, unknown, not_found, unwritten = (
        begin(pending, written=written) for written in (True, True, True, False)
    )
    pending.give_up(cancelled)
    pending.give_up(unwritten)
    pending.fail(unknown, InvalidAnswerError("too long"))
    pending.fail(not_found, ServiceNotFoundError("no"))
    assert counts.unknown == 2
    for call in (cancelled, unknown, not_found, unwritten, cancelled):
        pending.unasked(call.id)
    pending.unasked(None)
    assert (counts.late, counts.unexpected) == (2, 4)
    for call in (unknown, not_found):
        assert call.answer.exception() is not None


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemstone_events.rpc.wires.amqp.pending.REMEMBERED", 2)
    counts = WireCounts()
    pending = PendingCalls(10, counts)
    calls = [begin(pending) for _ in range(3)]
    for call in calls:
        pending.give_up(call)
    for call in calls:
        pending.unasked(call.id)
    assert (counts.late, counts.unexpected) == (2, 1)


async def test_only_so_many_calls_may_be_pending() -> None:
    pending = PendingCalls(2, WireCounts())
    first, _ = begin(pending), begin(pending)
    with pytest.raises(ServiceUnreachableError, match="2 calls"):
        begin(pending)
    pending.succeed(first, None)
    begin(pending)
    assert len(pending) == 2
    pending.end("tests are over")


async def test_the_end_tells_what_was_written_from_what_was_not() -> None:
    counts = WireCounts()
    pending = PendingCalls(10, counts)
    written, unwritten = begin(pending), begin(pending, written=False)
    pending.end("the cable was cut")
    with pytest.raises(OutcomeUnknownError, match="the cable was cut"):
        await written.answer
    with pytest.raises(ServiceUnreachableError, match="the cable was cut"):
        await unwritten.answer
    assert counts.unknown == 1
    assert len(pending) == 0
