"""Whose turn it is."""

from gemstone_events.subscribing.turns import Turns
from tests.unit.subscription_fake import turn_of


def turns_with(places: int, *, new: str = "", due: str = "") -> Turns:
    turns = Turns(places)
    for letter in new:
        turns.add_new(turn_of(letter))
    for letter in due:
        turns.add_due(turn_of(letter))
    return turns


def taken(turns: Turns) -> str:
    """Take all, one after the other, as where there is one place."""
    order = ""
    while (turn := turns.take()) is not None:
        order += turn.key.event_id
        turns.leave()
    return order


def test_new_ones_and_retries_are_taken_by_turns_each_in_their_order() -> None:
    assert taken(turns_with(1, new="abcd", due="xyz")) == "xaybzcd"


def test_many_retries_do_not_hold_up_what_is_new() -> None:
    turns = turns_with(1, due="uvwxyz")
    assert taken(turns) == "uvwxyz"
    turns = turns_with(1, new="a", due="uvwxyz")
    assert taken(turns) == "uavwxyz"


def test_no_more_run_than_there_are_places() -> None:
    turns = turns_with(2, new="abc")
    assert [turns.take() is not None for _ in range(3)] == [True, True, False]
    assert turns.waiting == 1
    turns.leave()
    assert turns.take() is not None
    assert turns.take() is None


def test_retries_are_asked_for_as_there_are_places() -> None:
    assert turns_with(5).room == 5
    assert turns_with(5, due="xy").room == 3
    assert turns_with(5, new="abc").room == 2


def test_one_retry_may_wait_for_a_place_that_gets_free_however_much_is_new() -> None:
    turns = turns_with(2, new="abcdef")
    turns.take()
    assert turns.room == 1
    turns.add_due(turn_of("x"))
    assert turns.room == 0


def test_what_is_dropped_is_forgotten_and_retries_are_handed_back() -> None:
    turns = turns_with(1, new="abc", due="xyz")
    turns.take()
    assert [turn.key.event_id for turn in turns.drop()] == ["y", "z"]
    assert turns.drop() == []
    turns.leave()
    assert turns.take() is None
