"""Values, pairs and assignments on the command line."""

import pytest
import rich_click as click
from hypothesis import given
from hypothesis import strategies as st

from gemstone_events import strict_json
from gemstone_events.cli.arguments import is_pair, read_json, read_pairs, read_value
from gemstone_events.strict_json import JsonValue

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(JSON)
def test_whatever_is_json_is_read_as_json_and_is_never_a_pair(value: JsonValue) -> None:
    text = strict_json.dumps(value).decode()
    assert read_value(text) == value
    assert not is_pair(text)


@pytest.mark.parametrize("text", ["Ada", "", "042", "NaN", "1e999", "{", "a b", "99999999999999999999", "x=1"])
def test_whatever_is_no_json_is_text(text: str) -> None:
    assert read_value(text) == text


def test_pairs_make_an_object() -> None:
    found = read_pairs(
        ["id=42", "name=Ada", "zip=01234", "tags=[1,2]", "empty=", "is-new=true", "formula=a=b", 'x="7"']
    )
    assert found == {
        "id": 42,
        "name": "Ada",
        "zip": "01234",
        "tags": [1, 2],
        "empty": "",
        "is-new": True,
        "formula": "a=b",
        "x": "7",
    }


def test_a_value_may_hold_line_breaks() -> None:
    assert read_pairs(["note=one\ntwo"]) == {"note": "one\ntwo"}


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(click.UsageError, match="'id' is given twice"):
        read_pairs(["id=1", "id=2"])


def test_a_text_among_pairs_is_refused() -> None:
    with pytest.raises(click.UsageError, match="'7' is not key=value"):
        read_pairs(["id=1", "7"])


def test_a_body_that_is_no_json_is_refused_with_a_way_out() -> None:
    with pytest.raises(click.UsageError, match=r"BODY is not JSON: .* Write text in double quotes"):
        read_json("Ada", "BODY")


def test_bytes_that_are_no_utf_8_are_refused_in_a_body_and_kept_out_of_json() -> None:
    not_utf_8 = b'"\xff"'.decode(errors="surrogateescape")
    with pytest.raises(click.UsageError, match="not UTF-8"):
        read_json(not_utf_8, "BODY")
    assert read_value(not_utf_8) == not_utf_8
