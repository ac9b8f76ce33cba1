"""What the failures of aiormq mean."""

import asyncio
import ssl

import pytest
from aiormq.exceptions import (
    AMQPConnectionError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    ConnectionClosed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from gemstone_events.amqp_url import parse_url
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.wires.amqp.connection import pause, translated, undisturbed

BROKER = parse_url("amqp://ann:s3cret@host/vhost")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ProbableAuthenticationError("ACCESS_REFUSED"), "user or password of 'ann'"),
        (InvalidFrameError("Expected one of ..., got <Connection.Close object at 0x1>"), "virtual host 'vhost'"),
        (ChannelAccessRefused("ACCESS_REFUSED - no"), "no"),
        (ChannelPreconditionFailed("PRECONDITION_FAILED"), "PRECONDITION_FAILED"),
        (caused(AMQPConnectionError(1, "x"), tls_error("WRONG_VERSION_NUMBER")), "no TLS is spoken"),
        (ServiceConfigurationError("as it is"), "as it is"),
    ],
)
def test_a_refusal_is_for_whoever_configures_it(error: Exception, words: str) -> None:
    found = translated(BROKER, "connecting", error)
    assert isinstance(found, ServiceConfigurationError)
    assert words in str(found)
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AMQPConnectionError(111, "Connect call failed"), "connecting failed: Connect call failed"),
        (TimeoutError(), "no answer within 10 s"),
        (ConnectionClosed(320, "CONNECTION_FORCED"), "CONNECTION_FORCED"),
        (InvalidFrameError("something else"), "something else"),
        (KeyError(), "KeyError"),
        (ServiceUnreachableError("as it is"), "as it is"),
    ],
)
def test_everything_else_may_be_better_next_time(error: Exception, words: str) -> None:
    found = translated(BROKER, "connecting", error)
    assert isinstance(found, ServiceUnreachableError)
    assert words in str(found)
    assert "s3cret" not in str(found)


def test_pauses_grow_to_their_limit() -> None:
    assert all(0.0 <= pause(1, 30.0) <= 0.2 for _ in range(100))
    assert all(0.0 <= pause(1000, 30.0) <= 30.0 for _ in range(100))
    assert max(pause(1000, 30.0) for _ in range(1000)) > 20.0


async def test_a_cancellation_of_aiormqs_own_is_a_lost_connection() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ConnectionError):
        await undisturbed(cancelled())


async def test_a_cancellation_of_the_callers_reaches_the_work() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    task = asyncio.create_task(undisturbed(work()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["work"]


async def test_results_and_errors_pass() -> None:
    async def work(value: int) -> int:
        return 10 // value

    assert await undisturbed(work(5)) == 2
    with pytest.raises(ZeroDivisionError):
        await undisturbed(work(0))
