"""Calls that must not hang, be misreported, or hurt others: what was found by looking for it."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Mapping, Sequence

import pytest

from gemstone_events import MicroService, exposed_method
from gemstone_events.call_scope import CallScope, call_scope, current_call_scope
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management import (
    AbstractComponent,
    ChannelAddress,
    ChannelInstances,
    ChannelManager,
    Component,
    ComponentDescriptor,
    ComponentRegistry,
    LocalComponentRegistry,
    Service,
    ServiceManager,
    component,
    implementation,
    service,
)
from gemstone_events.retry import RetryPolicy
from gemstone_events.rpc.authentication.strategies import BaseValidationStrategy
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.call_errors import (
    InternalErrorError,
    OutcomeUnknownError,
    RequestRefusedError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.completion import as_completed
from gemstone_events.rpc.client.remote_service import RemoteService
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.discovery.strategy_runner import StrategyFailedError, StrategyRunner
from gemstone_events.rpc.dispatcher import ALWAYS_WRITTEN, Dispatcher, DispatchLimits
from gemstone_events.rpc.errors import AccessDenied
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.rpc.wires.http.guard import HttpGuard

PATIENCE = 20.0


class Plain(MicroService):
    """A service with the least that one can have."""

    name = "plain"
    port = 0
    event_transports = ()
    rpc_transports = ()
    event_store = "memory:"
    shutdown_timeout = 0.3

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.begun = asyncio.Event()

    @exposed_method()
    async def echo(self, value: object = None) -> object:
        """Return the value."""
        return value


async def within_patience(awaited: Awaitable[object]) -> object:
    async with asyncio.timeout(PATIENCE):
        return await awaited


async def run(method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext) -> object:
    result = method.function(*args, **kwargs)
    return await result if asyncio.iscoroutine(result) else result


async def answers_to_batch(dispatcher: Dispatcher, method: str, count: int, context: CallContext) -> list[object]:
    batch = [{"jsonrpc": "2.0", "method": method, "id": number} for number in range(count)]
    found = json.loads(await dispatcher.dispatch(json.dumps(batch).encode(), context) or b"")
    assert isinstance(found, list)
    return found


# Deadlines.


async def test_what_a_batch_asks_for_last_has_no_more_time_than_its_caller() -> None:
    begun: list[float] = []

    async def slow() -> None:
        begun.append(time.monotonic())
        await asyncio.sleep(0.2)

    limits = DispatchLimits(batch_concurrency=1)
    dispatcher = Dispatcher(MethodTable([Method("slow", slow)]), invoke=run, limits=limits)
    answers = await answers_to_batch(dispatcher, "slow", 5, CallContext("test", timeout=0.3))
    assert len(begun) == 2, "when the third one's turn comes, nobody waits any more"
    assert [isinstance(answer, dict) and "error" in answer for answer in answers] == [False, True, True, True, True]


async def test_a_task_that_outlives_its_call_has_its_trace_but_no_deadline() -> None:
    ended = asyncio.Event()

    async def later() -> CallScope | None:
        await ended.wait()
        return current_call_scope()

    with call_scope(CallScope(time.monotonic() + 0.01, "trace")):
        task = asyncio.create_task(later())
    ended.set()
    scope = await task
    assert scope is not None
    assert scope.traceparent == "trace"
    assert scope.seconds_left > 3600


async def test_a_task_that_outlives_a_call_that_was_given_up_has_no_time() -> None:
    ended = asyncio.Event()

    async def later() -> CallScope | None:
        await ended.wait()
        return current_call_scope()

    deadline = time.monotonic()
    tasks: list[asyncio.Task[CallScope | None]] = []

    def give_up() -> None:
        with call_scope(CallScope(deadline)):
            tasks.append(asyncio.create_task(later()))
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        give_up()
    ended.set()
    scope = await tasks[0]
    assert scope is not None
    assert scope.deadline == deadline


@service(name="counter")
class Counter(Service):
    """Something that is called by its interface."""

    async def count(self) -> int:
        """Return a number."""
        raise NotImplementedError


@component(name="counting", services=[Counter])
class Counting(Component):
    """Its component."""


@implementation()
class CounterImplementation(Counter):
    """It, here."""

    async def count(self) -> int:
        """Return a number."""
        return 1


@implementation()
class CountingImplementation(AbstractComponent, Counting):
    """Its component, here."""

    def __init__(self) -> None:
        super().__init__(CounterImplementation())


class HangingRegistry(ComponentRegistry):
    """Never says anything."""

    async def register(self, descriptor: ComponentDescriptor[object], addresses: Sequence[ChannelAddress]) -> None:
        """Hang."""
        await asyncio.Event().wait()

    async def deregister(self, descriptor: ComponentDescriptor[object]) -> None:
        """Hang."""
        await asyncio.Event().wait()

    async def get_addresses(self, descriptor: ComponentDescriptor[object]) -> list[ChannelInstances]:
        """Hang."""
        await asyncio.Event().wait()
        return []


async def test_a_registry_that_hangs_does_not_hold_a_call_beyond_its_deadline() -> None:
    manager = ServiceManager(HangingRegistry(), ChannelManager(timeout=0.2))
    with pytest.raises(ServiceUnreachableError, match="did not say in time"):
        await within_patience(manager.get_service(Counter).count())
    await manager.aclose()


async def test_a_registry_that_hangs_keeps_no_service_from_starting_and_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gemstone_events.management.manager._REGISTRY_SECONDS", 0.2)

    async def start_and_stop() -> None:
        async with Plain(component_registry=HangingRegistry(), components=[CountingImplementation()]) as plain:
            assert plain.url

    await within_patience(start_and_stop())


def test_waiting_for_calls_ends_when_their_event_loop_does_not_run_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemstone_events.rpc.client.async_call._GRACE_SECONDS", 0.2)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = RemoteService(f"http://127.0.0.1:{silent.getsockname()[1]}/api", timeout=0.2)

        async def begin() -> object:
            return remote.methods.echo.call_async()

        asyncio.run_coroutine_threadsafe(begin(), loop).result(PATIENCE)
        call = remote.methods.echo.call_async()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        with pytest.raises(OutcomeUnknownError, match="does not run any more"):
            list(as_completed(call))
        remaining = asyncio.all_tasks(loop)
        for task in remaining:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*remaining, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


# Outcomes.


class WithHandler(Plain):
    """Its method asks for the handler, and does not end."""

    @exposed_method(requires_handler_reference=True)
    async def work(self, handler: RpcHandler) -> None:
        """Work for ever."""
        self.begun.set()
        await asyncio.Event().wait()


async def test_a_method_with_a_handler_that_is_cancelled_at_the_stop_may_have_been_carried_out() -> None:
    async with WithHandler() as plain:
        assert plain.url
        remote = RemoteService(plain.url, timeout=PATIENCE)
        call = remote.methods.work.call_async()
        await within_patience(plain.begun.wait())
    with pytest.raises(OutcomeUnknownError):
        await within_patience(call)
    await remote.aclose()


async def test_a_request_that_is_refused_makes_nobody_believe_that_the_service_is_gone(namespace: str) -> None:
    bus = f"memory://{namespace}"
    async with Plain(rpc_transports=(bus,), max_body=1000), Plain(name="front", rpc_transports=(bus,)) as front:
        with pytest.raises(RequestRefusedError):
            await (await front.get_service("plain")).methods.echo("x" * 2000)
        assert await (await front.get_service("plain")).methods.echo(1) == 1


@pytest.mark.parametrize("wire", ["memory", "http"])
async def test_a_refused_request_is_not_sent_again(wire: str, namespace: str) -> None:
    bus = f"memory://{namespace}"
    async with Plain(rpc_transports=(bus,), max_body=1000) as plain:
        url = plain.url if wire == "http" else f"{bus}#plain"
        assert url
        async with RemoteService(url, retry=RetryPolicy(attempts=3, first_delay=0.001)) as remote:
            with pytest.raises(RequestRefusedError):
                await remote.methods.echo("x" * 2000)
            assert remote.counts.repeated == 0


async def test_lent_connections_are_not_opened_again_when_their_service_has_stopped(namespace: str) -> None:
    bus = f"memory://{namespace}"
    async with Plain(rpc_transports=(bus,)):
        async with Plain(name="front", rpc_transports=(bus,)) as front:
            remote = await front.get_service("plain")
            assert await remote.methods.echo(1) == 1
        with pytest.raises(ServiceUnreachableError, match="does not run any more"):
            await remote.methods.echo(1)
        assert remote.wire_counts.unknown == 0


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "a..example"])
async def test_a_host_that_no_resolver_takes_is_an_error_of_configuration(host: str) -> None:
    async with RemoteService(f"http://{host}/api") as remote:
        with pytest.raises(ServiceConfigurationError, match="no URL of a service"):
            await remote.methods.echo()


# Stopping.


class Stubborn(Plain):
    """Its method does not heed its cancellation."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.release = asyncio.Event()

    @exposed_method()
    async def work(self) -> None:
        """Work until it is released."""
        self.begun.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue


