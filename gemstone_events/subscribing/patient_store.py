"""A store as handlers' outcomes need it: what cannot be written now is written when it can be."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gemstone_events.errors import StoreFullError, StoreRefusedError, StoreUnavailableError
from gemstone_events.store.port import Changes, EventStore, InboxKey

MAX_BACKOFF_SECONDS = 5.0
TROUBLE = (StoreUnavailableError, StoreFullError, StoreRefusedError)
"""What is no fault of the changes: they can be written when it is over."""

T = TypeVar("T")


class PatientStore:
    """Asks a store until it can be used. What it refuses for the sake of the changes themselves is raised.

    Attributes:
        trouble: why somebody waits for the store now, for people; empty when nobody does.
    """

    def __init__(self, store: EventStore, logger: logging.Logger) -> None:
        self.trouble = ""
        self._store = store
        self._log = logger
        self._waiting = 0

    async def commit(self, changes: Changes) -> None:
        """Write all changes or none, as the store's own ``commit`` does."""
        await self._insist(lambda: self._store.commit(changes))

    async def find_settled(self, keys: Sequence[InboxKey]) -> set[InboxKey]:
        """Return those of ``keys`` that are handled, or wait for their next attempt."""
        return await self._insist(lambda: self._store.find_settled(keys)) if keys else set()

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        refusals = 0
        try:
            while True:
                try:
                    return await ask()
                except TROUBLE as error:
                    refusals += 1
                    self._waiting += refusals == 1
                    self._tell(error)
                ceiling = min(MAX_BACKOFF_SECONDS, 0.05 * 2.0 ** min(refusals, 20))
                await asyncio.sleep(random.uniform(ceiling / 2, ceiling))
        finally:
            self._waiting -= refusals > 0
            if not self._waiting:  # not before: a disk that is full can be read all the while
                self.trouble = ""

    def _tell(self, error: Exception) -> None:
        if not self.trouble:
            self._log.error("events wait because the store cannot be used: %s", error)
        self.trouble = f"events wait: {error}"
