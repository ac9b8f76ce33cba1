"""RemoteService and a running MicroService, over every wire alike."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gemstone_events import MicroService, exposed_method
from gemstone_events.call_scope import current_call_scope
from gemstone_events.retry import RetryPolicy
from gemstone_events.rpc.authentication.credentials import HeaderToken
from gemstone_events.rpc.call_errors import (
    AccessDeniedError,
    CallTimeoutError,
    DeadlineExceededError,
    InvalidParamsError,
    MethodNotFoundError,
    ServiceUnreachableError,
    UnknownError,
)
from gemstone_events.rpc.client.completion import as_completed
from gemstone_events.rpc.client.remote_service import RemoteService
from gemstone_events.rpc.client.requests import MethodCall, Notification
from gemstone_events.rpc.errors import RpcError
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.rpc.wire import service_url
from gemstone_events.rpc.wire_pool import WirePool
from tests.waiting import until

PATIENCE = 20.0
WIRES = ["http", "memory", "sqlite", "amqp"]
BETWEEN_PROCESSES = ["http", "sqlite", "amqp"]


class OutOfStock(RpcError):
    """An error of the shop's own."""

    code, message = 1001, "Out of stock"


class Shop(MicroService):
    """What is called."""

    name = "shop"
    port = None
    event_transports = ()
    event_store = "memory:"
    shutdown_timeout = 0.5

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.marks: list[object] = []
        self.next: RemoteService | None = None

    def authenticate_request(self, handler: RpcHandler) -> object:
        return handler.request.headers.get("x-api-token") == "good"

    @exposed_method()
    async def add(self, a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @exposed_method()
    def mark(self, value: object) -> int:
        """Remember a value, and tell how many there are."""
        self.marks.append(value)
        return len(self.marks)

    @exposed_method("stock.take")
    async def take(self) -> None:
        """Fail with the shop's own error."""
        raise OutOfStock(data={"left": 0})

    @exposed_method()
    async def sleep(self, seconds: float) -> float:
        """Take some time."""
        await asyncio.sleep(seconds)
        return seconds

    @exposed_method(private=True)
    async def secret(self) -> str:
        """Answer those who may know."""
        return "42"

    @exposed_method()
    async def seconds_left(self) -> float | None:
        """Tell how long this call may take."""
        scope = current_call_scope()
        return None if scope is None else scope.seconds_left

    @exposed_method()
    def pass_on(self) -> object:
        """Call another one, from a thread, with a timeout that is longer than this call may take."""
        assert self.next is not None
        return self.next.methods.seconds_left.with_options(timeout=60.0)()


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broker(wire: str, request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> str:
    """The URL of what carries the calls; empty for HTTP."""
    if wire == "amqp":
        return str(request.getfixturevalue("rabbitmq_url"))
    return {"http": "", "memory": f"memory://{namespace}", "sqlite": f"sqlite:///{tmp_path}/bus.db"}[wire]


@asynccontextmanager
async def running(broker: str, namespace: str, folder: Path) -> AsyncIterator[tuple[Shop, str]]:
    transports = [broker] if broker else []
    settings: dict[str, object] = {"rpc_transports": transports, "namespace": namespace, "data_dir": str(folder)}
    async with Shop(port=None if broker else 0, **settings) as shop:
        url = service_url(broker, "shop") if broker else str(shop.url)
        yield shop, url


@pytest.fixture
async def shop(broker: str, namespace: str, tmp_path: Path) -> AsyncIterator[tuple[Shop, str]]:
    async with running(broker, namespace, tmp_path) as found:
        yield found


@pytest.fixture
def shop_elsewhere(broker: str, namespace: str, tmp_path: Path) -> Iterator[tuple[Shop, str]]:
    """The same on an event loop in another thread, for callers that block."""
    found: list[tuple[Shop, str]] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running(broker, namespace, tmp_path) as each:
            found.append(each)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield found[0]
    finally:
        stop.set()
        thread.join()


async def test_a_coroutine_calls(shop: tuple[Shop, str], namespace: str) -> None:
    service, url = shop
    async with asyncio.timeout(PATIENCE), RemoteService(url, namespace=namespace) as remote:
        assert await remote.name == "shop"
        assert "stock.take" in await remote.get_available_methods()
        assert await remote.methods.add(19, 23) == 42
        assert await remote.methods.add(a=1, b=2) == 3
        assert await remote.notifications.mark("a") is None
        await until(lambda: service.marks == ["a"])
        with pytest.raises(MethodNotFoundError):
            await remote.methods.nope()
        with pytest.raises(InvalidParamsError):
            await remote.methods.add(1)
        with pytest.raises(UnknownError) as raised:
            await remote.methods.stock.take()
        assert (raised.value.code, raised.value.message, raised.value.data) == (1001, "Out of stock", {"left": 0})
        assert (remote.counts.answered, remote.counts.failed, remote.counts.unknown) == (4, 3, 0)


def test_a_script_calls(shop_elsewhere: tuple[Shop, str], namespace: str) -> None:
    _, url = shop_elsewhere
    with RemoteService(url, namespace=namespace) as remote:
        assert remote.name == "shop"
        assert remote.methods.add(19, 23) == 42
        assert remote.notify("mark", ["a"]) is None
        calls = [remote.methods.sleep(seconds, __async=True) for seconds in (0.2, 0.0)]
        assert [call.result() for call in as_completed(*calls)] == [0.0, 0.2]
        with pytest.raises(UnknownError, match="Out of stock"):
            remote.methods.stock.take()


async def test_a_batch_comes_back_as_it_was_asked(shop: tuple[Shop, str], namespace: str) -> None:
    service, url = shop
    calls = [MethodCall("sleep", [0.05]), MethodCall("add", [1, 2]), MethodCall("nope"), MethodCall("stock.take")]
    async with asyncio.timeout(PATIENCE), RemoteService(url, namespace=namespace) as remote:
        results = await remote.call_batch(*calls, Notification("mark", ["b"]))
        assert [result.result for result in results] == [0.05, 3, None, None]
        assert isinstance(results.get_response_for_call(calls[2]).error, MethodNotFoundError)
        assert isinstance(results.get_response_for_call(calls[3]).error, UnknownError)
        await until(lambda: service.marks == ["b"])
        assert len(await remote.call_batch(Notification("mark", ["c"]))) == 0


async def test_a_private_method_is_called_with_credentials_only(shop: tuple[Shop, str], namespace: str) -> None:
    _, url = shop
    async with asyncio.timeout(PATIENCE), RemoteService(url, namespace=namespace) as stranger:
        with pytest.raises(AccessDeniedError):
            await stranger.methods.secret()
    async with (
        asyncio.timeout(PATIENCE),
        RemoteService(url, namespace=namespace, authentication=HeaderToken("good")) as friend,
    ):
        assert await friend.methods.secret() == "42"


async def test_a_call_that_takes_too_long_ends_with_its_timeout(shop: tuple[Shop, str], namespace: str) -> None:
    _, url = shop
    async with asyncio.timeout(PATIENCE), RemoteService(url, namespace=namespace) as remote:
        await remote.methods.add(1, 2)
        with pytest.raises((CallTimeoutError, DeadlineExceededError)):
            await remote.call_method("sleep", [60.0], timeout=0.3)
        assert remote.counts.unknown == 1
        assert await remote.methods.add(1, 2) == 3


async def test_a_call_within_a_call_inherits_what_is_left_of_its_time(shop: tuple[Shop, str], namespace: str) -> None:
    service, url = shop
    async with asyncio.timeout(PATIENCE), RemoteService(url, namespace=namespace) as remote:
        service.next = remote
        left = (await remote.call_method("pass_on", timeout=15.0)).result
        assert 0 < left <= 15.0


async def test_many_calls_at_once_get_each_its_own_answer(shop: tuple[Shop, str], namespace: str) -> None:
    _, url = shop
    async with asyncio.timeout(PATIENCE), RemoteService(url, namespace=namespace) as remote:
        answers = await asyncio.gather(*(remote.methods.add(number, 1) for number in range(100)))
        assert answers == [number + 1 for number in range(100)]


async def test_nobody_there_is_an_error_at_once(
    wire: str, broker: str, namespace: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    url = service_url(broker, "nobody") if broker else f"http://127.0.0.1:{unused_tcp_port}/api"
    async with asyncio.timeout(PATIENCE), RemoteService(url, namespace=namespace, timeout=300.0) as remote:
        with pytest.raises(ServiceUnreachableError):
            await remote.methods.add(1, 2)
        with pytest.raises(ServiceUnreachableError):
            await remote.notifications.add(1, 2)
        assert remote.counts.failed == 2


@pytest.mark.parametrize("wire", ["memory", "sqlite", "amqp"])
async def test_a_service_that_comes_back_is_called_again(broker: str, namespace: str, tmp_path: Path) -> None:
    policy = RetryPolicy(attempts=100, first_delay=0.05, max_delay=0.1)
    async with asyncio.timeout(PATIENCE):
        async with running(broker, namespace, tmp_path) as (_, url):
            remote = RemoteService(url, namespace=namespace, retry=policy)
            assert await remote.methods.add(1, 2) == 3
        waiting = remote.methods.add(3, 4)
        async with running(broker, namespace, tmp_path):
            assert await waiting == 7
        await remote.aclose()


SCRIPT = """
import asyncio, sys
from gemstone_events.rpc.client.remote_service import RemoteService
remote = RemoteService(sys.argv[1], namespace=sys.argv[2])
"""
SCRIPTS = {
    "blocking": "print(remote.methods.add(19, 23))",
    "temporary": "print(RemoteService(sys.argv[1], namespace=sys.argv[2]).methods.add(19, 23))",
    "temporary, one after the other": """
for a in (1, 19): found = RemoteService(sys.argv[1], namespace=sys.argv[2]).methods.add(a, 23)
print(found)""",
    "local to a function": """
def main():
    mine = RemoteService(sys.argv[1], namespace=sys.argv[2])
    print(mine.methods.add(19, 23))
main()""",
    "asyncio": "async def main(): print(await remote.methods.add(19, 23))\nasyncio.run(main())",
    "asyncio twice": """
async def main(): return await remote.methods.add(10, 11)
print(asyncio.run(main()) + asyncio.run(main()))""",
    "blocking, then asyncio": """
async def main(): return await remote.methods.add(10, 11)
print(remote.methods.add(10, 11) + asyncio.run(main()))""",
    "asyncio, then blocking": """
async def main(): return await remote.methods.add(10, 11)
print(asyncio.run(main()) + remote.methods.add(10, 11))""",
    "closed on a loop in the blocking way": """
async def main():
    with remote:
        print(await remote.methods.add(19, 23))
asyncio.run(main())""",
    "dropped on a loop": """
async def main():
    mine = RemoteService(*sys.argv[1:2], namespace=sys.argv[2])
    print(await mine.methods.add(19, 23))
asyncio.run(main())""",
    "left under way": "remote.methods.sleep(60, __async=True)\nprint(remote.methods.add(19, 23))",
    "left under way on a loop": """
async def main():
    remote.methods.sleep(60)
    print(await remote.methods.add(19, 23))
asyncio.run(main())""",
}


@pytest.mark.parametrize("wire", BETWEEN_PROCESSES)
@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_script_that_forgets_to_close_ends_cleanly(shop: tuple[Shop, str], namespace: str, script: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-X", "dev", "-W", "error", "-c", SCRIPT + SCRIPTS[script], shop[1], namespace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    noise = [line for line in err.decode().splitlines() if not line.startswith("Executing <")]
    assert (process.returncode, out.decode().strip(), noise) == (0, "42", [])


# From Python 3.12 on it warns of forks where there are threads: those that these tests are about.
MAY_FORK = ("-W", "ignore:This process:DeprecationWarning")
FORKING = (
    SCRIPT
    + """
import os
print(remote.methods.add(1, 2), flush=True)
child = os.fork()
if child == 0:
    print(remote.methods.add(3, 4), flush=True)
    sys.exit(0)
print(os.waitpid(child, 0)[1], remote.methods.add(5, 6), flush=True)
remote.close()
"""
)


FORKING_AT_THE_FIRST_CALL = (
    SCRIPT
    + """
import os, signal, threading
from gemstone_events.rpc.client.loop_thread import LoopThread
begun, go, start = threading.Event(), threading.Event(), LoopThread.start
def start_slowly(self):
    begun.set()
    go.wait()
    return start(self)
LoopThread.start = start_slowly
thread = threading.Thread(target=lambda: print(remote.methods.add(5, 6), flush=True))
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    LoopThread.start = start
    print(remote.methods.add(3, 4), flush=True)
    sys.exit(0)
print(os.waitpid(child, 0)[1], flush=True)
go.set()
thread.join()
remote.close()
"""
)


@pytest.mark.parametrize("wire", ["http"])
async def test_a_process_that_is_forked_while_another_thread_begins_a_call_can_call(
    shop: tuple[Shop, str], namespace: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", *MAY_FORK, "-c", FORKING_AT_THE_FIRST_CALL, shop[1], namespace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (out.decode().splitlines(), err.decode()) == (["7", "0", "11"], "")


@pytest.mark.parametrize("wire", BETWEEN_PROCESSES)
async def test_a_forked_process_has_connections_of_its_own(shop: tuple[Shop, str], namespace: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", *MAY_FORK, "-c", FORKING, shop[1], namespace),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (out.decode().splitlines(), err.decode()) == (["3", "7", "0 11"], "")


async def test_an_old_gemstone_service_is_called_alike(namespace: str, tmp_path: Path) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        Shop(port=0, legacy_envelope=True, rpc_transports=[], data_dir=str(tmp_path)) as service,
        RemoteService(str(service.url)) as remote,
    ):
        assert await remote.methods.add(19, 23) == 42
        assert await remote.notifications.mark(1) is None
        assert await remote.methods.mark(None) == 2
        with pytest.raises(MethodNotFoundError):
            await remote.methods.nope()
        results = await remote.call_batch(MethodCall("add", [1, 2]), MethodCall("nope"), Notification("mark", [1]))
        assert [result.successful for result in results] == [True, False]
        assert len(await remote.call_batch(Notification("mark", [1]))) == 0


async def test_threads_call_by_connections_that_their_service_lends(namespace: str, tmp_path: Path) -> None:
    pool = WirePool()
    async with asyncio.timeout(PATIENCE), Shop(port=0, rpc_transports=[], data_dir=str(tmp_path)) as service:
        remote = RemoteService(str(service.url), pool=pool)
        assert await asyncio.gather(*(asyncio.to_thread(remote.methods.add, n, 1) for n in range(5))) == [1, 2, 3, 4, 5]
        await pool.close()
