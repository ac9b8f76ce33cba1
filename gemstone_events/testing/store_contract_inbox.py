"""The store contract: inbox marks, retries, dead letters and leases."""

from dataclasses import replace

import pytest

from gemstone_events.errors import AlreadyHandledError, InvalidPatternError
from gemstone_events.message import Message
from gemstone_events.store.port import Changes, DeadLetter, EventStore, InboxKey, Retry
from gemstone_events.testing.store_contract_harness import (
    LONG,
    StoreHarness,
    eventually,
    is_handled,
    is_settled,
    letter,
    message,
    outcomes,
    retry,
)

KEY = InboxKey("billing.charge", "1")
OTHER = InboxKey("billing.charge", "2")
BRIEF = 0.05
"""Seconds of a delay or a lease that a scenario waits for."""


async def claim(store: EventStore, owner: str = "me", *, lease: float = LONG, limit: int = 10) -> list[InboxKey]:
    """Claim retries of KEY's consumer and return their keys."""
    return [one.key for one in await store.claim_retries([KEY.consumer], owner, lease, limit)]


class InboxContract(StoreHarness):
    """What is handled, what is tried again, what was given up."""

    async def test_a_mark_is_found_for_its_consumer_alone(self, store: EventStore) -> None:
        await store.commit(Changes(handled=[KEY]))
        elsewhere = InboxKey("billing.archive", KEY.event_id)
        assert await store.find_settled([KEY, OTHER, elsewhere]) == {KEY}
        assert await store.find_settled([]) == set()

    async def test_many_keys_are_looked_up_at_once(self, store: EventStore) -> None:
        keys = [InboxKey("c", str(number)) for number in range(1000)]
        await store.commit(Changes(handled=keys[::2]))
        assert await store.find_settled([*keys, *keys]) == set(keys[::2])

    async def test_a_second_mark_is_refused(self, store: EventStore) -> None:
        await store.commit(Changes(handled=[KEY]))
        with pytest.raises(AlreadyHandledError, match=KEY.event_id):
            await store.commit(Changes(handled=[KEY]))

    async def test_old_marks_are_forgotten_the_oldest_first_and_no_more_than_asked(self, store: EventStore) -> None:
        keys = [InboxKey("c", str(number)) for number in range(5)]
        for key in keys:
            await store.commit(Changes(handled=[key]))
        assert await store.forget_handled(LONG) == 0

        forgotten = 0

        async def forget() -> bool:
            nonlocal forgotten
            forgotten += await store.forget_handled(0.0, 2 - forgotten)
            return forgotten == 2

        await eventually(forget, "two marks to be older than nothing")
        assert await store.find_settled(keys) == set(keys[2:])

    async def test_a_retry_comes_back_whole(self, store: EventStore) -> None:
        about = Message({"id": "1", "type": "a.b", "x": "\N{SNOWMAN}"}, b"\xff{", broadcast=False)
        await store.commit(Changes(retries=[Retry(KEY, about, 3, 0.0, "Traceback: \N{SNOWMAN}")]))
        (found,) = await store.claim_retries([KEY.consumer], "me", LONG, 10)
        assert (found.key, found.message, found.attempts, found.error) == (KEY, about, 3, "Traceback: \N{SNOWMAN}")

    async def test_a_retry_counts_as_settled_until_it_is_due_and_while_it_runs(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY)]))
        assert await is_settled(store, KEY)
        assert await claim(store) == [KEY]
        assert await is_settled(store, KEY)

    async def test_a_retry_is_not_claimed_before_it_is_due(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY, delay=LONG), retry(OTHER)]))
        assert await claim(store) == [OTHER]
        assert await claim(store) == []

    async def test_a_retry_is_claimed_when_it_is_due(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY, delay=BRIEF)]))

        async def claimed() -> bool:
            return await claim(store) == [KEY]

        await eventually(claimed, "the retry to be due")

    async def test_the_longest_due_are_claimed_first_and_no_more_than_asked(self, store: EventStore) -> None:
        keys = [InboxKey(consumer, str(number)) for number in range(2) for consumer in ("a", "b")]
        await store.commit(Changes(retries=[retry(key, delay=-float(number)) for number, key in enumerate(keys)]))
        for expected in (keys[:0:-1][:3], keys[:1]):
            assert [one.key for one in await store.claim_retries(["a", "b"], "me", LONG, 3)] == expected

    async def test_only_the_named_consumers_retries_are_claimed(self, store: EventStore) -> None:
        elsewhere = InboxKey("billing.archive", "1")
        await store.commit(Changes(retries=[retry(KEY), retry(elsewhere)]))
        assert await claim(store) == [KEY]
        assert await store.claim_retries([], "me", LONG, 10) == []
        assert [one.key for one in await store.claim_retries(["x", elsewhere.consumer], "me", LONG, 10)] == [elsewhere]

    async def test_a_claimed_retry_is_nobody_elses(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY)]))
        assert await claim(store, "me") == [KEY]
        assert await claim(store, "you") == []
        assert await claim(store, "me") == []

    async def test_a_claim_ends_with_its_lease(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY, attempts=2)]))
        assert await claim(store, "me", lease=BRIEF) == [KEY]

        async def taken_over() -> bool:
            return await claim(store, "you") == [KEY]

        await eventually(taken_over, "the lease to end")

    async def test_a_claim_counts_as_an_attempt_even_if_nothing_comes_of_it(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY, attempts=2)]))
        (first,) = await store.claim_retries([KEY.consumer], "me", -1.0, 10)
        (second,) = await store.claim_retries([KEY.consumer], "you", LONG, 10)
        assert (first.attempts, second.attempts) == (2, 3)

    async def test_a_renewed_claim_goes_on_and_only_its_owner_renews_it(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY)]))
        assert await claim(store, "me", lease=-1.0) == [KEY]
        assert await store.renew_claims("you", LONG) == 0
        assert await store.renew_claims("me", LONG) == 1
        assert await claim(store, "you") == []
        await store.commit(Changes(handled=[KEY]))
        assert await store.renew_claims("me", LONG) == 0

    async def test_what_only_waits_for_an_attempt_is_settled_and_not_final(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY, delay=LONG)], handled=[OTHER]))
        assert await store.find_settled([KEY, OTHER]) == {KEY, OTHER}
        assert await store.find_settled([KEY, OTHER], final=True) == {OTHER}

    async def test_of_two_instances_one_gets_the_retry(self, store: EventStore, other: EventStore) -> None:
        keys = [InboxKey(KEY.consumer, str(number)) for number in range(20)]
        await store.commit(Changes(retries=[retry(key) for key in keys]))
        claimed = [*await claim(store, limit=10), *await claim(other, "you", limit=20)]
        assert sorted(claimed) == sorted(keys)

    async def test_a_retry_replaces_the_one_before_and_frees_its_claim(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY, attempts=1)]))
        assert await claim(store) == [KEY]
        await store.commit(Changes(retries=[retry(KEY, attempts=2, error="again")]))
        (found,) = await store.claim_retries([KEY.consumer], "you", LONG, 10)
        assert (found.attempts, found.error) == (2, "again")
        await store.commit(Changes(retries=[retry(KEY, attempts=3, delay=LONG)]))
        assert await claim(store) == []

    async def test_a_mark_ends_the_retries_of_its_key(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY), retry(OTHER)]))
        await store.commit(Changes(handled=[KEY]))
        assert await claim(store) == [OTHER]

    async def test_a_dead_letter_ends_the_retries_of_its_key(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY), retry(OTHER)]))
        await store.commit(Changes(dead_letters=[letter(KEY)]))
        assert await claim(store) == [OTHER]

    async def test_what_is_handled_is_not_retried(self, store: EventStore) -> None:
        await store.commit(Changes(handled=[KEY]))
        await store.commit(Changes(retries=[retry(KEY)], emitted=[message()]))
        assert await claim(store) == []
        await outcomes(store, [Changes(handled=[OTHER]), Changes(retries=[retry(OTHER)])])
        assert await claim(store) == []
        assert await store.last_position() > 0

    async def test_the_next_retry_is_foreseen(self, store: EventStore) -> None:
        assert await store.seconds_to_next_retry([KEY.consumer]) is None
        await store.commit(Changes(retries=[retry(KEY, delay=LONG), retry(InboxKey("elsewhere", "1"))]))
        seconds = await store.seconds_to_next_retry([KEY.consumer])
        assert seconds is not None
        assert LONG / 2 < seconds <= LONG
        assert await store.seconds_to_next_retry([KEY.consumer, "elsewhere"]) == 0.0
        assert await store.seconds_to_next_retry([]) is None

    async def test_a_claimed_retry_is_foreseen_for_the_end_of_its_lease(self, store: EventStore) -> None:
        await store.commit(Changes(retries=[retry(KEY)]))
        assert await claim(store, lease=LONG) == [KEY]
        seconds = await store.seconds_to_next_retry([KEY.consumer])
        assert seconds is not None
        assert LONG / 2 < seconds <= LONG

    async def test_what_nobody_takes_is_found_the_longest_due_first(self, store: EventStore) -> None:
        lost = [retry(InboxKey("gone", str(number)), delay=-2 * LONG - number, error="why") for number in range(3)]
        await store.commit(Changes(retries=[*lost, retry(KEY, delay=-LONG / 2)]))
        assert list(await store.find_unclaimed(LONG)) == [replace(one, delay=0.0) for one in reversed(lost)]
        assert [one.key.event_id for one in await store.find_unclaimed(LONG, 2)] == ["2", "1"]
        assert len(await store.find_unclaimed(LONG / 4)) == 4
        assert await store.find_unclaimed(3 * LONG) == []

    async def test_a_consumer_of_whom_something_is_claimed_or_not_due_yet_is_found_to_live(
        self, store: EventStore
    ) -> None:
        old = [retry(one, delay=-2 * LONG) for one in (KEY, OTHER)]
        await store.commit(Changes(retries=old))
        assert await claim(store, limit=1)
        assert await store.find_unclaimed(LONG) == []
        later = [retry(InboxKey("c", "1"), delay=-2 * LONG), retry(InboxKey("c", "2"), delay=LONG)]
        await store.commit(Changes(retries=later))
        assert await store.find_unclaimed(LONG) == []

    async def test_a_dead_letter_is_kept_whole_and_marks_its_key(self, store: EventStore) -> None:
        about = Message({"id": "1", "type": "a.b", "x": "\N{SNOWMAN}"}, b"\xff{", broadcast=False)
        sent = DeadLetter("letter", KEY, about, "exhausted", "Traceback \N{SNOWMAN}", 5)
        await store.commit(Changes(dead_letters=[sent]))
        kept = await store.get_dead_letter("letter")
        assert kept is not None
        assert (kept.id, kept.key, kept.message) == ("letter", KEY, about)
        assert (kept.reason, kept.error, kept.attempts) == ("exhausted", "Traceback \N{SNOWMAN}", 5)
        assert kept.time > 1_500_000_000
        assert await is_handled(store, KEY)
        assert await store.get_dead_letter("no such letter") is None

    async def test_what_is_handled_cannot_die(self, store: EventStore) -> None:
        await store.commit(Changes(handled=[KEY]))
        await store.commit(Changes(dead_letters=[letter(KEY)]))
        await outcomes(store, [Changes(dead_letters=[letter(OTHER)]) for _ in range(5)])
        assert [one.key for one in await store.list_dead_letters()] == [OTHER]

    async def test_messages_without_an_id_all_die_apart(self, store: EventStore) -> None:
        nameless = [letter(InboxKey("c", ""), about=Message({}, str(number).encode())) for number in range(3)]
        await store.commit(Changes(dead_letters=nameless))
        assert [one.message.body for one in await store.list_dead_letters()] == [b"2", b"1", b"0"]
        assert await store.redrive([one.id for one in nameless]) == 3
        retried = await store.claim_retries(["c"], "me", LONG, 10)
        assert sorted(one.message.body for one in retried) == [b"0", b"1", b"2"]
        assert {one.key.event_id for one in retried} == {one.id for one in nameless}

    async def test_dead_letters_are_listed_the_newest_first_up_to_a_limit(self, store: EventStore) -> None:
        letters = [letter(InboxKey("c", str(number))) for number in range(5)]
        for one in letters:
            await store.commit(Changes(dead_letters=[one]))
        assert [one.id for one in await store.list_dead_letters(3)] == [one.id for one in letters[:1:-1]]

    async def test_dead_letters_are_listed_by_pattern(self, store: EventStore) -> None:
        names = ["order.placed", "order.paid.late", "price.changed", ""]
        await store.commit(
            Changes(
                dead_letters=[
                    letter(InboxKey("c", str(n)), id=name or "nameless", about=message(name, id=str(n)))
                    for n, name in enumerate(names)
                ]
            )
        )

        async def listed(pattern: str, limit: int = 100) -> list[str]:
            return [one.id for one in await store.list_dead_letters(limit, pattern)]

        assert await listed("#") == ["nameless", "price.changed", "order.paid.late", "order.placed"]
        assert await listed("order.#") == ["order.paid.late", "order.placed"]
        assert await listed("order.#", 1) == ["order.paid.late"]
        assert await listed("*.*") == ["price.changed", "order.placed"]
        assert await listed("price.changed") == ["price.changed"]
        assert await listed("nothing.here") == []
        with pytest.raises(InvalidPatternError):
            await listed("order..")

    async def test_a_redriven_letter_is_due_at_once_with_no_attempt_counted(self, store: EventStore) -> None:
        dead, kept = letter(KEY), letter(OTHER)
        await store.commit(Changes(dead_letters=[dead, kept]))
        assert await store.redrive([dead.id, dead.id, "no such letter"]) == 1
        (found,) = await store.claim_retries([KEY.consumer], "me", LONG, 10)
        assert (found.key, found.message, found.attempts) == (KEY, dead.message, 0)
        assert [one.id for one in await store.list_dead_letters()] == [kept.id]
        assert await store.redrive([dead.id]) == 0

    async def test_a_redriven_letter_can_be_handled_or_die_again(self, store: EventStore) -> None:
        for ending in (Changes(dead_letters=[letter(KEY, id="second")]), Changes(handled=[KEY])):
            dead = letter(KEY)
            if not await store.list_dead_letters():
                await store.commit(Changes(dead_letters=[dead]))
            await store.redrive([one.id for one in await store.list_dead_letters()])
            await store.commit(ending)
            assert await is_handled(store, KEY)
        assert await store.list_dead_letters() == []

    async def test_a_purged_letter_is_gone_and_its_key_stays_marked(self, store: EventStore) -> None:
        dead, kept = letter(KEY), letter(OTHER)
        await store.commit(Changes(dead_letters=[dead, kept]))
        assert await store.purge_dead_letters([dead.id, "no such letter"]) == 1
        assert [one.id for one in await store.list_dead_letters()] == [kept.id]
        assert await is_handled(store, KEY)

    async def test_a_lease_has_one_owner_who_may_renew_it(self, store: EventStore) -> None:
        assert await store.acquire_lease("relay", "me", LONG)
        assert await store.acquire_lease("relay", "me", LONG)
        assert not await store.acquire_lease("relay", "you", LONG)
        assert await store.acquire_lease("another", "you", LONG)

    async def test_a_lease_that_was_given_back_is_free(self, store: EventStore) -> None:
        await store.acquire_lease("relay", "me", LONG)
        await store.release_lease("relay", "you")
        assert not await store.acquire_lease("relay", "you", LONG)
        await store.release_lease("relay", "me")
        await store.release_lease("relay", "me")
        assert await store.acquire_lease("relay", "you", LONG)

    async def test_a_lease_ends_by_itself(self, store: EventStore) -> None:
        assert await store.acquire_lease("relay", "me", BRIEF)

        async def taken_over() -> bool:
            return await store.acquire_lease("relay", "you", LONG)

        await eventually(taken_over, "the lease to end")
        assert not await store.acquire_lease("relay", "me", LONG)

    async def test_a_lease_from_before_the_clock_was_set_back_is_free(self, store: EventStore) -> None:
        # It ends later than any that is taken now, as this one does that was taken for twice the time.
        assert await store.acquire_lease("relay", "me", 2 * LONG)
        assert await store.acquire_lease("relay", "you", LONG)
        assert not await store.acquire_lease("relay", "me", LONG)

    async def test_of_two_instances_one_holds_the_lease(self, store: EventStore, other: EventStore) -> None:
        assert await store.acquire_lease("relay", "me", LONG)
        assert not await other.acquire_lease("relay", "you", LONG)
