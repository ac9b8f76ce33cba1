"""From the verdict on an attempt to a durable outcome, and from there to the deliveries that wait for it."""

import asyncio
import logging

from gemstone_events.errors import AlreadyHandledError, EventError, StoreError
from gemstone_events.retry import RetryPolicy
from gemstone_events.subscribing.attempt import Attempt, Kind, Verdict, failed
from gemstone_events.subscribing.open_deliveries import OpenDeliveries
from gemstone_events.subscribing.patient_store import PatientStore
from gemstone_events.subscribing.verdict_log import log_verdict


class Outcomes:
    """Writes what came of the attempts of one subscription, and then settles.

    Args:
        store: where outcomes are written.
        waiting: the deliveries that wait for them.
        retry: what to do about an outcome that the store refuses.
        retry_scheduled: set when an attempt to come was written.
        logger: where verdicts are told.
    """

    def __init__(
        self,
        store: PatientStore,
        waiting: OpenDeliveries,
        retry: RetryPolicy,
        retry_scheduled: asyncio.Event,
        logger: logging.Logger,
    ) -> None:
        self._store = store
        self._waiting = waiting
        self._retry = retry
        self._retry_scheduled = retry_scheduled
        self._log = logger

    async def write(self, turn: Attempt, verdict: Verdict) -> None:
        """Write a verdict's changes, as soon as the store can be used, and settle. Again is harmless.

        Changes that the store refuses for their own sake are a failure of the handler, which is written instead.
        """
        try:
            await self._store.commit(verdict.changes)
        except AlreadyHandledError:
            self._waiting.settle(turn.key)
            return
        except (EventError, StoreError) as error:
            # The author's SQL, a stale stream, an event id that was used before, or more than the store can take.
            verdict = failed(turn, error, self._retry)
            await self._store.commit(verdict.changes)
        log_verdict(self._log, turn, verdict, self._retry.attempts)
        if verdict.kind is Kind.RETRY:
            self._retry_scheduled.set()
            self._waiting.settle_for_now(turn.key)
        else:
            self._waiting.settle(turn.key)
