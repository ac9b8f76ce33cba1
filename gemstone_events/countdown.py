"""One time limit that several steps share."""

import time


class Countdown:
    """Seconds that run down from when it is made; each step takes what the ones before have left.

    Args:
        seconds: how long all steps may take together.
    """

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, 0 when the time is up."""
        return max(0.0, self._end - time.monotonic())
