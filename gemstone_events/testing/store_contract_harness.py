"""What the store contract suite is made with: short ways to write changes, and the fixtures of every scenario."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeAlias

import pytest
import pytest_asyncio

from gemstone_events.event import new_id
from gemstone_events.message import Message
from gemstone_events.store.port import Changes, DeadLetter, EventStore, InboxKey, Recorded, Retry

DEADLINE = 30.0
"""Seconds that a scenario waits for something that must happen. It is no measure of speed."""

LONG = 3600.0
"""Seconds that no scenario lives to see: a lease or a delay that does not end."""

MakeStore: TypeAlias = Callable[[], EventStore]


def message(
    name: str = "order.placed", *, id: str | None = None, body: bytes = b"{}", broadcast: bool = True
) -> Message:
    """Return a message with the attributes that every event has."""
    attributes = {
        "specversion": "1.0",
        "id": new_id() if id is None else id,
        "type": name,
        "source": "contract",
        "time": "2026-01-02T03:04:05+00:00",
        "datacontenttype": "application/json",
    }
    return Message(attributes, body, broadcast)


def numbered(count: int, prefix: str = "") -> list[Message]:
    """Return messages whose ids are ``prefix`` and a number from 0."""
    return [message(id=f"{prefix}{number}") for number in range(count)]


def retry(key: InboxKey, *, attempts: int = 1, delay: float = 0.0, error: str = "") -> Retry:
    """Return a retry of a message that has the key's event id."""
    return Retry(key, message(id=key.event_id), attempts, delay, error)


def letter(key: InboxKey, *, id: str | None = None, about: Message | None = None, reason: str = "fatal") -> DeadLetter:
    """Return a dead letter; ``about`` is the message that died."""
    return DeadLetter(id or new_id(), key, about or message(id=key.event_id), reason, "it broke", 3)


def ids(recorded: Sequence[Recorded]) -> list[str]:
    """Return the event ids of what was read from the log."""
    return [one.message.id for one in recorded]


async def read_all(store: EventStore) -> list[Recorded]:
    """Return the whole log, read in small portions."""
    found: list[Recorded] = []
    while more := await store.read_emitted(found[-1].position if found else 0, 7):
        found += more
    return found


async def is_settled(store: EventStore, key: InboxKey) -> bool:
    """Tell whether a key is marked, or has a retry."""
    return key in await store.find_settled([key])


async def is_handled(store: EventStore, key: InboxKey) -> bool:
    """Tell whether a key is marked: settled, and with no retry."""
    return await is_settled(store, key) and await store.seconds_to_next_retry([key.consumer]) is None


async def eventually(happened: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until the store says that something is so.

    Raises:
        AssertionError: it did not within ``DEADLINE``.
    """
    try:
        async with asyncio.timeout(DEADLINE):
            while not await happened():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


async def outcomes(store: EventStore, units: Sequence[Changes]) -> list[BaseException | None]:
    """Commit several units at once and return each one's exception."""
    return list(await asyncio.gather(*(store.commit(unit) for unit in units), return_exceptions=True))


class StoreHarness:
    """The base of the scenarios: ``shared`` and ``make_store`` come from the adapter's test class."""

    pytestmark = pytest.mark.asyncio
    shared = True
    """All stores that ``make_store`` returns within one scenario are instances on one database."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Return a function that returns a store, not yet open; the scenario begins with an empty database."""
        raise NotImplementedError("override the fixture make_store in the test class of your store")

    @pytest_asyncio.fixture
    async def store(self, make_store: MakeStore) -> AsyncIterator[EventStore]:
        """Give out an open store and close it in the end."""
        store = make_store()
        await store.open()
        yield store
        await store.close()

    @pytest_asyncio.fixture
    async def other(self, store: EventStore, make_store: MakeStore) -> AsyncIterator[EventStore]:
        """Give out another instance on the database of ``store``."""
        if not self.shared:
            pytest.skip("every store of this kind is a world of its own")
        other = make_store()
        await other.open()
        yield other
        await other.close()
