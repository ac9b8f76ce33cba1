"""What a registry knows: who announced himself where, for as long as that is good."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from gemstone_events.errors import GemstoneError
from gemstone_events.rpc.presence import Presence


class RegistryFullError(GemstoneError):
    """There are as many registrations as there may be."""


class Registrations:
    """Addresses of services, each of which is dropped unless it is added again in time. Memory is bounded.

    Args:
        time_to_live: seconds for which a registration is good.
        capacity: how many addresses there may be.
        clock: seconds that never go back.
        time_of_day: seconds since 1970, for ``Presence.announced``.
    """

    def __init__(
        self,
        time_to_live: float,
        *,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self._time_to_live = time_to_live
        self._capacity = capacity
        self._clock = clock
        self._time_of_day = time_of_day
        # By name and URL: until when it is good, and who it is; what expires first stands first.
        self._entries: OrderedDict[tuple[str, str], tuple[float, Presence]] = OrderedDict()

    def __len__(self) -> int:
        self._expire()
        return len(self._entries)

    def add(self, url: str, presence: Presence) -> None:
        """Register an address of a service, or prolong its registration.

        Raises:
            RegistryFullError: it is new, and there is no room.
        """
        self._expire()
        key = (presence.service, url)
        if key not in self._entries and len(self._entries) >= self._capacity:
            raise RegistryFullError(f"the registry holds {self._capacity} addresses, as many as it may")
        presence = replace(presence, announced=self._time_of_day())
        self._entries[key] = (self._clock() + self._time_to_live, presence)
        self._entries.move_to_end(key)

    def remove(self, service: str, url: str) -> bool:
        """Drop an address; False where it was not there."""
        return self._entries.pop((service, url), None) is not None

    def find(self, pattern: str) -> list[Presence]:
        """Return the registrations of the services that match a name or glob pattern, one for each address."""
        self._expire()
        return [presence for _, presence in self._entries.values() if presence.matches(pattern)]

    def _expire(self) -> None:
        now = self._clock()
        while self._entries:
            expiry, _ = next(iter(self._entries.values()))
            if expiry > now:
                return
            self._entries.popitem(last=False)
