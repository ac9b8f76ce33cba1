"""What ``gemstone doctor`` finds."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad it is."""

    OK = "OK"
    WARNING = "WARNING"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined.

    Attributes:
        level: how bad it is.
        subject: what was examined, in few words.
        detail: what was found.
        remedy: what to do about it; empty where all is well, or where the detail says it.
    """

    level: Level
    subject: str
    detail: str
    remedy: str = ""


def ok(subject: str, detail: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(Level.OK, subject, detail)


def warning(subject: str, detail: str, remedy: str) -> Finding:
    """Return a finding that somebody should look at."""
    return Finding(Level.WARNING, subject, detail, remedy)


def problem(subject: str, detail: str, remedy: str = "") -> Finding:
    """Return a finding that keeps something from working."""
    return Finding(Level.PROBLEM, subject, detail, remedy)
