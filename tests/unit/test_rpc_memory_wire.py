"""The in-process wire: URLs, and callers and services on event loops of their own."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_context import TIMEOUT_HEADER, CallContext
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    OutcomeUnknownError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings, ServerSettings, WireRequest
from gemstone_events.rpc.wires.memory.client import MemoryClientWire
from gemstone_events.rpc.wires.memory.server import MemoryServerWire, open_url

DEADLINE = 10.0
ORDERS = "memory://bus#orders"
HELLO = WireRequest(b"hello", DEADLINE)


def settings(service: str = "orders", *, concurrency: int = 256) -> ServerSettings:
    """Return what a server is made with."""
    return ServerSettings(
        service=service, presence=lambda: Presence(service=service, instance="1"), concurrency=concurrency
    )


async def echo(body: bytes, context: CallContext) -> bytes | None:
    """Answer with what came."""
    return body


class LoopThread:
    """An event loop that runs in a thread of its own, until it is stopped or breaks down."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    async def run(self, start: Callable[[], object]) -> object:
        """Call a function on the loop and await what it returns, there."""

        async def call() -> object:
            result = start()
            return await result if asyncio.iscoroutine(result) else result

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self.loop))

    def break_down(self) -> None:
        """Let the loop end as it is, with everything that it was about to do."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE)

    def stop(self) -> None:
        """Cancel what runs and end the loop."""
        if self.loop.is_closed():
            return
        if self._thread.is_alive():
            self.break_down()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.close()


@pytest.fixture
async def client() -> AsyncIterator[MemoryClientWire]:
    wire = MemoryClientWire(ClientSettings(client="tests"))
    yield wire
    await wire.close()


@pytest.fixture
async def server() -> AsyncIterator[MemoryServerWire]:
    wire = open_url("memory://bus", settings(concurrency=2))
    yield wire
    await wire.close()


@pytest.fixture
def elsewhere() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("memory://bus#orders", "memory://bus#orders"),
        ("memory://orders", "memory://orders"),
        ("memory://#orders", "memory://orders"),
        ("memory://bus?max_queue=5#orders", "memory://bus#orders"),
    ],
)
def test_a_url_names_a_bus_and_a_service_or_a_service_alone(client: MemoryClientWire, url: str, address: str) -> None:
    assert client.address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "memory:",
        "memory://",
        "memory://[b#o",
        "memory://b\n#o",
        "memory://b/c#orders",
        "memory://u:p@b#orders",
        "memory://b?x=1#o",
        "memory://b#a b",
    ],
)
def test_a_url_with_anything_unknown_is_an_error(client: MemoryClientWire, url: str) -> None:
    with pytest.raises(ServiceConfigurationError):
        client.address(url)


@pytest.mark.parametrize("url", ["memory://bus#orders", "memory://bus/x", "memory://bus?x=1"])
def test_a_service_is_served_on_a_bus_and_nowhere_else(url: str) -> None:
    with pytest.raises(ServiceConfigurationError):
        open_url(url, settings())


def test_a_name_that_breaks_the_rules_is_an_error() -> None:
    with pytest.raises(ServiceConfigurationError, match="service"):
        open_url("memory://bus", settings("my orders"))


async def test_a_service_on_the_bus_without_a_name_is_called_by_its_name(client: MemoryClientWire) -> None:
    server = open_url("memory://", settings())
    await server.start(echo)
    assert server.address == "memory://orders"
    assert await client.call("memory://orders", HELLO) == b"hello"
    with pytest.raises(ServiceNotFoundError):
        await client.call(ORDERS, HELLO)
    await server.close()


async def test_the_request_tells_who_calls_and_how_long_he_waits(
    client: MemoryClientWire, server: MemoryServerWire
) -> None:
    contexts: list[CallContext] = []

    async def answer(body: bytes, context: CallContext) -> bytes | None:
        contexts.append(context)
        return None

    await server.start(answer)
    assert await client.call(ORDERS, WireRequest(b"hello", 5.0, {"X-Tenant": "blue"})) is None
    assert (contexts[0].wire, contexts[0].peer) == ("memory", "memory:tests")
    assert contexts[0].headers == {"x-tenant": "blue", TIMEOUT_HEADER: "5.000"}
    assert contexts[0].timeout is not None
    assert 0 < contexts[0].timeout <= 5.0


async def test_a_served_call_knows_nothing_of_its_callers_context(
    client: MemoryClientWire, server: MemoryServerWire
) -> None:
    unit_of_work: contextvars.ContextVar[str] = contextvars.ContextVar("unit_of_work", default="none")
    seen: list[str] = []

    async def answer(body: bytes, context: CallContext) -> bytes | None:
        seen.append(unit_of_work.get())
        unit_of_work.set("that of another call")
        return body

    unit_of_work.set("the server's")
    await server.start(answer)
    unit_of_work.set("the caller's")
    await client.call(ORDERS, HELLO)
    await client.call(ORDERS, HELLO)
    assert seen == ["the server's", "the server's"]


async def test_a_service_in_another_thread_is_called(client: MemoryClientWire, elsewhere: LoopThread) -> None:
    threads: list[int] = []

    async def answer(body: bytes, context: CallContext) -> bytes | None:
        threads.append(threading.get_ident())
        return body

    server = open_url("memory://bus", settings())
    await elsewhere.run(lambda: server.start(answer))
    async with asyncio.timeout(DEADLINE):
        bodies = [b"%d" % number for number in range(200)]
        answers = await asyncio.gather(*(client.call(ORDERS, WireRequest(body, DEADLINE)) for body in bodies))
        assert [presence.service for presence in await client.find("memory://bus", "*", DEADLINE)] == ["orders"]
    assert answers == bodies
    assert set(threads) == {elsewhere.loop._thread_id}  # type: ignore[attr-defined]
    await elsewhere.run(server.close)


async def test_a_script_calls_from_a_thread_without_an_event_loop(server: MemoryServerWire) -> None:
    await server.start(echo)

    def script() -> bytes | None:
        return asyncio.run(call())

    async def call() -> bytes | None:
        client = MemoryClientWire(ClientSettings())
        try:
            return await client.call(ORDERS, HELLO)
        finally:
            await client.close()

    async with asyncio.timeout(DEADLINE):
        assert await asyncio.to_thread(script) == b"hello"


@pytest.mark.parametrize("end", [LoopThread.break_down, LoopThread.stop], ids=["breaks down", "is closed"])
async def test_a_call_ends_when_the_event_loop_of_its_service_does(
    client: MemoryClientWire, elsewhere: LoopThread, end: Callable[[LoopThread], None]
) -> None:
    begun: Future[None] = Future()

    async def hang(body: bytes, context: CallContext) -> bytes | None:
        begun.set_result(None)
        return await asyncio.Event().wait() and body

    server = open_url("memory://bus", settings())
    await elsewhere.run(lambda: server.start(hang))
    call = asyncio.get_running_loop().create_task(client.call(ORDERS, HELLO))
    await asyncio.wrap_future(begun)
    await asyncio.to_thread(end, elsewhere)
    with pytest.raises(OutcomeUnknownError) as caught:
        await call
    assert not isinstance(caught.value, CallTimeoutError)
    with pytest.raises(ServiceNotFoundError):
        await client.call(ORDERS, HELLO)
    assert client.counts.unknown == 1


async def test_an_answer_that_comes_too_late_is_counted(client: MemoryClientWire, server: MemoryServerWire) -> None:
    gate = asyncio.Event()
    answered = asyncio.Event()

    async def wait(body: bytes, context: CallContext) -> bytes | None:
        await gate.wait()
        answered.set()
        return body

    await server.start(wait)
    with pytest.raises(CallTimeoutError):
        await client.call(ORDERS, WireRequest(b"hello", 0.01))
    gate.set()
    async with asyncio.timeout(DEADLINE):
        await answered.wait()
        while not client.counts.late:
            await asyncio.sleep(0)
    assert (client.counts.late, client.counts.unexpected, client.counts.unknown) == (1, 0, 1)


async def test_what_waits_for_its_turn_goes_to_another_instance_when_the_first_one_stops(
    client: MemoryClientWire, server: MemoryServerWire
) -> None:
    gate = asyncio.Event()
    begun: list[bytes] = []

    async def wait(body: bytes, context: CallContext) -> bytes | None:
        begun.append(body)
        await gate.wait()
        return b"first"

    async def second(body: bytes, context: CallContext) -> bytes | None:
        return b"second"

    await server.start(wait)
    loop = asyncio.get_running_loop()
    calls = [loop.create_task(client.call(ORDERS, WireRequest(b"%d" % number, DEADLINE))) for number in range(5)]
    async with asyncio.timeout(DEADLINE):
        while len(begun) < 2:
            await asyncio.sleep(0)
        other = open_url("memory://bus", settings())
        await other.start(second)
        stopping = loop.create_task(server.stop(DEADLINE))
        assert await asyncio.gather(*calls[2:]) == [b"second"] * 3
        gate.set()
        assert await asyncio.gather(*calls[:2]) == [b"first"] * 2
        assert await stopping
        await other.close()


async def test_what_a_service_cannot_answer_at_all_is_an_unknown_outcome(
    client: MemoryClientWire, server: MemoryServerWire
) -> None:
    async def break_down(body: bytes, context: CallContext) -> bytes | None:
        raise RuntimeError("a dispatcher raises nothing")

    await server.start(break_down)
    with pytest.raises(OutcomeUnknownError):
        await client.call(ORDERS, HELLO)


async def test_an_instance_that_cannot_say_who_it_is_is_not_found(client: MemoryClientWire) -> None:
    def broken() -> Presence:
        raise RuntimeError("no health today")

    server = open_url("memory://bus", ServerSettings(service="orders", presence=broken))
    await server.start(echo)
    assert await client.find(ORDERS, "*", DEADLINE) == []
    assert await client.call(ORDERS, HELLO) == b"hello"
    await server.close()


async def test_what_another_instance_might_take_is_taken_nowhere_when_the_client_is_closed(
    client: MemoryClientWire, server: MemoryServerWire
) -> None:
    begun: list[bytes] = []

    async def hold(body: bytes, context: CallContext) -> bytes | None:
        begun.append(body)
        return await asyncio.Event().wait() and body

    await server.start(hold)
    loop = asyncio.get_running_loop()
    calls = [loop.create_task(client.call(ORDERS, WireRequest(b"%d" % number, DEADLINE))) for number in range(3)]
    async with asyncio.timeout(DEADLINE):
        while len(begun) < 2:
            await asyncio.sleep(0)
        other = open_url("memory://bus", settings())
        await other.start(hold)
        stopping = loop.create_task(server.stop(0))
        await asyncio.sleep(0)
        await client.close()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert not await stopping
        await other.close()
    assert [type(end) for end in ends] == [OutcomeUnknownError, OutcomeUnknownError, ServiceUnreachableError]
    assert len(begun) == 2


async def test_a_closed_client_calls_nobody(client: MemoryClientWire, server: MemoryServerWire) -> None:
    await server.start(echo)
    await client.close()
    with pytest.raises(ServiceUnreachableError):
        await client.call(ORDERS, HELLO)


async def test_a_server_is_started_once(server: MemoryServerWire) -> None:
    await server.start(echo)
    with pytest.raises(RuntimeError, match="once"):
        await server.start(echo)
