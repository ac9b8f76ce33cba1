"""What was located is remembered for a while."""

import threading
import time
from collections.abc import Callable, Sequence

MAX_ENTRIES = 10_000


class ServiceDiscoveryCache:
    """Remembers the URLs of services; any thread may use it.

    Args:
        cache_lifetime_in_seconds: how long an entry is good.
        clock: seconds that never go back.
    """

    def __init__(self, cache_lifetime_in_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = cache_lifetime_in_seconds
        self._clock = clock
        self._entries: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._lock = threading.Lock()

    def add_entry(self, name: str, locations: Sequence[str]) -> None:
        """Remember where the services of a name or pattern are, in place of what was known before."""
        with self._lock:
            self._entries.pop(name, None)
            while len(self._entries) >= MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]  # the oldest
            self._entries[name] = (self._clock() + self._lifetime, tuple(locations))

    def get_entry(self, name: str) -> Sequence[str] | None:
        """Return what is remembered of a name or pattern, or None."""
        with self._lock:
            expiry, locations = self._entries.get(name, (0.0, ()))
            if not locations or expiry <= self._clock():
                self._entries.pop(name, None)
                return None
            return locations

    def expire_entries(self) -> None:
        """Drop what is too old."""
        with self._lock:
            now = self._clock()
            self._entries = {name: entry for name, entry in self._entries.items() if entry[0] > now}


class DummyCache(ServiceDiscoveryCache):
    """Remembers nothing: each look-up asks anew."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def add_entry(self, name: str, locations: Sequence[str]) -> None:
        """Do nothing."""

    def get_entry(self, name: str) -> Sequence[str] | None:
        """Return None."""
        return None
