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
MAX_WAITING = 1000
LEASE_SECONDS = 3.0
CHECKPOINT_SECONDS = 0.1
SHORT_DELAY_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 30.0


class Relay:
    """Moves emitted messages from a store to a transport, each at least once, in the log's order while none is refused.

    A message that is refused, or whose outcome is unknown, is tried again while later ones go on, up to a bound. The
    checkpoint stands before the first message that is not confirmed, and is written a little behind: after a kill the
    last messages are published again with the same ids, and the inbox absorbs them. Several processes on one store
    elect one relay for each transport by a lease.

    Args:
        store: where the messages are.
        transport: where they go.
        owner: what tells this process from others that hold the lease.
        logger: where trouble is reported, once when it begins and once when it ends.
        carries_work: publish work as well; of a service's transports only one may, for work is done once.
    """

    def __init__(
        self, store: EventStore, transport: Transport, owner: str, logger: logging.Logger, *, carries_work: bool = True
    ) -> None:
        self.address = transport.address
        self._store = store
        self._transport = transport
        self._owner = owner
        self._log = logger
        self._carries_work = carries_work
        self._name = f"relay:{transport.address}"
        self._read = 0
        self._waiting: dict[int, Recorded] = {}
        self._again_at = 0.0
        self._batch = BATCH
        self._saved_position = 0
        self._saved_at = 0.0
        self._renewed_at = float("-inf")
        self._failures = 0
        self._store_trouble = ""
        self._progress = asyncio.Event()

    @property
    def trouble(self) -> str:
        """What does not work now, for people; empty when all is well."""
        if not self._failures:
            return ""
        if self._store_trouble:
            return self._store_trouble
        return self._transport.status().detail or f"{len(self._waiting)} events were not taken and are tried again"

    async def run(self) -> None:
        """Publish for ever; cancel it to stop."""
        try:
            while True:
                try:
                    await self._lead()
                except StoreError as error:
                    self._store_trouble = f"nothing is published, for the store cannot be used: {error}"
                    await self._pause()
        finally:
            await self._stop()

    async def flushed(self) -> None:
        """Return when everything in the log has been confirmed, or another process leads."""
        last = await self._store.last_position()
        while self._position < last and self._holds_lease():
            self._progress.clear()
            await self._progress.wait()

    @property
    def _position(self) -> int:
        """Everything up to here is confirmed."""
        return min(self._waiting) - 1 if self._waiting else self._read

    async def _lead(self) -> None:
        leads = await self._keep_lease()
        self._store_trouble = ""
        if not leads:
            self._waiting.clear()  # whatever it was, it is another process's trouble now
            self._failures = 0
            self._progress.set()
            await asyncio.sleep(LEASE_SECONDS / 4)
            return
        self._read = self._saved_position = await self._start()
        self._waiting.clear()
        while await self._keep_lease():
            if time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
                await self._save_checkpoint()
            await self._step()

    async def _start(self) -> int:
        # A transport that is new to this store takes over where the one that was served best stands: a change of URL
        # neither repeats the whole history nor skips what was never published. It is written down at once, or the
        # progress of another transport would be taken for this one's at the next start.
        own = await self._store.checkpoint(self._name)
        if own is not None:
            return own
        known = await self._store.checkpoints()
        start = max((position for name, position in known.items() if name.startswith("relay:")), default=0)
        await self._store.commit(Changes(checkpoints={self._name: start}))
        return start

    async def _step(self) -> None:
        waiting = list(self._waiting.values())[: self._batch] if time.monotonic() >= self._again_at else []
        recorded: Sequence[Recorded] = []
        if self._may_read and len(waiting) < self._batch:
            recorded = await self._store.read_emitted(self._read, self._batch - len(waiting))
        if recorded or waiting:
            await self._publish([*waiting, *recorded])
        else:
            await self._wait()

    async def _publish(self, entries: Sequence[Recorded]) -> None:
        outcomes = await self._transport.publish([entry.message for entry in entries if self._carries(entry)])
        told = iter(outcomes)
        refused = False
        for entry in entries:
            self._read = max(self._read, entry.position)
            if not self._carries(entry) or next(told) is Outcome.CONFIRMED:
                self._waiting.pop(entry.position, None)
            else:
                self._waiting[entry.position] = entry
                refused = True
        self._progress.set()
        # Too much for the time that a publish may take: half of it at once is surer to get through.
        too_much = Outcome.UNKNOWN in outcomes and len(entries) > 1
        self._batch = len(entries) // 2 if too_much else min(BATCH, self._batch * 2)
        if not self._waiting:
            self._recovered()
        elif refused and not self._transport.status().publishing:
            await self._pause()
        elif refused:
            self._again_at = time.monotonic() + (SHORT_DELAY_SECONDS if too_much else self._next_delay())

    @property
    def _may_read(self) -> bool:
        # While the transport takes nothing, what waits in the log takes no memory.
        return not self._waiting or (len(self._waiting) < MAX_WAITING and self._transport.status().publishing)

    def _carries(self, entry: Recorded) -> bool:
        return self._carries_work or entry.message.broadcast

    async def _wait(self) -> None:
        self._progress.set()
        if not self._waiting:
            self._recovered()
        timeout = LEASE_SECONDS / 4 if self._position == self._saved_position else CHECKPOINT_SECONDS
        if self._waiting:
            timeout = min(timeout, max(0.0, self._again_at - time.monotonic()))
        if self._may_read:
            await self._store.wait_emitted(self._read, timeout)
        else:
            await asyncio.sleep(timeout)

    async def _pause(self) -> None:
        """Wait a while; a transport that comes back ends it early."""
        delay = self._next_delay()
        self._transport.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._transport.changed.wait()
        self._again_at = 0.0

    def _next_delay(self) -> float:
        self._failures += 1
        if self._failures == 1:
            self._log.warning("publishing to %s is troubled and will be tried again: %s", self.address, self.trouble)
        ceiling = min(MAX_BACKOFF_SECONDS, SHORT_DELAY_SECONDS * 2.0 ** min(self._failures, 20))
        return random.uniform(ceiling / 2, ceiling)

    def _recovered(self) -> None:
        if self._failures:
            self._log.info("everything is published to %s again", self.address)
        self._failures = 0

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
        position = self._position
        if position != self._saved_position:
            await self._store.commit(Changes(checkpoints={self._name: position}))
            self._saved_position = position
        self._saved_at = time.monotonic()

    async def _stop(self) -> None:
        if not self._holds_lease():
            return
        try:
            await self._save_checkpoint()
            await self._store.release_lease(self._name, self._owner)
        except StoreError as error:
            self._log.warning("the relay to %s could not save its checkpoint: %s", self.address, error)
