"""Brings attempts that are due from the store to their subscribers, after failures, restarts and redrives alike."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence

from gemstone_events.errors import StoreError
from gemstone_events.store.port import EventStore
from gemstone_events.subscribing.subscriber import Subscriber

POLL_SECONDS = 1.0
BATCH = 100
CLAIM_SECONDS = 10.0


class Retrier:
    """Claims due retries of the subscribers' consumers and hands them over.

    Several processes on one store share the work: a claimed retry is nobody else's while its process lives, and for
    ten seconds after.

    Args:
        scheduled: set by the subscribers when they scheduled an attempt, so that a short delay is kept.
        owner: what tells this process from others on the same store.
    """

    def __init__(
        self,
        store: EventStore,
        subscribers: Sequence[Subscriber],
        scheduled: asyncio.Event,
        owner: str,
        logger: logging.Logger,
    ) -> None:
        self._store = store
        self._subscribers = subscribers
        self._owner = owner
        self._log = logger
        self._scheduled = scheduled
        self._consumers = [consumer for subscriber in subscribers for consumer in subscriber.consumers]
        self._renew_at = math.inf
        self._is_troubled = False

    async def run(self) -> None:
        """Work for ever; cancel it to stop."""
        while True:
            self._scheduled.clear()
            try:
                await self._renew_claims()
                pause = await self._claim_due()
                for subscriber in self._subscribers:
                    await subscriber.settle_held()
                self._is_troubled = False
            except StoreError as error:
                if not self._is_troubled:  # a disk that is full for hours is told of once
                    self._log.error("retries wait because the store cannot be used: %s", error)
                self._is_troubled = True
                pause = POLL_SECONDS
            # Redrives come from other processes, so it looks again even where nothing is known to be due.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(POLL_SECONDS, pause)):
                    await self._scheduled.wait()

    async def _claim_due(self) -> float:
        pause = await self._store.seconds_to_next_retry(self._consumers)
        if pause is None or pause > 0:
            return POLL_SECONDS if pause is None else pause
        for subscriber in self._subscribers:
            room = min(BATCH, subscriber.room)
            claimed = await self._claim(subscriber, room) if room else 0
            if claimed:
                self._renew_at = min(self._renew_at, time.monotonic() + CLAIM_SECONDS / 3)
            subscriber.is_awaited = claimed == room
        return POLL_SECONDS if any(subscriber.is_awaited for subscriber in self._subscribers) else 0.0

    async def _claim(self, subscriber: Subscriber, room: int) -> int:
        claiming = asyncio.create_task(self._hand_over(subscriber, room))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # The store may have claimed them by now: those whom nobody hears of would wait until their claims end.
            with contextlib.suppress(StoreError):
                await claiming
            raise

    async def _hand_over(self, subscriber: Subscriber, room: int) -> int:
        due = await self._store.claim_retries(subscriber.consumers, self._owner, CLAIM_SECONDS, room)
        for retry in due:
            subscriber.retry(retry)
        return len(due)

    async def _renew_claims(self) -> None:
        if time.monotonic() >= self._renew_at:
            renewed = await self._store.renew_claims(self._owner, CLAIM_SECONDS)
            self._renew_at = time.monotonic() + CLAIM_SECONDS / 3 if renewed else math.inf
