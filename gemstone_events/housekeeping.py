"""What a running service does for its store now and then: old marks are forgotten, orphaned retries are found."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection

from gemstone_events.errors import StoreError
from gemstone_events.event import new_id
from gemstone_events.store.port import Changes, DeadLetter, EventStore, Retry

PERIOD_SECONDS = 600.0
ORPHANED_AFTER_SECONDS = 3600.0
_FORGOTTEN_AT_ONCE = 10_000
_BURIED_AT_ONCE = 100


class Housekeeping:
    """Keeps a store from growing for ever, and what waits in it from being overlooked for ever.

    Retries and redriven dead letters wait for a consumer by its name. Where it was renamed or removed, or was an
    instance that is gone, nobody comes: they become dead letters. So that none is taken from an instance that is
    stopped for a while, this process must have seen nobody come for all of ``orphaned_after`` since its own start.

    Args:
        store: the service's.
        consumers: this process's own, whose retries are no orphans.
        inbox_retention: seconds for which a handled event, and the answer to a call, is remembered.
        logger: where trouble and orphans are reported.
        period: seconds between two rounds.
        orphaned_after: seconds for which retries are due and nobody takes them.
    """

    def __init__(
        self,
        store: EventStore,
        consumers: Collection[str],
        inbox_retention: float,
        logger: logging.Logger,
        *,
        period: float = PERIOD_SECONDS,
        orphaned_after: float = ORPHANED_AFTER_SECONDS,
    ) -> None:
        self._store = store
        self._consumers = frozenset(consumers)
        self._inbox_retention = inbox_retention
        self._log = logger
        self._period = period
        self._orphaned_after = orphaned_after

    async def run(self) -> None:
        """Work for ever; cancel it to stop."""
        began = time.monotonic()
        while True:
            try:
                await self._forget_handled()
                if time.monotonic() - began >= self._orphaned_after:
                    await self._bury_orphans()
            except StoreError as error:
                self._log.warning("the store was not tidied up: %s", error)
            await asyncio.sleep(self._period)

    async def _forget_handled(self) -> None:
        while await self._store.forget_handled(self._inbox_retention, _FORGOTTEN_AT_ONCE) == _FORGOTTEN_AT_ONCE:
            await asyncio.sleep(0)

    async def _bury_orphans(self) -> None:
        buried: Counter[str] = Counter()
        while orphans := await self._find_orphans():
            await self._store.commit(Changes(dead_letters=[self._letter(orphan) for orphan in orphans]))
            buried.update(orphan.key.consumer for orphan in orphans)
        for consumer, count in buried.items():
            self._log.error(
                "%d events waited for %s, which nobody runs any more: see 'gemstone dead-letters list'", count, consumer
            )

    async def _find_orphans(self) -> list[Retry]:
        found = await self._store.find_unclaimed(self._orphaned_after, _BURIED_AT_ONCE)
        return [retry for retry in found if retry.key.consumer not in self._consumers]

    def _letter(self, orphan: Retry) -> DeadLetter:
        why = (
            f"no handler has taken it for {self._orphaned_after:g} seconds: {orphan.key.consumer} was renamed or "
            "removed, or belonged to one instance that is gone"
        )
        error = f"{orphan.error.rstrip()}\n\n{why}".lstrip()
        return DeadLetter(new_id(), orphan.key, orphan.message, "orphaned", error, orphan.attempts)
