"""What the relay does with transports that refuse, time out or come and go."""

import asyncio
import logging
import time

import pytest

from gemstone_events.codec import encode
from gemstone_events.errors import StoreUnavailableError
from gemstone_events.event import Event, new_id
from gemstone_events.message import Message
from gemstone_events.relay import LEASE_SECONDS, Relay
from gemstone_events.store.memory import MemoryStore
from gemstone_events.store.port import Changes
from gemstone_events.transport import Outcome, TransportSettings, TransportStatus
from gemstone_events.transports.memory import MemoryTransport


class Moody(MemoryTransport):
    """A memory transport that takes only what it likes; the rest it refuses."""

    def __init__(self) -> None:
        super().__init__(new_id(), TransportSettings())
        self.taken: list[bytes] = []
        self.calls: list[int] = []
        self.is_up = True
        self.most_at_once = 10**9
        self.disliked: set[bytes] = set()

    def status(self) -> TransportStatus:
        """Whether it is up."""
        return TransportStatus(publishing=self.is_up, consuming=True)

    async def publish(self, messages):
        """Take what it likes."""
        self.calls.append(len(messages))
        if not self.is_up:
            return [Outcome.REFUSED] * len(messages)
        if len(messages) > self.most_at_once:
            return [Outcome.UNKNOWN] * len(messages)
        await super().publish(messages)
        outcomes = []
        for message in messages:
            liked = message.body not in self.disliked
            outcomes.append(Outcome.CONFIRMED if liked else Outcome.REFUSED)
            if liked:
                self.taken.append(message.body)
        return outcomes


async def until(condition, deadline: float = 10.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.005)


def messages(count: int, *, broadcast: bool = True) -> list[Message]:
    """Return messages with the numbers from 0 as bodies."""
    return [
        encode(Event(id=new_id(), type="a", source="test", data=number), broadcast=broadcast) for number in range(count)
    ]


@pytest.fixture
async def store():
    """Return an open store."""
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def relaying(store):
    """Return a function that starts a relay; all end with the test."""
    tasks = []

    async def start(transport: Moody, **options) -> Relay:
        await transport.open()
        relay = Relay(store, transport, "me", logging.getLogger("test"), **options)
        tasks.append(asyncio.create_task(relay.run()))
        return relay

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_message_that_is_refused_holds_back_no_other_and_goes_when_it_is_taken(store, relaying):
    transport = Moody()
    transport.disliked = {b"0", b"7"}
    relay = await relaying(transport)
    await store.commit(Changes(emitted=messages(2000)))
    await until(lambda: len(transport.taken) == 1998)
    assert "2 events were not taken" in relay.trouble
    transport.disliked = set()
    await until(lambda: len(transport.taken) == 2000)
    await relay.flushed()
    assert relay.trouble == ""
    assert sorted(transport.taken, key=int) == [b"%d" % number for number in range(2000)]


async def test_while_the_transport_is_down_nothing_piles_up_and_nothing_is_lost(store, relaying):
    transport = Moody()
    transport.is_up = False
    relay = await relaying(transport)
    await store.commit(Changes(emitted=messages(3000)))
    await until(lambda: len(transport.calls) > 4)
    assert max(transport.calls) <= 500
    assert len(relay._waiting) <= 500
    transport.is_up = True
    transport.changed.set()
    await until(lambda: len(transport.taken) == 3000)
    assert transport.taken == [b"%d" % number for number in range(3000)]


async def test_a_batch_that_takes_too_long_is_made_smaller(store, relaying):
    transport = Moody()
    transport.most_at_once = 3
    await relaying(transport)
    await store.commit(Changes(emitted=messages(20)))
    await until(lambda: len(set(transport.taken)) == 20)


async def test_only_one_transport_carries_work(store, relaying):
    first, second = Moody(), Moody()
    await relaying(first)
    await relaying(second, carries_work=False)
    await store.commit(Changes(emitted=[*messages(3, broadcast=False), *messages(5)[3:]]))
    await until(lambda: len(first.taken) == 5 and len(second.taken) == 2)
    assert second.taken == [b"3", b"4"]


async def test_a_transport_that_never_published_does_not_take_over_the_progress_of_another(store, relaying):
    up, down = Moody(), Moody()
    down.is_up = False
    await relaying(up)
    await relaying(down)
    await store.commit(Changes(emitted=messages(3)))
    await until(lambda: len(up.taken) == 3 and down.calls)
    assert await store.checkpoint(f"relay:{down.address}") == 0


async def test_who_no_longer_leads_has_no_trouble_and_keeps_nobody_waiting(store, relaying):
    transport = Moody()
    transport.disliked = {b"0"}
    relay = await relaying(transport)
    await store.commit(Changes(emitted=messages(1)))
    await until(lambda: "1 events were not taken" in relay.trouble)
    name = f"relay:{transport.address}"
    await store.release_lease(name, "me")
    assert await store.acquire_lease(name, "another", LEASE_SECONDS)
    flushing = asyncio.create_task(relay.flushed())
    await until(lambda: not relay.trouble)
    await asyncio.wait_for(flushing, 10)


async def test_a_relay_whose_store_fails_says_so():
    class Locked(MemoryStore):
        async def acquire_lease(self, name, owner, seconds):
            raise StoreUnavailableError("locked by another process")

    store, transport = Locked(), Moody()
    await store.open()
    await transport.open()
    relay = Relay(store, transport, "me", logging.getLogger("test"))
    running = asyncio.create_task(relay.run())
    await until(lambda: "locked by another process" in relay.trouble)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_trouble_with_the_store_is_over_when_the_store_is_read_again():
    class Faltering(MemoryStore):
        failures = 2

        async def read_emitted(self, after, limit):
            if self.failures:
                self.failures -= 1
                raise StoreUnavailableError("locked")
            return await super().read_emitted(after, limit)

    store, transport = Faltering(), Moody()
    await store.open()
    await transport.open()
    relay = Relay(store, transport, "me", logging.getLogger("test"))
    running = asyncio.create_task(relay.run())
    await until(lambda: relay.trouble)
    await until(lambda: not relay.trouble)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()
