"""What the RPC contract suite is made with: a service that is called, and the fixtures of every scenario."""

import asyncio
import contextvars
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Protocol, TypeAlias, cast

import pytest
import pytest_asyncio

from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.call_errors import ServiceNotFoundError, ServiceUnreachableError
from gemstone_events.rpc.dispatcher import Dispatcher, DispatchLimits
from gemstone_events.rpc.errors import RpcError
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings, ClientWire, ServerSettings, WireRequest, WireStatus, service_url
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.serving import make_servers

DEADLINE = 30.0
"""Seconds that a scenario waits for something that must happen. It is no measure of speed."""
SOON = 0.3
"""Seconds of the deadlines that scenarios let pass."""
DEFAULT_LIMITS = DispatchLimits()
"""The limits of a dispatcher as they are where nobody says otherwise."""
SECRET = "Bearer let-me-in"
"""The ``authorization`` that may call private methods."""

_MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcFeatures:
    """What a wire can do; what it declares decides which scenarios run, and what they expect.

    Attributes:
        finds: it tells who serves calls.
        shares: several instances of one service share its calls.
        bounds: it keeps to ``ServerSettings.concurrency``: further calls wait for their turn.
        knows_peers: it tells the service who calls.
        knows_at_once: it knows at once that the last instance has stopped. Where a broker is between, a call that follows
            within a second may be left in a queue for the next instance: its outcome is unknown, which is told soon.
        absent: what a call to a service that is not there ends with.
    """

    finds: bool = True
    shares: bool = True
    bounds: bool = True
    knows_peers: bool = True
    knows_at_once: bool = True
    absent: type[ServiceUnreachableError] = ServiceNotFoundError


class Served(Protocol):
    """A dispatcher that is served: what ``ServerWire`` is for brokers, and whatever else brings bodies to one.

    ``url`` is where it is called; it is asked for after ``start``.
    """

    @property
    def url(self) -> str:
        """The service's URL, with credentials."""

    async def start(self) -> None:
        """Begin to serve."""

    async def stop(self, timeout: float) -> bool:
        """See ``ServerWire.stop``."""

    async def close(self) -> None:
        """See ``ServerWire.close``."""

    def status(self) -> WireStatus:
        """See ``ServerWire.status``."""


MakeClient: TypeAlias = Callable[[ClientSettings], ClientWire]
MakeServer: TypeAlias = Callable[[Dispatcher, ServerSettings], Served]


class ServedByWire:
    """A dispatcher behind the server's side of a wire, found by the scheme of its URL."""

    def __init__(self, url: str, dispatcher: Dispatcher, settings: ServerSettings) -> None:
        self.url = service_url(url, settings.service)
        self._dispatcher = dispatcher
        (self._wire,) = make_servers([url], settings)

    async def start(self) -> None:
        """See ``Served``."""
        await self._wire.start(self._dispatcher.dispatch)

    async def stop(self, timeout: float) -> bool:
        """See ``Served``."""
        return await self._wire.stop(timeout)

    async def close(self) -> None:
        """See ``Served``."""
        await self._wire.close()

    def status(self) -> WireStatus:
        """See ``Served``."""
        return self._wire.status()


class Refusal(RpcError):
    """An error of the service's own."""

    code, message = 1001, "Out of stock"


class Instance:
    """One running instance of the service that the scenarios call.

    Attributes:
        calls: names of the methods that were begun, in order.
        contexts: where those calls came from.
        gate: what methods named ``slow`` wait for.
        finished: how many of those came to their end.
        running: how many of those run now; ``most`` is how many ran at once.
    """

    def __init__(self, make_server: MakeServer, settings: ServerSettings, limits: DispatchLimits) -> None:
        self.name = settings.service
        self.calls: list[str] = []
        self.contexts: list[CallContext] = []
        self.gate = asyncio.Event()
        self.finished = self.running = self.most = 0
        self.id = uuid.uuid4().hex
        methods = [Method(name, function) for name, function in self._methods().items()]
        methods.append(Method("secret", self._secret, private=True))
        methods.append(Method("who", self._who, takes_handler=True))
        dispatcher = Dispatcher(MethodTable(methods), invoke=self._invoke, authorize=self._authorize, limits=limits)
        self.served = make_server(dispatcher, replace(settings, presence=self.presence))

    def presence(self) -> Presence:
        """Return who this is."""
        return Presence(service=self.name, instance=self.id)

    async def start(self) -> None:
        """Serve, and wait until calls come in."""
        await self.served.start()
        await eventually(lambda: self.served.status().serving, "the service to be served")

    async def _invoke(
        self, method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext
    ) -> object:
        self.calls.append(method.name)
        self.contexts.append(context)
        result = method.function(*args, **kwargs)
        return await cast(Awaitable[object], result) if isawaitable(result) else result

    def _authorize(self, method: Method | None, context: CallContext) -> bool:
        return context.headers.get("authorization") == SECRET

    def _methods(self) -> dict[str, Callable[..., object]]:
        return {
            # Those of the specification's examples.
            "subtract": lambda minuend, subtrahend: minuend - subtrahend,
            "update": lambda *values: None,
            "sum": lambda *values: sum(values),
            "notify_hello": lambda value: None,
            "notify_sum": lambda *values: None,
            "get_data": lambda: ["hello", 5],
            # Those of the scenarios.
            "echo": lambda value: value,
            "repeat": lambda text, times: text * times,
            "refuse": self._refuse,
            "break": self._break,
            "slow": self._slow,
            "mark": self._mark,
        }

    def _refuse(self) -> None:
        raise Refusal(data={"left": 0})

    def _break(self) -> None:
        raise RuntimeError("nobody outside may read this")

    async def _mark(self, mark: str) -> str:
        """Leave a mark where a service keeps what belongs to one call, and return the mark that was there."""
        found = _MARK.get()
        _MARK.set(mark)
        await asyncio.sleep(0)
        return found

    def _secret(self, word: str) -> str:
        return word

    def _who(self, handler: object) -> str:
        return type(handler).__name__

    async def _slow(self) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        self.finished += 1
        return self.id


