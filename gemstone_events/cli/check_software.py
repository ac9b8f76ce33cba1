"""Versions of Python, SQLite and the libraries, against the floors of this package's own metadata."""

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

import apsw

from gemstone_events.cli.findings import Finding, ok, problem
from gemstone_events.store.sqlite_schema import OLDEST_SQLITE

PACKAGE = "gemstone_events"

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(;.*)?")


def check_software() -> Iterator[Finding]:
    """Yield one finding for Python, one for SQLite and one for each library."""
    floor = str(metadata(PACKAGE)["Requires-Python"])
    yield check_version("Python", platform.python_version(), floor)
    yield check_version("SQLite", apsw.sqlite_lib_version(), ">=" + ".".join(map(str, OLDEST_SQLITE)))
    for requirement in requires(PACKAGE) or ():
        parts = _REQUIREMENT.match(requirement)
        if parts is None:
            continue
        name, bounds, marker = parts.groups()
        try:
            yield check_version(name, version(name), bounds)
        except PackageNotFoundError:
            if marker is None:
                yield problem(name, "not installed", f"pip install '{name}{bounds}'")


def check_version(name: str, installed: str, bounds: str) -> Finding:
    """Compare a version with bounds as ``>=5.4.2`` or ``>=5.7,<6``."""
    found = _numbers(installed)
    for bound in filter(None, (part.strip() for part in bounds.split(","))):
        is_floor = bound.startswith(">=")
        if (is_floor and found < _numbers(bound)) or (bound.startswith("<") and found >= _numbers(bound)):
            return problem(name, f"{installed}, and {bounds} is needed", f"pip install '{name}{bounds}'")
    return ok(name, installed)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[a-z+]", text, maxsplit=1)[0]))
