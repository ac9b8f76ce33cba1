"""Values on the command line: JSON where it parses, text where it does not, key=value pairs and seconds."""

import math
import re
from collections.abc import Sequence

import rich_click as click

from gemstone_events import strict_json
from gemstone_events.strict_json import JsonValue

_PAIR = re.compile(r"([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)


class Seconds(click.FloatRange):
    """A number of seconds: not nan, and not for ever."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; a wrong one is a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return number


def read_value(text: str) -> JsonValue:
    """Return the JSON value that ``text`` is, or the text itself: ``42`` is a number, ``042`` and ``Ada`` are text."""
    try:
        return strict_json.loads(_to_bytes(text))
    except ValueError:
        return text


def read_json(text: str | bytes, what: str) -> JsonValue:
    """Return the JSON value that ``text`` is.

    Raises:
        click.UsageError: it is not strict JSON; ``what`` names it in the error.
    """
    try:
        return strict_json.loads(_to_bytes(text) if isinstance(text, str) else text)
    except ValueError as error:
        raise click.UsageError(
            f"{what} is not JSON: {error}. Write text in double quotes ('\"text\"'), or an object as key=value pairs"
        ) from None


def is_pair(text: str) -> bool:
    """Tell whether ``text`` is key=value. No JSON text is."""
    return _PAIR.fullmatch(text) is not None


def read_pairs(texts: Sequence[str]) -> dict[str, JsonValue]:
    """Return the object that key=value pairs make.

    Raises:
        click.UsageError: one of them is no pair, or a key comes twice.
    """
    found: dict[str, JsonValue] = {}
    for text in texts:
        pair = _PAIR.fullmatch(text)
        if pair is None:
            raise click.UsageError(f"{text!r} is not key=value: give pairs only, or none")
        if pair[1] in found:
            raise click.UsageError(f"the key {pair[1]!r} is given twice")
        found[pair[1]] = read_value(pair[2])
    return found


def _to_bytes(text: str) -> bytes:
    # Bytes of the command line that are no UTF-8 come as surrogates; strict JSON shall see and refuse the bytes.
    return text.encode(errors="surrogateescape")
