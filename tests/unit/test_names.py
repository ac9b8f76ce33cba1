"""Names, patterns and the one matcher."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemstone_events.errors import InvalidNameError, InvalidPatternError, ServiceConfigurationError
from gemstone_events.names import MAX_NAME_BYTES, check_name, check_pattern, is_exact, matches

NAMES = ["a", "order.placed", "Order-1.placed_2", "0.1.2", "a" * MAX_NAME_BYTES, "-", "_"]
NO_NAMES = [
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "a b",
    " a",
    "a\n",
    "a/b",
    "../a",
    "a:b",
    "a*",
    "*",
    "#",
    "a.#",
    "é",
    "a\x00b",
    "\u0663",
    "\uff41",
    "a" * (MAX_NAME_BYTES + 1),
]
PATTERNS = [*NAMES, "*", "#", "*.placed", "order.*", "order.#", "#.placed", "*.#.*", "#.#", "a.*.b.#.c"]
NO_PATTERNS = [name for name in NO_NAMES if name not in ("*", "#", "a.#")] + ["or*er", "#a", "a.**", "##", "a.*b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_words_joined_by_dots(name: str) -> None:
    assert check_name("event name", name) == name


@pytest.mark.parametrize("name", NO_NAMES, ids=ascii)
def test_anything_else_is_no_name(name: str) -> None:
    with pytest.raises(InvalidNameError, match="is not a valid name: use words of letters, digits"):
        check_name("event name", name)


@pytest.mark.parametrize("value", [None, 7, b"order.placed", ["order"]], ids=repr)
def test_only_text_is_a_name_or_a_pattern(value: object) -> None:
    with pytest.raises(InvalidNameError):
        check_name("event name", value)
    with pytest.raises(InvalidPatternError):
        check_pattern(value)


def test_the_error_says_what_is_named_and_shortens_what_is_long() -> None:
    with pytest.raises(InvalidNameError, match=r"^group 'a b' is not") as caught:
        check_name("group", "a b")
    assert isinstance(caught.value, ValueError | ServiceConfigurationError)
    with pytest.raises(InvalidNameError) as caught:
        check_name("group", "a" * 1_000_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_a_name_whose_words_may_be_wildcards(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", NO_PATTERNS, ids=ascii)
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidPatternError, match="can match no event name"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("order.placed", "order.placed", True),
        ("order.placed", "order.Placed", False),
        ("order.placed", "order", False),
        ("*", "order", True),
        ("*", "order.placed", False),
        ("order.*", "order", False),
        ("order.*", "order.placed", True),
        ("order.*", "order.placed.late", False),
        ("*.*", "order.placed", True),
        ("#", "order", True),
        ("#", "a.b.c.d", True),
        ("order.#", "order", True),
        ("order.#", "order.placed.late", True),
        ("order.#", "orders", False),
        ("#.late", "late", True),
        ("#.late", "order.placed.late", True),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.b.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.b.c", False),
        ("#.#", "a", True),
        ("#.*", "a", True),
        ("*.#.*", "a", False),
        ("*.#.*", "a.b", True),
        ("#.a.#.a.#", "a", False),
        ("#.a.#.a.#", "x.a.y.a.z", True),
    ],
)
def test_a_star_is_one_word_and_a_hash_any_number(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


def naive(pattern: list[str], name: list[str]) -> bool:
    """The definition, word for word; exponential, so for short input only."""
    if not pattern:
        return not name
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return naive(rest, name) or (bool(name) and naive(pattern, name[1:]))
    return bool(name) and first in ("*", name[0]) and naive(rest, name[1:])


words = st.sampled_from(["a", "b", "c"])


@given(
    pattern=st.lists(words | st.sampled_from(["*", "#"]), min_size=1, max_size=6),
    name=st.lists(words, min_size=1, max_size=6),
)
def test_the_matcher_agrees_with_the_definition(pattern: list[str], name: list[str]) -> None:
    text = check_pattern(".".join(pattern))
    assert matches(text, ".".join(name)) is naive(pattern, name)
    assert is_exact(text) is not ({"*", "#"} & set(pattern) != set())


@given(name=st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True), min_size=1, max_size=8).map(".".join))
def test_a_name_matches_itself_and_everything_wild(name: str) -> None:
    assert check_name("event name", name) == name
    assert matches(name, name)
    assert matches("#", name)
    assert matches(".".join("*" for _ in name.split(".")), name)
    assert is_exact(name)


def test_many_hashes_cost_no_more_than_their_number_times_the_words() -> None:
    # A matcher that backtracks would try more ways than there are atoms.
    pattern = check_pattern(".".join("#" if i % 2 == 0 else "a" for i in range(100)))
    assert not matches(pattern, check_name("event name", ".".join(["a"] * 49 + ["b"] * 50)))
