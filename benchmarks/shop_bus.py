"""What carries the events of ``shop_chaos.py``: the embedded bus, a private RabbitMQ node, or a broker of yours."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import amqp
import apsw
from kombu.connection import Connection

from gemstone_events.testing.servers import RabbitMQ

GROUP_QUEUES = (
    ("orders", "invoice.issued"),
    ("orders", "order.shipped"),
    ("billing", "order.placed"),
    ("shipping", "invoice.issued"),
    ("shipping", "parcel.pack"),
)


class Bus(Protocol):
    """What carries the events."""

    url: str

    async def waiting(self) -> int:
        """How many deliveries wait on the bus; more than 0 where it cannot be asked."""

    async def restart(self, pause: float) -> None:
        """Stop it, and start it after ``pause`` seconds."""


class EmbeddedBus:
    """The embedded bus, a file."""

    def __init__(self, file: Path) -> None:
        self.url = f"sqlite:///{file}"
        self._file = file

    async def waiting(self) -> int:
        """See ``Bus``."""
        bus = apsw.Connection(str(self._file), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            found: int = bus.execute("SELECT count(*) FROM deliveries").get
        finally:
            bus.close()
        return found

    async def restart(self, pause: float) -> None:
        """See ``Bus``: it is no process, so there is nothing to restart."""


class RabbitBus:
    """RabbitMQ: a private node, or a broker that somebody else runs."""

    def __init__(self, url: str, namespace: str, node: RabbitMQ | None) -> None:
        self.url = url
        self._node = node
        events = {event for _, event in GROUP_QUEUES}
        groups = [f"{namespace}.group.{group}:{event}" for group, event in GROUP_QUEUES]
        self._queues = [*groups, *(f"{namespace}.work.{event}" for event in events)]
        self._exchange = f"{namespace}.events"

    async def waiting(self) -> int:
        """See ``Bus``."""
        try:
            return await asyncio.to_thread(self._count)
        except (OSError, amqp.AMQPError):
            return 1

    async def restart(self, pause: float) -> None:
        """See ``Bus``; a broker of somebody else's is left alone."""
        if self._node is not None:
            await asyncio.to_thread(self._node.stop)
            await asyncio.sleep(pause)
            await asyncio.to_thread(self._node.start)

    def remove(self) -> None:
        """Delete what the shop declared."""
        with (
            Connection(self.url) as connection,  # type: ignore[no-untyped-call]
            connection.channel() as channel,
        ):
            for queue in self._queues:
                channel.queue_delete(queue)
            channel.exchange_delete(self._exchange)

    def _count(self) -> int:
        with (
            Connection(self.url, connect_timeout=5) as connection,  # type: ignore[no-untyped-call]
            connection.channel() as channel,
        ):
            return sum(channel.queue_declare(queue, passive=True).message_count for queue in self._queues)


@asynccontextmanager
async def open_bus(transport: str, url: str, data_dir: Path, namespace: str) -> AsyncIterator[Bus]:
    """Have a bus: the embedded one, a private RabbitMQ node, or the broker at ``url``, left as it was."""
    if transport == "embedded":
        yield EmbeddedBus(data_dir / "bus.db")
    elif url:
        bus = RabbitBus(url, namespace, None)
        try:
            yield bus
        finally:
            await asyncio.to_thread(bus.remove)
    else:
        node = RabbitMQ()
        await asyncio.to_thread(node.start)
        try:
            yield RabbitBus(node.url, namespace, node)
        finally:
            await asyncio.to_thread(node.close)
