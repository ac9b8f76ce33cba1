"""The options after ``?`` in the URL of a server, read strictly."""

from collections.abc import Sequence
from urllib.parse import parse_qsl

TLS_OPTIONS = ("cafile", "certfile", "keyfile")
"""Files in PEM: the authorities to trust, the client's own certificate, and its key."""


def read_options(query: str, known: Sequence[str]) -> dict[str, str]:
    """Return the options by name.

    Raises:
        ValueError: one is unknown, empty, given twice, or of no use without another; the message says so.
    """
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"the option {name[:40]!r} is unknown: there are {', '.join(known) or 'none'}")
        if not value or name in options:
            raise ValueError(f"the option {name!r} is empty or given twice")
        options[name] = value
    if "keyfile" in options and "certfile" not in options:
        raise ValueError("the option 'keyfile' needs 'certfile'")
    return options
