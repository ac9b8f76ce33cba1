"""Ten thousand hostile inputs by every wire: each is answered as the dispatcher alone would answer it, or not at all,
and the service goes on, no bigger than before."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractIncomingMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.wire import ClientSettings, WireRequest
from gemstone_events.rpc.wires.embedded.client import EmbeddedClientWire
from tests.hostile_json_rpc import CORPUS, check_answer, documents, variants
from tests.integration.rpc_hostile_peer import Target

DEADLINE = 30.0
GROWTH_BYTES = 64 * 1024 * 1024

Send: TypeAlias = Callable[[bytes], Awaitable[bytes | None]]
"""Sends a body and returns its answer. Where none is expected, it returns when the body is sure to have been read."""


class Service(NamedTuple):
    """The process under attack, and where it is."""

    process: "subprocess.Popen[str]"
    url: str
    broker: str
    namespace: str
    bus: str

    def memory(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def service(rabbitmq_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder, namespace = tmp_path_factory.mktemp("hostile"), f"test-{uuid.uuid4().hex[:12]}"
    peer = Path(__file__).with_name("rpc_hostile_peer.py")
    process = subprocess.Popen(
        [sys.executable, "-P", str(peer), rabbitmq_url, namespace, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        yield Service(process, process.stdout.readline().strip(), rabbitmq_url, namespace, f"sqlite:///{folder}/bus.db")
        process.kill()
        process.wait()


@asynccontextmanager
async def by_http(service: Service) -> AsyncIterator[Send]:
    async with aiohttp.ClientSession() as session:

        async def send(body: bytes) -> bytes | None:
            headers = {"Content-Type": "application/json"}
            async with session.post(service.url, data=body, headers=headers) as response:
                assert response.status in (200, 204), f"HTTP {response.status} to {body[:200]!r}"
                return await response.read() or None

        yield send


@asynccontextmanager
async def by_rabbitmq(service: Service) -> AsyncIterator[Send]:
    answers: dict[str | None, asyncio.Future[bytes]] = {}

    async def take(message: AbstractIncomingMessage) -> None:
        answers.pop(message.correlation_id).set_result(message.body)

    async with await aio_pika.connect(service.broker) as connection:
        channel = await connection.channel()
        replies = await channel.declare_queue(exclusive=True)
        await replies.consume(take, no_ack=True)

        async def send(body: bytes) -> bytes | None:
            message = aio_pika.Message(body, reply_to=replies.name, correlation_id=uuid.uuid4().hex)
            answer = answers[message.correlation_id] = asyncio.get_running_loop().create_future()
            await channel.default_exchange.publish(message, routing_key=f"{service.namespace}.rpc.target")
            if await EXPECTED.dispatch(body, CallContext("test")) is None:
                answers.pop(message.correlation_id)
                return None
            return await answer

        yield send


@asynccontextmanager
async def by_bus(service: Service) -> AsyncIterator[Send]:
    wire = EmbeddedClientWire(ClientSettings(namespace=service.namespace))

    async def send(body: bytes) -> bytes | None:
        return await wire.call(f"{service.bus}#target", WireRequest(body, DEADLINE))

    try:
        yield send
    finally:
        await wire.close()


def expected() -> Dispatcher:
    """Return a dispatcher with the target's methods, and nothing around it."""
    target = Target(event_transports=[], event_store="memory:")

    async def invoke(
        method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext
    ) -> object:
        answer: object = await method.function(*args, **kwargs)
        return answer

    methods = [
        Method("echo", target.echo),
        Method("exact", target.exact),
        Method("explode", target.explode),
        Method("unspeakable", target.unspeakable),
        Method("secret", target.secret, private=True),
        Method("handler", target.handler, takes_handler=True),
    ]
    return Dispatcher(MethodTable(methods), invoke=invoke)


EXPECTED = expected()


@pytest.fixture(scope="module", params=[by_http, by_rabbitmq, by_bus], ids=["http", "rabbitmq", "bus"])
def attack(request: pytest.FixtureRequest, service: Service) -> Iterator[Callable[[list[bytes]], None]]:
    """Send bodies by one wire, all at once, and check each answer."""
    with asyncio.Runner() as runner:
        wire = request.param(service)
        send: Send = runner.run(wire.__aenter__())

        async def check(body: bytes) -> None:
            answer = await send(body)
            check_answer(answer)
            if b"rpc." not in body:  # the service describes itself where the bare dispatcher cannot
                assert answer == await EXPECTED.dispatch(body, CallContext("test"))

        async def send_all(bodies: list[bytes]) -> None:
            async with asyncio.timeout(DEADLINE):
                await asyncio.gather(*map(check, bodies))

        yield lambda bodies: runner.run(send_all(bodies))
        runner.run(wire.__aexit__(None, None, None))


@pytest.fixture(autouse=True)
def _without_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "gemstone_events.rpc")


def test_ten_thousand_hostile_inputs_leave_the_service_answering(
    attack: Callable[[list[bytes]], None], service: Service
) -> None:
    for start in range(0, len(CORPUS), 10):
        attack(CORPUS[start : start + 10])
    before = service.memory()

    @settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(document=documents, seed=st.integers(0, 2**32))
    def generated(document: object, seed: int) -> None:
        attack(variants(document, seed))

    generated()
    for start in range(0, len(CORPUS), 10):
        attack(CORPUS[start : start + 10])
    assert service.process.poll() is None
    assert service.memory() - before < GROWTH_BYTES
