"""The attempts at one call: which addresses are left, and what became of all of them together."""

from collections.abc import Sequence

from gemstone_events.rpc.call_errors import RemoteServiceError, ServiceUnreachableError
from gemstone_events.rpc.client.call_counts import is_outcome_known
from gemstone_events.rpc.client.caller import sum_of
from gemstone_events.schemes import mask


class Attempts:
    """Keeps what one call has tried.

    Args:
        are_shared: all instances of a service have one address, that of a broker or bus. Such an address is left once
            more where one of them failed; not where none could be reached.
    """

    def __init__(self, *, are_shared: bool = False) -> None:
        self._are_shared = are_shared
        self._tried: list[str] = []
        self._over: set[str] = set()
        self._doubt: RemoteServiceError | None = None

    def left(self, urls: Sequence[str]) -> Sequence[str]:
        """Return those of the addresses that may be called now: those that were not yet come first."""
        left = [url for url in urls if url not in self._over]
        return [url for url in left if url not in self._tried] or left

    def take(self, url: str, error: RemoteServiceError) -> None:
        """Take notice that an attempt failed."""
        if not self._are_shared or isinstance(error, ServiceUnreachableError) or url in self._tried:
            self._over.add(url)
        self._tried.append(url)
        if not is_outcome_known(error):
            self._doubt = error

    def outcome(self, last: RemoteServiceError) -> RemoteServiceError:
        """Return what became of the call: the last failure, unless an earlier attempt may have been carried out."""
        outcome = last if self._doubt is None else sum_of(self._doubt, last)
        if outcome is not last:
            outcome.__cause__ = last
        if len(self._tried) > 1:
            urls = ", ".join(mask(url) for url in dict.fromkeys(self._tried))
            outcome.add_note(f"it was tried {len(self._tried)} times, at {urls}")
        return outcome
