"""Log lines for people, as ``MicroService.start`` and ``gemstone run`` print them: time, level, service, message."""

import logging
import os
import sys
from typing import TextIO

from gemstone_events.errors import ServiceConfigurationError

_PREFIX = "gemstone_events."
_COLOURS = {
    logging.DEBUG: "\x1b[2m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_END = "\x1b[0m"


def level_number(level: str) -> int:
    """Return the number that ``logging`` knows a level by.

    Raises:
        ServiceConfigurationError: there is no such level.
    """
    known = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if str(level).upper() not in known:
        raise ServiceConfigurationError(f"log_level cannot be {level!r}: choose {', '.join(known).lower()}")
    return logging.getLevelNamesMapping()[str(level).upper()]


def setup_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Log from ``level`` on, unless the program has set up logging itself: handlers of the root logger are left alone.

    Args:
        level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
        stream: where to; by default standard error, in colour if it is a terminal.

    Raises:
        ServiceConfigurationError: there is no such level.
    """
    number = level_number(level)
    root = logging.getLogger()
    if root.handlers:
        return
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(coloured=stream.isatty() and not os.environ.get("NO_COLOR")))
    root.addHandler(handler)
    root.setLevel(number)
    if number > logging.DEBUG:
        logging.getLogger("tornado.access").setLevel(logging.WARNING)  # a line for every request is too much


def printable(text: str) -> str:
    """Return text from outside so that a terminal shows it and never obeys it: control characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return ``printable`` text, with its line breaks."""
    return "\n".join(printable(line.expandtabs()) for line in text.splitlines())


class LineFormatter(logging.Formatter):
    """``2026-08-01 12:00:00.123 INFO    billing: invoice issued``: local time, level, logger, message."""

    default_msec_format = "%s.%03d"

    def __init__(self, *, coloured: bool = False) -> None:
        """``coloured``: mark the levels by ANSI colours."""
        super().__init__()
        self._coloured = coloured

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, without the traceback that may follow it."""
        level = f"{record.levelname:<7}"
        if self._coloured and record.levelno in _COLOURS:
            level = f"{_COLOURS[record.levelno]}{level}{_END}"
        name = record.name.removeprefix(_PREFIX)
        return f"{self.formatTime(record)} {level} {name}: {printable_lines(record.message)}"
