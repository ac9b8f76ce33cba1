"""Keeps those from guessing who failed too often."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address


@dataclass(slots=True)
class _Failures:
    count: int
    until: float


class FailedAttempts:
    """Counts failed attempts by who made them, in bounded memory. It belongs to one event loop.

    Who fails ``limit`` times within ``window`` seconds is refused for ``window`` seconds from the last of them. What
    is being checked when that happens is still answered, so that as many more may fail as one can send at once.

    Args:
        limit: how many may fail; 0 for no limit.
        window: seconds.
        peers: how many callers are remembered; of more, those are forgotten who failed longest ago.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        limit: int = 10,
        window: float = 60.0,
        peers: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._window = window
        self._peers = peers
        self._clock = clock
        self._failures: OrderedDict[Hashable, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def add(self, peer: Hashable) -> None:
        """Count a failure."""
        if self._limit == 0:
            return
        now = self._clock()
        failures = self._failures.get(peer)
        if failures is None or failures.until <= now:
            failures = self._failures[peer] = _Failures(0, now + self._window)
        failures.count += 1
        if failures.count >= self._limit:
            failures.until = now + self._window
        self._failures.move_to_end(peer)
        while len(self._failures) > self._peers:
            self._failures.popitem(last=False)

    def seconds_left(self, peer: Hashable) -> float:
        """Return for how long a caller is still refused; 0 for one who is not."""
        failures = self._failures.get(peer)
        if failures is None:
            return 0.0
        left = failures.until - self._clock()
        if left <= 0:
            del self._failures[peer]
            return 0.0
        return left if failures.count >= self._limit else 0.0


def network_of(peer: str) -> str:
    """Return what a peer is counted by: of an IPv6 address the first 64 bits, for one customer has all of them."""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    if not isinstance(address, IPv6Address):
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64))
