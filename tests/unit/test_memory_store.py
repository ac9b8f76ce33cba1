"""The memory store, beyond the contract that it shares with the others."""

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.message import Message
from gemstone_events.store.memory import MemoryStore, open_url
from gemstone_events.store.port import Changes, InboxKey, Retry


def message(number: int) -> Message:
    return Message({"id": str(number), "type": "a.b"}, b"{}")


async def open_store(**options: int) -> MemoryStore:
    store = MemoryStore(**options)  # type: ignore[arg-type]
    await store.open()
    return store


async def test_a_commit_never_gives_way_to_other_tasks() -> None:
    store = await open_store()
    unit = Changes([message(1)], [InboxKey("c", "1")], retries=[Retry(InboxKey("c", "2"), message(2), 1, 0.0)])
    with pytest.raises(StopIteration):
        store.commit(unit).send(None)
    assert await store.last_position() == 1


async def test_messages_that_every_checkpoint_has_passed_are_forgotten_but_for_the_newest() -> None:
    store = await open_store(kept_messages=10)
    await store.commit(Changes(checkpoints={"slow": 0}))
    for number in range(1, 101):
        await store.commit(Changes([message(number)], checkpoints={"fast": number}))
    assert len(await store.read_emitted(0, 1000)) == 100, "one checkpoint still needs them"
    await store.commit(Changes(checkpoints={"slow": 95}))
    assert [recorded.position for recorded in await store.read_emitted(0, 1000)] == list(range(91, 101))
    assert [recorded.message.id for recorded in await store.read_emitted(95, 2)] == ["96", "97"]
    assert await store.last_position() == 100
    await store.commit(Changes([message(101)]))
    assert [recorded.position for recorded in await store.read_emitted(100, 10)] == [101]


async def test_messages_stay_where_no_checkpoint_needs_them_yet() -> None:
    store = await open_store(kept_messages=1)
    await store.commit(Changes([message(number) for number in range(50)]))
    assert len(await store.read_emitted(0, 1000)) == 50


async def test_time_is_the_stores_own() -> None:
    now = 1000.0
    store = MemoryStore(clock=lambda: now)
    await store.open()
    await store.commit(Changes(retries=[Retry(InboxKey("c", "1"), message(1), 1, 60.0)]))
    assert await store.acquire_lease("relay", "me", 60.0)
    assert await store.seconds_to_next_retry(["c"]) == 60.0
    now = 1060.0
    assert await store.seconds_to_next_retry(["c"]) == 0.0
    assert await store.acquire_lease("relay", "you", 60.0)


@pytest.mark.parametrize("url", ["memory:", "memory://"])
async def test_every_url_opens_a_world_of_its_own(url: str) -> None:
    first, second = open_url(url), open_url(url)
    await first.open()
    await second.open()
    await first.commit(Changes([message(1)]))
    assert await second.last_position() == 0


@pytest.mark.parametrize("url", ["memory://name", "memory:?x=1", "memory:///file"])
def test_a_url_that_says_more_is_refused(url: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="use memory:"):
        open_url(url)
