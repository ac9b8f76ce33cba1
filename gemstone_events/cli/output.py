"""What commands print: tables and lines for people, one JSON text per line for programs."""

import json
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gemstone_events import strict_json
from gemstone_events.logs import printable

Cell: TypeAlias = str | Text

# Wide enough that no line of a table is broken where a program, not a person, reads it.
_WIDTH_WITHOUT_TERMINAL = 100_000


def console(*, stderr: bool = False) -> Console:
    """Return a console that colours on terminals only, and takes all text as it is."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = _WIDTH_WITHOUT_TERMINAL
    return made


def print_json(value: object) -> None:
    """Print one JSON text on one line, at once."""
    print(strict_json.dumps(value).decode(), flush=True)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table. Where a terminal is too narrow, cells are broken into lines, but for those of the first column."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, title in enumerate(titles):
        table.add_column(title, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    console().print(table, soft_wrap=False)


def pretty(value: object) -> str:
    """Return a JSON value indented for people, a string bare."""
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=2, ensure_ascii=False)