async def test_a_method_that_does_not_heed_its_cancellation_does_not_hold_the_stop() -> None:
    plain = Stubborn()
    async with plain:
        assert plain.url
        remote = RemoteService(plain.url, timeout=PATIENCE)
        call = remote.methods.work.call_async()
        await within_patience(plain.begun.wait())
        stopping = asyncio.create_task(plain.__aexit__(None, None, None))
        await within_patience(stopping)
    assert not plain.release.is_set()
    plain.release.set()
    with pytest.raises(OutcomeUnknownError):
        await within_patience(call)
    await remote.aclose()


class SlowToRecognize(Plain):
    """It takes for ever to find out who calls."""

    require_authentication = True

    async def authenticate_request(self, handler: RpcHandler) -> object:
        """Never know."""
        self.begun.set()
        await asyncio.Event().wait()
        return True


async def test_who_is_being_authenticated_does_not_hold_the_stop() -> None:
    plain = SlowToRecognize()
    async with plain:
        assert plain.url
        remote = RemoteService(plain.url, timeout=PATIENCE)
        call = remote.methods.echo.call_async()
        await within_patience(plain.begun.wait())
        await within_patience(plain.__aexit__(None, None, None))
    with pytest.raises(OutcomeUnknownError):
        await within_patience(call)
    await remote.aclose()


