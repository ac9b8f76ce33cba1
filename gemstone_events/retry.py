"""When to try again, and when to stop trying."""

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How the failures of a handler are treated.

    Attributes:
        attempts: how many attempts are made in all, at least 1; the event is then a dead letter.
        first_delay: the longest wait, in seconds, before the second attempt; it doubles with each failure.
        max_delay: the longest wait in seconds before any attempt.
        retry_on: what is tried again; every other exception makes the event a dead letter at once.
        fatal: exceptions within ``retry_on`` that are not tried again all the same.
    """

    attempts: int = 5
    first_delay: float = 1.0
    max_delay: float = 300.0
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    fatal: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise ValueError(f"attempts must be a whole number of at least 1, not {self.attempts!r}")
        for name, seconds in (("first_delay", self.first_delay), ("max_delay", self.max_delay)):
            if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise ValueError(f"{name} must be 0 seconds or more, and finite, not {seconds!r}")
        for name, kinds in (("retry_on", self.retry_on), ("fatal", self.fatal)):
            if not isinstance(kinds, tuple) or not all(
                isinstance(k, type) and issubclass(k, BaseException) for k in kinds
            ):
                raise ValueError(f"{name} is a tuple of exception classes, not {kinds!r}")

    def allows(self, error: BaseException, attempts: int) -> bool:
        """Tell whether to try again after ``attempts`` attempts, the last of which failed with ``error``."""
        return attempts < self.attempts and isinstance(error, self.retry_on) and not isinstance(error, self.fatal)

    def delay(self, attempts: int) -> float:
        """Return the seconds to wait after ``attempts`` failures: exponential, with full jitter."""
        # The exponent is capped because 2.0 ** 1024 overflows.
        return random.uniform(0, min(self.max_delay, self.first_delay * 2.0 ** min(attempts - 1, 64)))
