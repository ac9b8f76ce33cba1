"""How fast are publishing with confirms and consuming with acks on RabbitMQ, beside FastStream doing the same?

One private node, one quorum queue each, bodies of about 400 bytes with nine CloudEvents attributes. To publish, each
side has as many on their way as suits it: 16 batches of 100 for us; 400 calls for FastStream, which gets slower with
more. To consume, the prefetch is 400. Every measurement is a process of its own that encodes and decodes JSON, as users do; the two take
turns, and the ratio is the median of the rounds' ratios, so that other work on the machine weighs little.

    python benchmarks/rabbitmq_transport.py [--rounds 3] [--messages 20000] [--url amqp://...]

FastStream is no dependency of ours: ``pip install "faststream[rabbit]"`` first.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence

from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

from gemstone_events.message import Message
from gemstone_events.testing.servers import RabbitMQ
from gemstone_events.transport import Delivery, Outcome, Subscription, TransportSettings
from gemstone_events.transports.rabbitmq import open_url

IN_FLIGHT = 400
BATCH = 100
BATCHES_IN_FLIGHT = 16
TYPE = "order.placed"
NAMESPACE = "benchmark"
FASTSTREAM_QUEUE = "benchmark.faststream"
BODY = {"order": 42, "lines": [{"sku": "abc", "quantity": 2, "price": 9.99}] * 5, "customer": "x" * 120}


def attributes() -> dict[str, str]:
    """Return the attributes of one more event."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "type": TYPE,
        "source": "shop",
        "time": "2026-01-01T12:00:00.000000+00:00",
        "datacontenttype": "application/json",
        "correlationid": str(uuid.uuid4()),
        "causationid": str(uuid.uuid4()),
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }


async def publish_gemstone(url: str, count: int) -> float:
    """Publish ``count`` events and return the seconds until all are confirmed."""
    transport = open_url(url, TransportSettings(namespace=NAMESPACE))
    await transport.open()
    await transport.publish([Message(attributes(), b"{}", broadcast=False)])

    batches = iter(range(count // BATCH))

    async def publish() -> None:
        for _ in batches:
            messages = [Message(attributes(), json.dumps(BODY).encode(), broadcast=False) for _ in range(BATCH)]
            outcomes = await transport.publish(messages)
            assert all(outcome is Outcome.CONFIRMED for outcome in outcomes)

    began = time.perf_counter()
    await asyncio.gather(*(publish() for _ in range(BATCHES_IN_FLIGHT)))
    seconds = time.perf_counter() - began
    await transport.close()
    return seconds


async def consume_gemstone(url: str, count: int) -> float:
    """Consume ``count`` events and return the seconds from the first to the last."""
    transport = open_url(url, TransportSettings(namespace=NAMESPACE))
    done = asyncio.Event()
    began = 0.0
    seen = 0

    def receive(subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        nonlocal began, seen
        began = began or time.perf_counter()
        for delivery in deliveries:
            assert json.loads(delivery.message.body) is not None
            assert delivery.message.id
            delivery.ack()
        seen += len(deliveries)
        if seen >= count:
            done.set()

    await transport.open()
    await transport.subscribe([Subscription("shop", TYPE, work_queue=True, prefetch=IN_FLIGHT)], receive)
    await done.wait()
    seconds = time.perf_counter() - began
    await transport.close()
    return seconds


async def publish_faststream(url: str, count: int) -> float:
    """Do the same with FastStream, with as many publishes waiting for their confirms."""
    broker = RabbitBroker(url, logger=None, default_channel=Channel(publisher_confirms=True))
    async with broker:
        queue = RabbitQueue(FASTSTREAM_QUEUE, queue_type=QueueType.QUORUM, durable=True)
        await broker.declare_queue(queue)

        async def publish(times: int) -> None:
            for _ in range(times):
                headers = {f"cloudEvents:{name}": value for name, value in attributes().items()}
                await broker.publish(BODY, routing_key=FASTSTREAM_QUEUE, headers=headers, persist=True)

        began = time.perf_counter()
        await asyncio.gather(*(publish(count // IN_FLIGHT) for _ in range(IN_FLIGHT)))
        return time.perf_counter() - began


async def consume_faststream(url: str, count: int) -> float:
    """Do the same with FastStream: a handler that takes the decoded body."""
    broker = RabbitBroker(url, logger=None)
    queue = RabbitQueue(FASTSTREAM_QUEUE, queue_type=QueueType.QUORUM, durable=True)
    done = asyncio.Event()
    began = 0.0
    seen = 0

    @broker.subscriber(queue, channel=Channel(prefetch_count=IN_FLIGHT))
    async def handle(body: dict[str, object]) -> None:
        nonlocal began, seen
        began = began or time.perf_counter()
        seen += 1
        if seen >= count:
            done.set()

    async with broker:
        await broker.start()
        await done.wait()
        return time.perf_counter() - began


ROLES: dict[str, Callable[[str, int], Coroutine[object, object, float]]] = {
    "publish-gemstone": publish_gemstone,
    "publish-faststream": publish_faststream,
    "consume-gemstone": consume_gemstone,
    "consume-faststream": consume_faststream,
}


def measure(role: str, url: str, count: int, script: str = __file__) -> float:
    """Run one measurement of a script in a process of its own; return events per second."""
    argv = [sys.executable, script, "--role", role, "--url", url, "--messages", str(count)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True, timeout=300)
    return count / float(done.stdout.split()[-1])


def compare(url: str, rounds: int, messages: int) -> None:
    """Print the rates and the ratios."""
    rates: dict[str, list[float]] = {role: [] for role in ROLES}
    for _ in range(rounds):
        for role in ROLES:
            rates[role].append(measure(role, url, messages))
    print(f"{'events per second':20} {'gemstone_events':>16} {'FastStream':>12} {'ratio':>7}")
    for doing in ("publish", "consume"):
        ours, theirs = rates[f"{doing}-gemstone"], rates[f"{doing}-faststream"]
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"{doing:20} {statistics.median(ours):16,.0f} {statistics.median(theirs):12,.0f} {ratio:6.1f}x")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=20_000, help="a multiple of 400")
    parser.add_argument("--url", help="a broker that may be written to; default: a private one")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        print(asyncio.run(ROLES[options.role](options.url, options.messages)))
        return
    with contextlib.ExitStack() as stack:
        url = options.url or stack.enter_context(RabbitMQ(schedulers=2)).url
        compare(url, options.rounds, options.messages)


if __name__ == "__main__":
    main()
