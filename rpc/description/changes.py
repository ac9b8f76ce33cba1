"""What differs between two descriptions of one service."""

from collections.abc import Iterable
from dataclasses import dataclass

from gemstone_events.rpc.description.references import DescriptionError


@dataclass(frozen=True, slots=True)
class Change:
    """One difference that somebody may notice.

    Attributes:
        path: where it is, by names: ``methods/orders.place/params/customer``.
        message: what changed, and for whom that matters.
        is_breaking: somebody who relies on the old description fails; otherwise it is only risky.
    """

    path: str
    message: str
    is_breaking: bool = True


def collected(changes: Iterable[Change]) -> list[Change]:
    """Return changes, each once.

    Raises:
        DescriptionError: schemas hold each other more deeply than can be followed.
    """
    try:
        return list(dict.fromkeys(changes))
    except RecursionError:
        raise DescriptionError("the schemas hold each other too deeply") from None


def shown(value: object) -> str:
    """Return a value as it stands in a message: short, and on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def said(value: object) -> str:
    """Return a keyword's value as it stands in a message; "none" where there is none."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else shown(value)
