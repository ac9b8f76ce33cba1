"""A process of its own on an embedded bus, for the tests that kill, stop and race such processes.

    python embedded_peer.py consume URL LEDGER GROUP [--prefetch N] [--hold] [--per-instance]
    python embedded_peer.py publish URL LEDGER PREFIX COUNT BATCH
    python embedded_peer.py fork URL

The ledger holds a line for every delivery, or for every confirmed message, written before the next step is taken.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from gemstone_events.testing.transport_contract import messages
from gemstone_events.transport import Delivery, Outcome, Subscription, TransportSettings
from gemstone_events.transports.embedded import open_url


class Ledger:
    """Lines in a file, as safe from SIGKILL as the page cache."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, lines: Sequence[str]) -> None:
        """Append lines with one system call."""
        os.write(self._file, "".join(f"{line}\n" for line in lines).encode())


def say(word: str) -> None:
    """Tell the test how far this process is."""
    print(word, flush=True)


async def consume(options: argparse.Namespace) -> None:
    """Write down and ack what comes; with ``--hold`` ack only when a line comes on the standard input."""
    ledger = Ledger(options.ledger)
    held: list[Delivery] = []

    def receive(_: Subscription, deliveries: Sequence[Delivery]) -> None:
        ledger.write([delivery.message.id for delivery in deliveries])
        held.extend(deliveries)
        if not options.hold:
            ack()

    def ack() -> None:
        while held:
            held.pop().ack()

    def release_the_brake() -> None:
        sys.stdin.readline()
        options.hold = False
        ack()
        say("acked")

    transport = open_url(options.url, TransportSettings())
    await transport.open()
    subscription = Subscription(options.group, "order.*", prefetch=options.prefetch, per_instance=options.per_instance)
    await transport.subscribe([subscription], receive)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), release_the_brake)
    say("ready")
    await asyncio.Event().wait()


async def publish(options: argparse.Namespace) -> None:
    """Publish in batches, as fast as it goes, until it is done or killed."""
    ledger = Ledger(options.ledger)
    transport = open_url(options.url, TransportSettings())
    await transport.open()
    say("ready")
    for start in range(0, options.count, options.batch):
        batch = messages("order.placed", options.batch, prefix=f"{options.prefix}-{start}-")
        outcomes: Sequence[Outcome] = ()
        while set(outcomes) != {Outcome.CONFIRMED}:
            outcomes = await transport.publish(batch)
        ledger.write([message.id for message in batch])
    await transport.close()
    say("done")


async def fork(options: argparse.Namespace) -> None:
    """Use a transport in a child of the process that opened it."""
    transport = open_url(options.url, TransportSettings())
    await transport.open()
    child = os.fork()
    if child == 0:
        try:
            await transport.publish(messages("order.placed", 1))
        except RuntimeError as error:
            say(str(error))
        os._exit(0)
    await asyncio.to_thread(os.waitpid, child, 0)
    outcomes = await transport.publish(messages("order.placed", 1))
    await transport.close()
    say(outcomes[0].value)


def main() -> None:
    """Read the command line and play the role."""
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(required=True)
    consumer = roles.add_parser("consume")
    consumer.set_defaults(role=consume)
    for name in ("url", "ledger", "group"):
        consumer.add_argument(name)
    consumer.add_argument("--prefetch", type=int, default=20)
    consumer.add_argument("--hold", action="store_true")
    consumer.add_argument("--per-instance", action="store_true")
    publisher = roles.add_parser("publish")
    publisher.set_defaults(role=publish)
    for name in ("url", "ledger", "prefix"):
        publisher.add_argument(name)
    publisher.add_argument("count", type=int)
    publisher.add_argument("batch", type=int)
    forker = roles.add_parser("fork")
    forker.set_defaults(role=fork)
    forker.add_argument("url")
    options = parser.parse_args()
    asyncio.run(options.role(options))


if __name__ == "__main__":
    main()
