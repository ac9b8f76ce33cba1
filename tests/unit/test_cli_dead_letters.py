"""Dead letters that are taken all at once, however many there are."""

import itertools
from collections.abc import Sequence

import pytest

from gemstone_events.cli.dead_letters import for_each_batch
from gemstone_events.message import Message
from gemstone_events.store.memory import MemoryStore
from gemstone_events.store.port import Changes, DeadLetter, EventStore, InboxKey

STUCK = 1201


def letter(letter_id: str) -> DeadLetter:
    """Return a dead letter of that id."""
    return DeadLetter(letter_id, InboxKey("shop", letter_id), Message({"type": "a.b"}, b""), "fatal", "broken", 1)


@pytest.fixture
async def store() -> EventStore:
    """A store with one old dead letter and many newer ones, which stay."""
    ticks = itertools.count(1)
    made = MemoryStore(clock=lambda: float(next(ticks)))
    await made.open()
    await made.commit(Changes(dead_letters=[letter("old")]))
    await made.commit(Changes(dead_letters=[letter(f"stuck {number}") for number in range(STUCK)]))
    return made


async def test_letters_that_stay_do_not_keep_the_older_ones_from_their_turn(store: EventStore) -> None:
    async def redrive_fit(letter_ids: Sequence[str]) -> int:
        return await store.redrive([letter_id for letter_id in letter_ids if letter_id == "old"])

    assert await for_each_batch(store, [], "#", redrive_fit) == (1, STUCK + 1)
    assert await store.get_dead_letter("old") is None


async def test_what_is_given_up_again_meanwhile_is_left_for_the_next_time(store: EventStore) -> None:
    async def redrive_in_vain(letter_ids: Sequence[str]) -> int:
        done = await store.redrive(letter_ids)
        await store.commit(Changes(dead_letters=[letter(f"{letter_id} again") for letter_id in letter_ids]))
        return done

    assert await for_each_batch(store, [], "a.*", redrive_in_vain) == (STUCK + 1, STUCK + 1)
    assert await store.get_dead_letter("old again")
