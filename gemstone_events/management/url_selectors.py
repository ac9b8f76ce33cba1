"""Which of several addresses is called next."""

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence


class URLSelector(ABC):
    """Chooses the address of the next call. All methods may be called from any thread."""

    @abstractmethod
    def get(self, urls: Sequence[str]) -> str:
        """Return one of ``urls``, of which there is at least one."""

    def begin(self, url: str) -> None:
        """Take notice that a call to ``url`` begins."""
        return

    def end(self, url: str) -> None:
        """Take notice that a call to ``url`` has ended, one way or another."""
        return


class FirstURLSelector(URLSelector):
    """Always the first."""

    def get(self, urls: Sequence[str]) -> str:
        """Return the first of ``urls``."""
        return urls[0]


class RoundRobinURLSelector(URLSelector):
    """One after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = 0

    def get(self, urls: Sequence[str]) -> str:
        """Return the one whose turn it is; the list may grow and shrink meanwhile."""
        with self._lock:
            chosen = urls[self._turn % len(urls)]
            self._turn = (self._turn + 1) % (1 << 62)
        return chosen


class LeastPendingURLSelector(URLSelector):
    """The one with the fewest calls that wait for an answer; among equals one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._turn = RoundRobinURLSelector()

    def get(self, urls: Sequence[str]) -> str:
        """Return the least busy of ``urls``."""
        with self._lock:
            fewest = min(self._pending[url] for url in urls)
            idle = [url for url in urls if self._pending[url] == fewest]
        return self._turn.get(idle)

    def begin(self, url: str) -> None:
        """Count a call that begins."""
        with self._lock:
            self._pending[url] += 1

    def end(self, url: str) -> None:
        """Forget a call that has ended."""
        with self._lock:
            self._pending[url] -= 1
            if self._pending[url] <= 0:
                del self._pending[url]
