"""Names on the wire, and the one matcher of patterns that every transport agrees with.

A name is one to 200 bytes of words joined by dots; a word is letters, digits, ``_`` and ``-``. In a pattern, ``*``
stands for exactly one word and ``#`` for zero or more, as in AMQP 0-9-1, section 3.1.3.3.
"""

import re
from functools import lru_cache

from gemstone_events.errors import InvalidNameError, InvalidPatternError

MAX_NAME_BYTES = 200

_WORD = r"[A-Za-z0-9_-]+"
_NAME = re.compile(rf"{_WORD}(?:\.{_WORD})*")
_PATTERN = re.compile(rf"(?:{_WORD}|\*|#)(?:\.(?:{_WORD}|\*|#))*")
_RULE = "words of letters, digits, '_' and '-', joined by single dots, 200 bytes at most"


def check_name(kind: str, name: object) -> str:
    """Return ``name`` if it may stand on the wire; ``kind`` says in the error what it names.

    Raises:
        InvalidNameError: it breaks the rules of this module.
    """
    if not isinstance(name, str) or not _is_name(name):
        raise InvalidNameError(f"{kind} {_shown(name)} is not a valid name: use {_RULE}")
    return name


@lru_cache(maxsize=4096)
def _is_name(text: str) -> bool:
    return len(text) <= MAX_NAME_BYTES and _NAME.fullmatch(text) is not None


def check_pattern(pattern: object) -> str:
    """Return ``pattern`` if some event name can match it.

    Raises:
        InvalidPatternError: nothing can.
    """
    if not isinstance(pattern, str) or len(pattern) > MAX_NAME_BYTES or not _PATTERN.fullmatch(pattern):
        raise InvalidPatternError(
            f"pattern {_shown(pattern)} can match no event name: use {_RULE}; "
            "'*' for exactly one word and '#' for any number of words stand alone between dots"
        )
    return pattern


def is_exact(pattern: str) -> bool:
    """Tell whether a valid pattern is a plain event name."""
    return "*" not in pattern and "#" not in pattern


@lru_cache(maxsize=8192)
def matches(pattern: str, name: str) -> bool:
    """Tell whether a valid event name matches a valid pattern."""
    if is_exact(pattern):
        return pattern == name
    # reachable[i]: the words of the name read so far are matched by the first i words of the pattern.
    words = pattern.split(".")
    reachable = [True] + [False] * len(words)
    _skip_hashes(words, reachable)
    for word in name.split("."):
        following = [False] * len(reachable)
        for i, expected in enumerate(words):
            if expected == "#":
                following[i + 1] = reachable[i + 1] or reachable[i]
            else:
                following[i + 1] = reachable[i] and expected in ("*", word)
        reachable = following
        _skip_hashes(words, reachable)
    return reachable[-1]


def _skip_hashes(words: list[str], reachable: list[bool]) -> None:
    for i, expected in enumerate(words):
        if expected == "#" and reachable[i]:
            reachable[i + 1] = True


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
