"""JSON without the leniencies of ``json``: what is read here can be written again, by any program.

Refused both ways: NaN and infinities, integers beyond 64 bits, lone surrogates, nesting deeper than a limit. Refused on
reading as well: repeated keys, bytes that are not UTF-8 (RFC 8259, sections 4, 6 and 8.1; RFC 7493, I-JSON).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

DEFAULT_MAX_DEPTH = 32

_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
# Only text that looks like one of these can hold an integer beyond 64 bits, a float beyond its range or a lone
# surrogate; everything else takes the fast path. A false alarm costs time, never correctness. Searching a translated
# copy is many times faster than a regular expression.
_SHAPE = bytes(ord("1") if byte in b"0123456789" else ord("e") if byte in b"eE" else ord(" ") for byte in range(256))
_MANY_DIGITS, _LARGE_EXPONENT, _ESCAPE = b"1" * 19, b"1e111", b"\\u"
# A whole string, or one bracket. Possessive, so that no input makes it look at a byte twice.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def loads(raw: bytes, max_depth: int = DEFAULT_MAX_DEPTH) -> JsonValue:
    """Read one JSON text.

    Raises:
        ValueError: it is not strict JSON; the message says why and never quotes the input.
    """
    if raw.count(b"[") + raw.count(b"{") > max_depth:
        _check_depth(raw, max_depth)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    suspicious = _is_suspicious(raw)
    try:
        value: JsonValue = (_CAREFUL if suspicious else _FAST).decode(text)
        if suspicious:
            _check_strings(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def dumps(value: object, max_depth: int | None = None) -> bytes:
    """Write a value as compact UTF-8 JSON. Keys that are numbers are written as text, as ``json`` does.

    Args:
        value: what to write.
        max_depth: how many levels it may be nested; None for as many as Python can write.

    Raises:
        ValueError: it holds something that JSON cannot carry; the message names it.
    """
    try:
        raw = _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        raise ValueError("a string holds a lone surrogate") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except TypeError as error:
        raise ValueError(str(error)) from None
    if max_depth is not None and raw.count(b"[") + raw.count(b"{") > max_depth:
        _check_depth(raw, max_depth)
    if _MANY_DIGITS in raw.translate(_SHAPE):
        try:
            _CAREFUL.decode(raw.decode())
        except json.JSONDecodeError as error:
            raise ValueError(error.msg) from None
    return raw


def _is_suspicious(raw: bytes) -> bool:
    shape = raw.translate(_SHAPE, b"+")
    return _MANY_DIGITS in shape or _LARGE_EXPONENT in shape or _ESCAPE in raw


def _check_depth(raw: bytes, max_depth: int) -> None:
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(raw):
        token = found[0]
        depth += (token in (b"[", b"{")) - (token in (b"]", b"}"))
        if depth > max_depth:
            raise ValueError(f"nested more than {max_depth} levels deep")


def _check_strings(value: JsonValue) -> None:
    try:
        _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        raise ValueError("a string holds a lone surrogate") from None


def _unique_keys(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object repeats a key")
    return found


def _no_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _bounded_int(digits: str) -> int:
    if len(digits) > 20 or not _MIN_INTEGER <= int(digits) <= _MAX_INTEGER:
        raise ValueError("an integer needs more than 64 bits")
    return int(digits)


def _finite_float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is beyond the range of a double")
    return number


_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))
_FAST = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant)
_CAREFUL = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_constant=_no_constant,
    parse_int=_bounded_int,
    parse_float=_finite_float,
)
