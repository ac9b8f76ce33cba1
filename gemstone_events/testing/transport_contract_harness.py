"""What the transport contract suite is made with: a recorder of deliveries, and the fixtures of every scenario."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeAlias

import pytest
import pytest_asyncio

from gemstone_events.message import Message
from gemstone_events.transport import Delivery, Features, Outcome, Subscription, Transport, TransportSettings

DEADLINE = 30.0
"""Seconds that a scenario waits for something that must happen. It is no measure of speed."""

MakeTransport: TypeAlias = Callable[[TransportSettings], Transport]


def message(name: str, id: str, *, broadcast: bool = True, body: bytes = b"{}") -> Message:
    """Return a message with the attributes that every event has."""
    attributes = {
        "specversion": "1.0",
        "id": id,
        "type": name,
        "source": "contract",
        "time": "2026-01-02T03:04:05+00:00",
        "datacontenttype": "application/json",
    }
    return Message(attributes, body, broadcast)


def messages(name: str, count: int, *, broadcast: bool = True, prefix: str = "") -> list[Message]:
    """Return messages whose ids are ``prefix`` and a number from 0."""
    return [message(name, f"{prefix}{number}", broadcast=broadcast) for number in range(count)]


def ids(sent: Sequence[Message]) -> list[str]:
    """Return the ids of messages."""
    return [one.id for one in sent]


def acknowledge(delivery: Delivery) -> None:
    """Settle a delivery at once: what most scenarios do."""
    delivery.ack()


def keep(delivery: Delivery) -> None:
    """Leave a delivery unsettled."""


class Recorder:
    """A receiver that remembers everything, duplicates too, and settles as it is told."""

    def __init__(self, settle: Callable[[Delivery], None] = acknowledge) -> None:
        self.settle = settle
        self.arrived: list[tuple[Subscription, Delivery]] = []
        self._news = asyncio.Event()

    def __call__(self, subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries: see ``gemstone_events.transport.Receive``."""
        for delivery in deliveries:
            self.arrived.append((subscription, delivery))
            self.settle(delivery)
        self._news.set()

    def deliveries(self, subscription: Subscription | None = None) -> list[Delivery]:
        """Return what arrived, in order, for one subscription or for all."""
        return [delivery for to, delivery in self.arrived if subscription is None or to == subscription]

    def ids(self, subscription: Subscription | None = None) -> list[str]:
        """Return the ids of what arrived, in order, duplicates included."""
        return [delivery.message.id for delivery in self.deliveries(subscription)]

    def counts(self, subscription: Subscription | None = None) -> Counter[str]:
        """Return how often each id arrived."""
        return Counter(self.ids(subscription))

    async def until(self, happened: Callable[[], bool], what: str) -> None:
        """Wait until deliveries have made ``happened`` true.

        Raises:
            AssertionError: they did not within ``DEADLINE``.
        """
        try:
            async with asyncio.timeout(DEADLINE):
                while not happened():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}; {len(self.arrived)} deliveries arrived") from None

    async def until_count(self, count: int, subscription: Subscription | None = None) -> None:
        """Wait until at least ``count`` deliveries arrived."""
        await self.until(lambda: len(self.deliveries(subscription)) >= count, f"{count} deliveries")

    async def until_id(self, id: str, subscription: Subscription | None = None) -> None:
        """Wait until a message has arrived: used with markers that were published last."""
        await self.until(lambda: id in self.ids(subscription), f"message {id!r}")


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


async def publish(transport: Transport, sent: Sequence[Message]) -> None:
    """Publish and insist on it: refused and unknown are published again, as the relay does."""
    left = list(sent)
    async with asyncio.timeout(DEADLINE):
        while left:
            outcomes = await transport.publish(left)
            assert len(outcomes) == len(left), "one outcome for every message"
            left = [one for one, outcome in zip(left, outcomes, strict=True) if outcome is not Outcome.CONFIRMED]


class TransportHarness:
    """The base of the scenarios: ``features`` and ``make_transport`` come from the adapter's test class."""

    pytestmark = pytest.mark.asyncio
    features: Features

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        """Return a function from settings to a transport that is not open. All that it makes share one broker."""
        raise NotImplementedError("override the fixture make_transport in the test class of your transport")

    @pytest.fixture
    def contract_namespace(self) -> str:
        """A namespace for one scenario alone: scenarios may share a broker that outlives them."""
        return f"contract-{uuid.uuid4().hex[:12]}"

    @pytest_asyncio.fixture
    async def transports(self, make_transport: MakeTransport, contract_namespace: str) -> AsyncIterator["Transports"]:
        """Give out open transports on one address and close them in the end."""
        given = Transports(make_transport, contract_namespace)
        yield given
        await given.close()

    def need(self, feature: str) -> None:
        """Skip a scenario for a transport that declares that it cannot keep it."""
        if not getattr(self.features, feature):
            pytest.skip(f"the transport declares {feature}=False")


class Transports:
    """Opens transports for one scenario."""

    def __init__(self, make: MakeTransport, namespace: str) -> None:
        self._make = make
        self._namespace = namespace
        self._opened: list[Transport] = []

    def make(self, *, namespace: str | None = None, client: str = "contract") -> Transport:
        """Return a transport that is not open yet. It is closed in the end all the same."""
        transport = self._make(TransportSettings(namespace=namespace or self._namespace, client=client))
        self._opened.append(transport)
        return transport

    async def open(self, *, namespace: str | None = None) -> Transport:
        """Return an open transport that can publish."""
        transport = self.make(namespace=namespace)
        await transport.open()
        await eventually(lambda: transport.status().publishing, f"{transport.address} to be ready")
        return transport

    async def consume(self, recorder: Recorder, *subscriptions: Subscription) -> Transport:
        """Return an open transport that consumes."""
        transport = await self.open()
        await transport.subscribe(subscriptions, recorder)
        await eventually(lambda: transport.status().consuming, f"{transport.address} to consume")
        return transport

    async def close(self) -> None:
        """Close all of them."""
        await asyncio.gather(*(transport.close() for transport in self._opened))
