"""How often each exposed method was called, and how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _MethodStatistics:
    total_calls: int = 0
    failed_calls: int = 0
    seconds: float = 0.0


class Statistics:
    """Counts the calls of one service."""

    def __init__(self) -> None:
        self._methods: dict[str, _MethodStatistics] = {}

    @contextmanager
    def measure(self, method: str) -> Iterator[None]:
        """Count the call that runs inside, as failed if it raises."""
        counts = self._methods.setdefault(method, _MethodStatistics())
        counts.total_calls += 1
        began = time.perf_counter()
        try:
            yield
        except BaseException:
            counts.failed_calls += 1
            raise
        finally:
            counts.seconds += time.perf_counter() - began

    def report(self) -> dict[str, object]:
        """Return the counts as gemstone's method ``statistics`` did; times are in seconds."""
        return {
            "total_runtime": sum(counts.seconds for counts in self._methods.values()),
            "method_calls_count": sum(counts.total_calls for counts in self._methods.values()),
            "method_calls": {
                name: {
                    "total_calls": counts.total_calls,
                    "average_resp_time": counts.seconds / counts.total_calls,
                    "success_calls": counts.total_calls - counts.failed_calls,
                    "failed_calls": counts.failed_calls,
                }
                for name, counts in self._methods.items()
            },
        }
