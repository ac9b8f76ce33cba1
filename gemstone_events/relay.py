"""The relay: publishes what a store's log holds on one transport. It is the only retry loop for publishing."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Sequence

from gemstone_events.errors import StoreError
from gemstone_events.store.port import Changes, EventStore, Recorded
from gemstone_events.transport import Outcome, Transport

BATCH = 500
LEASE_SECONDS = 3.0
CHECKPOINT_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 30.0


class Relay:
    """Moves emitted messages from a store to a transport, in the log's order, each at least once.

    Several processes on one store elect one relay by a lease. The checkpoint is written a little behind what was
    confirmed: after a kill the last messages are published again with the same ids, and the inbox absorbs them.

    Args:
        store: where the messages are.
        transport: where they go.
        owner: what tells this process from others that hold the lease.
        logger: where trouble is reported, once when it begins and once when it ends.
    """

    def __init__(self, store: EventStore, transport: Transport, owner: str, logger: logging.Logger) -> None:
        self._store = store
        self._transport = transport
        self._owner = owner
        self._log = logger
        self._name = f"relay:{transport.address}"
        self._position = 0
        self._saved_position = 0
        self._saved_at = 0.0
        self._renewed_at = float("-inf")
        self._confirmed_ahead: set[int] = set()
        self._failures = 0
        self._idle = asyncio.Event()

    @property
    def is_troubled(self) -> bool:
        """The last try to publish did not confirm everything."""
        return self._failures > 0

    async def run(self) -> None:
        """Publish for ever; cancel it to stop."""
        try:
            while True:
                try:
                    await self._lead()
                except StoreError as error:
                    self._log.error("the relay to %s cannot use the store: %s", self._transport.address, error)
                    await self._back_off()
        finally:
            await self._stop()

    async def flushed(self) -> None:
        """Return when everything in the log has been confirmed, or another process leads."""
        last = await self._store.last_position()
        while self._position < last and self._holds_lease():
            self._idle.clear()
            await self._idle.wait()

    async def _lead(self) -> None:
        if not await self._keep_lease():
            await asyncio.sleep(LEASE_SECONDS / 4)
            return
        self._position = self._saved_position = await self._start()
        self._confirmed_ahead.clear()
        while await self._keep_lease():
            if time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
                await self._save_checkpoint()
            recorded = await self._store.read_emitted(self._position, BATCH)
            if recorded:
                await self._publish(recorded)
            else:
                self._idle.set()
                is_saved = self._position == self._saved_position
                await self._store.wait_emitted(self._position, LEASE_SECONDS / 4 if is_saved else CHECKPOINT_SECONDS)

    async def _start(self) -> int:
        # A transport that is new to this store takes over where the one that was served best stands: a change of URL
        # neither repeats the whole history nor skips what was never published.
        own = await self._store.checkpoint(self._name)
        if own is not None:
            return own
        known = await self._store.checkpoints()
        return max((position for name, position in known.items() if name.startswith("relay:")), default=0)

    async def _publish(self, recorded: Sequence[Recorded]) -> None:
        waiting = [entry for entry in recorded if entry.position not in self._confirmed_ahead]
        outcomes = await self._transport.publish([entry.message for entry in waiting])
        self._confirmed_ahead.update(
            entry.position for entry, outcome in zip(waiting, outcomes, strict=True) if outcome is Outcome.CONFIRMED
        )
        for entry in recorded:
            if entry.position not in self._confirmed_ahead:
                break
            self._confirmed_ahead.discard(entry.position)
            self._position = entry.position
        self._idle.set()
        if all(outcome is Outcome.CONFIRMED for outcome in outcomes):
            if self._failures:
                self._log.info("the relay publishes to %s again", self._transport.address)
            self._failures = 0
        else:
            await self._back_off()

    async def _back_off(self) -> None:
        self._failures += 1
        if self._failures == 1:
            detail = self._transport.status().detail or "not everything was confirmed"
            self._log.warning("publishing to %s is troubled and will be tried again: %s", self._name[6:], detail)
        ceiling = min(MAX_BACKOFF_SECONDS, 0.05 * 2.0 ** min(self._failures, 20))
        self._transport.changed.clear()
        with contextlib.suppress(TimeoutError):  # a transport that comes back ends the wait early
            async with asyncio.timeout(random.uniform(ceiling / 2, ceiling)):
                await self._transport.changed.wait()

    async def _keep_lease(self) -> bool:
        if time.monotonic() - self._renewed_at < LEASE_SECONDS / 3:
            return True
        asked_at = time.monotonic()
        if await self._store.acquire_lease(self._name, self._owner, LEASE_SECONDS):
            self._renewed_at = asked_at
            return True
        self._renewed_at = float("-inf")
        return False

    def _holds_lease(self) -> bool:
        return time.monotonic() - self._renewed_at < LEASE_SECONDS

    async def _save_checkpoint(self) -> None:
        if self._position != self._saved_position:
            await self._store.commit(Changes(checkpoints={self._name: self._position}))
            self._saved_position = self._position
        self._saved_at = time.monotonic()

    async def _stop(self) -> None:
        if not self._holds_lease():
            return
        try:
            await self._save_checkpoint()
            await self._store.release_lease(self._name, self._owner)
        except StoreError as error:
            self._log.warning("the relay to %s could not save its checkpoint: %s", self._transport.address, error)
