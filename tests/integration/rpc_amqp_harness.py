"""What the tests of calls through RabbitMQ share: servers in this process and in others, and the books of many calls."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractChannel

from gemstone_events import strict_json
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.call_errors import OutcomeUnknownError, ServiceCommunicationException
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import Answer, ClientSettings, ServerSettings, WireRequest
from gemstone_events.rpc.wires.amqp.client import AmqpClientWire
from gemstone_events.rpc.wires.amqp.server import AmqpServerWire, open_url
from tests.waiting import until

PEER = Path(__file__).parent / "rpc_amqp_peer.py"
DEADLINE = 20.0
OVERDUE = 2.0


async def echo(body: bytes, context: CallContext) -> bytes:
    """Answer with the body."""
    return body


class Held:
    """Answers when it is told to, and knows what it was asked.

    Attributes:
        release: set it, and calls are answered.
        calls: all that came.
    """

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.calls: list[tuple[bytes, CallContext]] = []

    async def answer(self, body: bytes, context: CallContext) -> bytes:
        """Answer with the body, when ``release`` is set."""
        self.calls.append((body, context))
        await self.release.wait()
        return body


async def send(channel: AbstractChannel, queue: str, message: aio_pika.Message) -> None:
    """Put a message into a queue, as any AMQP client may."""
    await channel.default_exchange.publish(message, routing_key=queue)


@asynccontextmanager
async def client(
    namespace: str, *, pending: int = 1000, body_bytes: int = 4 * 1024 * 1024
) -> AsyncIterator[AmqpClientWire]:
    """Call services."""
    wire = AmqpClientWire(ClientSettings(namespace=namespace, pending=pending, body_bytes=body_bytes))
    try:
        yield wire
    finally:
        await wire.close()


@asynccontextmanager
async def serving(
    url: str,
    namespace: str,
    answer: Answer = echo,
    service: str = "orders",
    instance: str = "one",
    concurrency: int = 256,
    body_bytes: int = 1024 * 1024,
    on_question: Callable[[], object] = lambda: None,
) -> AsyncIterator[AmqpServerWire]:
    """Serve calls in this process."""

    def presence() -> Presence:
        on_question()
        return Presence(service=service, instance=instance)

    settings = ServerSettings(
        service=service,
        presence=presence,
        namespace=namespace,
        concurrency=concurrency,
        body_bytes=body_bytes,
    )
    server = open_url(url, settings)
    await server.start(answer)
    try:
        yield server
    finally:
        await server.stop(5.0)
        await server.close()


@asynccontextmanager
async def peer(
    url: str, namespace: str, ledger: Path, service: str = "orders", instance: str = "one"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Serve calls in another process."""
    arguments = [sys.executable, "-P", str(PEER), url, namespace, service, instance, str(ledger)]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), DEADLINE)
        assert line == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def body_of(number: int, seconds: float) -> bytes:
    """Return a body that the peer answers after some seconds."""
    return strict_json.dumps({"n": number, "seconds": seconds})


@dataclass
class Tally:
    """The books of many calls at once.

    Attributes:
        answered: calls that got their own answer.
        failed: calls that were certainly not carried out.
        unknown: calls that may have been.
        wrong: answers that belong to other calls.
        overdue: calls that ended after their deadline.
    """

    name: str
    answered: int = 0
    failed: int = 0
    unknown: int = 0
    repeated: int = 0
    wrong: list[bytes] = field(default_factory=list)
    overdue: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    async def call(self, wire: AmqpClientWire, url: str, number: int, seconds: float, timeout: float) -> None:
        """Make one call and enter how it ended."""
        body = body_of(number, seconds)
        began = time.monotonic()
        try:
            answer = await wire.call(url, WireRequest(body, timeout))
        except ServiceCommunicationException as error:
            self.unknown += isinstance(error, OutcomeUnknownError)
            self.failed += not isinstance(error, OutcomeUnknownError)
            name = type(error).__name__
            self.errors[name] = self.errors.get(name, 0) + 1
        else:
            self.answered += 1
            if answer == strict_json.dumps({"repeated": number}):
                self.repeated += 1
            elif answer != body:
                self.wrong.append(answer or b"")
        took = time.monotonic() - began
        if took > timeout + OVERDUE:
            self.overdue.append(took)

    async def many(
        self, wire: AmqpClientWire, url: str, trouble: Awaitable[object], *, calls: int = 100, timeout: float = 15.0
    ) -> None:
        """Make many calls at once, of which the later ones take longer, and then the trouble.

        Raises:
            AssertionError: the books do not balance.
        """
        tasks = [asyncio.create_task(self.call(wire, url, n, 0.0 if n < 20 else 60.0, timeout)) for n in range(calls)]
        await until(lambda: self.answered == 20, "the quick calls")
        began = time.monotonic()
        await trouble
        await asyncio.gather(*tasks)
        self.balance(calls, time.monotonic() - began)

    def balance(self, calls: int, seconds: float) -> None:
        """Print the books and make sure that nothing is missing."""
        counts = {"calls": calls, "answered": self.answered, "failed": self.failed, "unknown": self.unknown}
        print(json.dumps({"test": self.name, **counts, **self.errors, "seconds": round(seconds, 1)}))
        assert calls == self.answered + self.failed + self.unknown
        assert not self.wrong
        assert not self.overdue