class Callers:
    """Starts instances and calls them, for one scenario."""

    def __init__(self, make_client: MakeClient, make_server: MakeServer, namespace: str) -> None:
        self._make_client = make_client
        self._make_server = make_server
        self._namespace = namespace
        self._clients: list[ClientWire] = []
        self._instances: list[Instance] = []
        self._tasks: list[asyncio.Task[bytes | None]] = []
        self._numbers = itertools.count(1)
        self._client: ClientWire | None = None

    @property
    def client(self) -> ClientWire:
        """The client that ``call`` uses."""
        if self._client is None:
            self._client = self.make_client()
        return self._client

    def make_client(self, settings: ClientSettings | None = None) -> ClientWire:
        """Return a client. It is closed in the end."""
        client = self._make_client(replace(settings or ClientSettings(), namespace=self._namespace))
        self._clients.append(client)
        return client

    def make(
        self,
        service: str = "orders",
        *,
        limits: DispatchLimits = DEFAULT_LIMITS,
        concurrency: int = 256,
        body_bytes: int = 2 * 1024 * 1024,
    ) -> Instance:
        """Return an instance that is not started yet. It is closed in the end all the same."""
        settings = ServerSettings(
            service=service,
            presence=lambda: Presence(service=service, instance=""),
            namespace=self._namespace,
            concurrency=concurrency,
            body_bytes=body_bytes,
        )
        instance = Instance(self._make_server, settings, limits)
        self._instances.append(instance)
        return instance

    async def serve(
        self,
        service: str = "orders",
        *,
        limits: DispatchLimits = DEFAULT_LIMITS,
        concurrency: int = 256,
        body_bytes: int = 2 * 1024 * 1024,
    ) -> Instance:
        """Return an instance that serves."""
        instance = self.make(service, limits=limits, concurrency=concurrency, body_bytes=body_bytes)
        await instance.start()
        return instance

    async def send(
        self,
        instance: Instance,
        body: bytes,
        *,
        timeout: float = DEADLINE,
        headers: Mapping[str, str] | None = None,
        is_answered: bool = True,
    ) -> bytes | None:
        """Send a body, and insist that something comes of it soon after its deadline."""
        async with asyncio.timeout(timeout + DEADLINE):
            return await self.client.call(
                instance.served.url, WireRequest(body, timeout, headers or {}, is_answered=is_answered)
            )

    async def call(
        self,
        instance: Instance,
        method: str,
        *params: object,
        timeout: float = DEADLINE,
        headers: Mapping[str, str] | None = None,
    ) -> object:
        """Call a method and return its result, or else its error object."""
        number = next(self._numbers)
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": number}).encode()
        answer = await self.send(instance, body, timeout=timeout, headers=headers)
        assert answer is not None, "a call has an answer"
        response = json.loads(answer)
        assert response["id"] == number, "the answer is that of the call"
        return response["error"] if "error" in response else response["result"]

    def begin(self, instance: Instance, body: bytes, *, timeout: float = DEADLINE) -> asyncio.Task[bytes | None]:
        """Send a body in a task of its own, which is cancelled in the end."""
        task = asyncio.get_running_loop().create_task(self.send(instance, body, timeout=timeout))
        self._tasks.append(task)
        return task

    async def close(self) -> None:
        """Close all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for instance in self._instances:
            instance.gate.set()
        for client in self._clients:
            await client.close()
        for instance in self._instances:
            await instance.served.close()


async def eventually(happened: Callable[[], bool], what: str) -> None:
    """Wait until something becomes true that announces itself to nobody.

    Raises:
        AssertionError: it did not within ``DEADLINE``.
    """
    try:
        async with asyncio.timeout(DEADLINE):
            while not happened():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


class RpcHarness:
    """The base of the scenarios: ``features`` and the fixtures come from the wire's test class."""

    pytestmark = pytest.mark.asyncio
    features = RpcFeatures()

    @pytest.fixture
    def wire_url(self) -> str:
        """The URL of a broker or bus, whose scheme is found among the installed entry points."""
        raise NotImplementedError("override the fixture wire_url, or make_client and make_server, in your test class")

    @pytest.fixture
    def make_client(self, request: pytest.FixtureRequest) -> MakeClient:
        """Return a function from settings to a client's side."""
        url: str = request.getfixturevalue("wire_url")
        return lambda settings: WirePool(settings).wire_for(url)

    @pytest.fixture
    def make_server(self, request: pytest.FixtureRequest) -> MakeServer:
        """Return a function from a dispatcher and settings to a server's side that is not started."""
        url: str = request.getfixturevalue("wire_url")
        return lambda dispatcher, settings: ServedByWire(url, dispatcher, settings)

    @pytest_asyncio.fixture
    async def callers(self, make_client: MakeClient, make_server: MakeServer) -> AsyncIterator[Callers]:
        """Start instances and call them, and close everything in the end."""
        given = Callers(make_client, make_server, f"contract-{uuid.uuid4().hex[:12]}")
        yield given
        await given.close()

    def need(self, feature: str) -> None:
        """Skip a scenario for a wire that declares that it cannot keep it."""
        if not getattr(self.features, feature):
            pytest.skip(f"the wire declares {feature}=False")