class BrokenRegistry(LocalComponentRegistry):
    """Fails in a way that nobody expects."""

    async def deregister(self, descriptor: ComponentDescriptor[object]) -> None:
        """Fail."""
        raise RuntimeError("a mistake in the registry")


async def test_a_service_that_cannot_sign_off_listens_no_more_all_the_same() -> None:
    plain = Plain(component_registry=BrokenRegistry(), components=[CountingImplementation()])
    with pytest.raises(RuntimeError, match="a mistake"):
        async with plain:
            url = plain.url
    assert url
    async with RemoteService(url) as remote:
        with pytest.raises(ServiceUnreachableError):
            await remote.methods.echo()


class Unwilling(BaseDiscoveryStrategy):
    """Never lets a service go."""

    def __init__(self) -> None:
        self.has_been_asked = False

    async def ping(self, name: str, location: str, **kwargs: object) -> None:
        """Do nothing."""

    async def locate(self, name: str) -> list[str]:
        """Know nobody."""
        return []

    async def withdraw(self, name: str, location: str) -> None:
        """Hang."""
        self.has_been_asked = True
        await asyncio.Event().wait()


async def test_a_strategy_that_hangs_leaves_time_to_drain(caplog: pytest.LogCaptureFixture) -> None:
    strategy = Unwilling()
    with caplog.at_level("INFO"):
        async with Plain(discovery_strategies=(strategy,)) as plain:
            assert plain.url
    assert strategy.has_been_asked
    assert "what it announced expires" in caplog.text


# Strangers.


class Denying(Plain):
    """Says no by an exception."""

    checks = 0

    def authenticate_request(self, handler: RpcHandler) -> object:
        """Say no."""
        self.checks += 1
        raise AccessDenied

    @exposed_method(private=True)
    async def secret(self) -> None:
        """Nothing that anybody may call."""


