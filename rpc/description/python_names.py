"""Names, literals and texts of generated Python: whatever a description says, it comes out as one harmless token."""

import keyword
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from gemstone_events.logs import printable

LINE = 88
"""As long as a line gets: what formatters allow by default."""

_NO_LETTERS = re.compile(r"[^A-Za-z0-9]+")
_NO_IDENTIFIER = re.compile(r"[^A-Za-z0-9_]+")


class Names:
    """Gives names that differ from each other, from keywords and from what is reserved.

    Args:
        reserved: names that must not be given.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)

    def __iter__(self) -> Iterator[str]:
        return iter(self._taken)

    def take(self, wanted: str) -> str:
        """Return an identifier like ``wanted`` that nobody has yet; it begins with a letter."""
        base = _NO_IDENTIFIER.sub("_", wanted)
        if not base[:1].isalpha():
            base = f"x_{base.lstrip('_')}"
        if keyword.iskeyword(base) or keyword.issoftkeyword(base) or base in self._taken:
            base = f"{base.rstrip('_')}_"
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base.rstrip('_')}_{number}"
        self._taken.add(name)
        return name


def class_name(text: str) -> str:
    """Return a text as the name of a class: ``order-desk`` is OrderDesk."""
    words = [word for word in _NO_LETTERS.split(text) if word]
    return "".join(word[0].upper() + word[1:] for word in words) or "Service"


def literal(value: str | float | bool | None) -> str:
    """Return a value as Python writes it, text in double quotes where that is simple."""
    found = repr(value)
    if isinstance(value, str) and found.startswith("'") and '"' not in found:
        return '"' + found[1:-1].replace("\\'", "'") + '"'
    return found


def docstring(paragraphs: Iterable[str], indent: str) -> list[str]:
    """Return the lines of a docstring; none where there is nothing to say. A paragraph's own lines are kept."""
    texts = [text for text in paragraphs if text.strip()]
    if not texts:
        return []
    width = LINE - len(indent)
    lines: list[str] = []
    for text in texts:
        lines += [""] if lines else []
        for line in text.strip("\n").splitlines():
            hanging = " " * (len(line) - len(line.lstrip()) + 4) if line.startswith(" ") else ""
            wrapped = textwrap.wrap(printable(line), width, subsequent_indent=hanging, break_long_words=False)
            lines += [_quoted(part) for part in wrapped] or [""]
    if len(lines) == 1 and len(lines[0]) <= width - 6:
        return [f'{indent}"""{lines[0]}"""']
    first, *rest = lines
    return [f'{indent}"""{first}', *(f"{indent}{line}" if line else "" for line in rest), f'{indent}"""']


def _quoted(line: str) -> str:
    """Return a line that cannot end the docstring, nor mean anything else than it shows."""
    shown = line.replace("\\", "\\\\").replace('"""', "'''")
    return f"{shown[:-1]}'" if shown.endswith('"') else shown


def call_lines(head: str, arguments: Sequence[str], tail: str, indent: str) -> list[str]:
    """Return ``head(arguments)tail`` on one line, or one line per argument where that is too long."""
    line = f"{indent}{head}({', '.join(arguments)}){tail}"
    if len(line) <= LINE or not arguments:
        return [line]
    return [f"{indent}{head}(", *(f"{indent}    {argument}," for argument in arguments), f"{indent}){tail}"]
