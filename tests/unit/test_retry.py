"""When to try again, and what no retry policy may be."""

import math

import pytest

from gemstone_events.retry import RetryPolicy


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"attempts": 0}, "attempts"),
        ({"attempts": 1.5}, "attempts"),
        ({"attempts": "3"}, "attempts"),
        ({"first_delay": -1}, "first_delay"),
        ({"first_delay": math.nan}, "first_delay"),
        ({"first_delay": math.inf}, "first_delay"),
        ({"max_delay": math.nan}, "max_delay"),
        ({"max_delay": math.inf}, "max_delay"),
        ({"max_delay": "5"}, "max_delay"),
        ({"retry_on": ValueError}, "retry_on"),
        ({"fatal": ("ValueError",)}, "fatal"),
    ],
)
def test_a_policy_under_which_an_event_could_wait_for_ever_is_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        RetryPolicy(**settings)  # type: ignore[arg-type]


def test_no_delay_exceeds_the_longest_however_many_attempts_failed() -> None:
    policy = RetryPolicy(attempts=10**6, max_delay=7.0)
    assert all(0 <= policy.delay(attempts) <= 7.0 for attempts in (1, 5, 70, 10**6))
