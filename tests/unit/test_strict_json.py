"""JSON without leniencies."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemstone_events import strict_json
from gemstone_events.strict_json import DEFAULT_MAX_DEPTH, JsonValue, dumps, loads

MEBIBYTE = 1024 * 1024

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(value=json_values)
def test_what_is_written_is_read_back_the_same(value: JsonValue) -> None:
    assert loads(dumps(value)) == value


@given(value=json_values)
def test_every_other_program_reads_the_same(value: JsonValue) -> None:
    assert json.loads(dumps(value)) == value
    assert loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "Expecting value at character 0"),
        (b"{", "at character 1"),
        (b"[1,]", "at character"),
        (b"{'a': 1}", "at character 1"),
        (b"1 2", "Extra data"),
        (b"\x00", "at character 0"),
        (b'"\x01"', "Invalid control character"),
        (b"\xef\xbb\xbf1", "BOM|Expecting value"),
        ('"é"'.encode("latin-1"), "not UTF-8 at byte 1"),
        ('"a"'.encode("utf-16"), "not UTF-8 at byte 0"),
        (b"NaN", "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"1e999", "beyond the range of a double"),
        (b"-1e+999", "beyond the range of a double"),
        (b"1" + b"0" * 400 + b".0", "beyond the range of a double"),
        (b"18446744073709551616", "more than 64 bits"),
        (b"-9223372036854775809", "more than 64 bits"),
        (b"[" + b"9" * 5000 + b"]", "more than 64 bits"),
        (b'{"a": 1, "a": 1}', "an object repeats a key"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "an object repeats a key"),
        (b'"\\ud800"', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b'["\\ude00\\ud83d"]', "lone surrogate"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b"[" * 33 + b"]" * 33, "more than 32 levels"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "more than 32 levels"),
        (b"[" * 100_000, "more than 32 levels"),
    ],
    ids=lambda value: ascii(value[:24]) if isinstance(value, bytes) else None,
)
def test_what_is_not_strict_json_is_refused_with_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"18446744073709551615",
        b"-9223372036854775808",
        b"1e308",
        b'"\\ud83d\\ude00"',
        b'"1e999 99999999999999999999 [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["',
        b'["\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "{{{{{{{{{{{{{{{{{{{{{{{{"]',
        b"[" * DEFAULT_MAX_DEPTH + b"]" * DEFAULT_MAX_DEPTH,
        b"[" + b"[]," * 100 + b"[]]",
        b" \t\r\n1 ",
    ],
    ids=lambda raw: ascii(raw[:24]),
)
def test_what_only_looks_like_a_violation_is_read(raw: bytes) -> None:
    assert loads(raw) == json.loads(raw)


def test_the_depth_is_the_callers_to_choose() -> None:
    assert loads(b"[[1]]", max_depth=2) == [[1]]
    with pytest.raises(ValueError, match="more than 1 levels"):
        loads(b"[[1]]", max_depth=1)


def test_a_refusal_never_quotes_the_input() -> None:
    for raw in (b'{"card": 4111111111111111x}', b'{"a": "secret", "a": "secret"}', b'"secret\xff"', b'"secret\\ud800"'):
        with pytest.raises(ValueError, match=r".") as caught:
            loads(raw)
        assert "secret" not in str(caught.value)
        assert "4111" not in str(caught.value)


RECURSIVE: list[object] = []
RECURSIVE.append(RECURSIVE)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "JSON compliant"),
        (-math.inf, "JSON compliant"),
        ([2**64], "more than 64 bits"),
        ({"a": -(2**63) - 1}, "more than 64 bits"),
        (10**5000, "64 bits|digits"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        (b"bytes", "bytes is not JSON serializable"),
        ({1, 2}, "set is not JSON serializable"),
        (object(), "object is not JSON serializable"),
        ({(1, 2): 3}, "keys must be str"),
        (RECURSIVE, "Circular|nested too deeply"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_what_json_cannot_carry_is_not_written(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        dumps(value)


def test_keys_that_are_numbers_are_written_as_text() -> None:
    assert dumps({1: "a", 1.5: "b"}) == b'{"1":"a","1.5":"b"}'


def nested(levels: int) -> JsonValue:
    value: JsonValue = 1
    for level in range(levels):
        value = [value] if level % 2 else {"deeper": value}
    return value


def test_nothing_deeper_than_the_limit_is_written() -> None:
    assert loads(dumps(nested(DEFAULT_MAX_DEPTH), DEFAULT_MAX_DEPTH)) == nested(DEFAULT_MAX_DEPTH)
    with pytest.raises(ValueError, match="more than 32 levels"):
        dumps(nested(DEFAULT_MAX_DEPTH + 1), DEFAULT_MAX_DEPTH)
    with pytest.raises(ValueError, match="nested too deeply"):
        dumps(nested(100_000))


@pytest.mark.parametrize(
    "raw",
    [
        b'"' + b"\\" * MEBIBYTE,
        b'"' + b'\\"' * (MEBIBYTE // 2) + b'"',
        b'"' * MEBIBYTE,
        b'"a' * (MEBIBYTE // 2),
        b"[" + b'"["' * (MEBIBYTE // 3),
        b"[]" * (MEBIBYTE // 2),
        b"{" * MEBIBYTE,
        b"[" + b"1e5," * (MEBIBYTE // 4) + b"1]",
        b"[" + b"9" * MEBIBYTE + b"]",
        b"0." + b"1" * MEBIBYTE,
        b'"' + b"\\ud83d" * (MEBIBYTE // 6) + b'"',
        b"\xff" * MEBIBYTE,
        b" " * MEBIBYTE,
        b'{"' + b'":{"' * (MEBIBYTE // 4),
    ],
    ids=lambda raw: ascii(raw[:12]),
)
def test_a_hostile_mebibyte_is_settled_at_once(raw: bytes) -> None:
    """Anything worse than linear would take hours, and the test's time limit would end it."""
    try:
        loads(raw)
    except ValueError as refused:
        assert len(str(refused)) < 200  # noqa: PT017 - some of these are valid JSON


def test_integers_that_look_too_long_are_never_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def counting(text: str) -> int:
        parsed.append(text)
        return int(text)

    monkeypatch.setattr(strict_json, "int", counting, raising=False)
    with pytest.raises(ValueError, match="64 bits"):
        loads(b"[" + b"9" * 4000 + b"]")
    assert parsed == []