async def test_a_batch_that_is_denied_by_an_exception_is_one_failed_attempt() -> None:
    plain = Denying(failed_attempts=2)
    exposure = plain._expose()
    batch = json.dumps([{"jsonrpc": "2.0", "method": "secret", "id": number} for number in range(5)]).encode()
    context = CallContext("test", {"authorization": "Bearer expired"}, "peer")
    answers = json.loads(await exposure.answer(batch, context) or b"")
    assert [answer["error"] for answer in answers] == [{"code": -32001, "message": "Access denied"}] * 5
    assert plain.checks == 1


class BrokenStrategy(BaseValidationStrategy):
    """Fails whenever it is asked."""

    def extract_api_token(self, request_handler: RpcHandler) -> str | None:
        """Fail."""
        raise RuntimeError("a mistake in the strategy")


class SignedOtherwise(Plain):
    """Takes every caller for one who signed another body."""

    require_authentication = True
    validation_strategies = (BrokenStrategy(),)

    def authenticate_request(self, handler: RpcHandler) -> object:
        """Let him in, if only his body were another."""
        handler.sent_body(bytes(32))
        return True


async def test_a_strategy_that_raises_when_the_body_has_come_leaves_nobody_waiting() -> None:
    async with SignedOtherwise() as plain:
        assert plain.url
        async with RemoteService(plain.url, timeout=PATIENCE * 2) as remote:
            with pytest.raises(OutcomeUnknownError, match="broke"):
                await within_patience(remote.methods.echo())


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "null", ""])
def test_an_origin_that_is_none_is_a_foreign_one(origin: str) -> None:
    assert not HttpGuard.for_service("127.0.0.1").allows_origin(origin, "127.0.0.1:8000")


class Claims(Plain):
    """Knows its callers by what has no name."""

    def authenticate_request(self, handler: RpcHandler) -> object:
        """Return claims as a token carries them."""
        return {"sub": handler.request.headers.get("X-User")}

    @exposed_method(private=True, requires_handler_reference=True)
    async def who(self, handler: RpcHandler) -> object:
        """Return who calls."""
        return handler.current_user


async def test_callers_without_names_are_not_taken_for_each_other(caplog: pytest.LogCaptureFixture) -> None:
    async with Claims() as plain:
        assert plain.url
        async with RemoteService(plain.url, headers={"X-User": "ann"}) as remote:
            assert await remote.methods.who() == {"sub": "ann"}
            with pytest.raises(InternalErrorError):
                await remote.call_method("who", idempotency_key="1")
    assert "cannot be told apart by their callers" in caplog.text


# Memory.


async def test_the_responses_of_a_batch_are_bounded_together() -> None:
    size = 2 * ALWAYS_WRITTEN

    def long() -> str:
        return "x" * size

    limits = DispatchLimits(response_bytes=3 * size)
    dispatcher = Dispatcher(MethodTable([Method("long", long)]), invoke=run, limits=limits)
    answers = await answers_to_batch(dispatcher, "long", 20, CallContext("test"))
    assert [isinstance(answer, dict) and "result" in answer for answer in answers] == [True] * 2 + [False] * 18


async def test_a_running_service_describes_what_it_exposes_without_making_it_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Plain() as plain:
        monkeypatch.setattr(plain, "_expose", None)
        assert "echo" in str(plain.get_service_specs()["methods"])


class Located(BaseDiscoveryStrategy):
    """Knows one address, and takes a thread to say so."""

    def ping(self, name: str, location: str, **kwargs: object) -> None:
        """Do nothing."""

    def locate(self, name: str) -> list[str]:
        """Say it."""
        return ["http://127.0.0.1:1/api"]


async def test_a_strategy_for_which_there_was_no_thread_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = StrategyRunner(Located(), PATIENCE)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StrategyFailedError, match="can't start new thread"):
            await runner.locate("orders")
    assert await runner.locate("orders") == ["http://127.0.0.1:1/api"]
