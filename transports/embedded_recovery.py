"""What went wrong with a bus file, and when to try again."""

import random
import time

import apsw

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 2.0


class Recovery:
    """The failures in a row of one activity: exponential backoff with jitter."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._failures = 0
        self._retry_at = 0.0

    @property
    def seconds_left(self) -> float:
        """How long to wait before the next attempt; 0 where nothing failed."""
        return 0.0 if self.error is None else max(0.0, self._retry_at - time.monotonic())

    @property
    def is_due(self) -> bool:
        """Whether it may be tried now."""
        return self.seconds_left == 0.0

    def failed(self, error: Exception) -> None:
        """Note a failure."""
        self.error = error
        # The bound on the exponent keeps a long outage from growing the power without end.
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 16))
        self._failures += 1
        self._retry_at = time.monotonic() + pause * random.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        """Note that all is well."""
        self.error = None
        self._failures = 0


def is_passing(error: Exception) -> bool:
    """Tell whether an error says nothing against the open connection."""
    return isinstance(error, apsw.BusyError | apsw.LockedError | apsw.FullError)


def explain(error: Exception) -> str:
    """Say for people what an error means and how to mend it."""
    if isinstance(error, apsw.FullError):
        return "the disk is full: make room, and it goes on by itself"
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return "another process keeps the file locked: find out which one hangs or was suspended"
    return str(error)
