"""The moving parts of a service's events: store, transports, relays, subscribers and retries, started and stopped."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence

from gemstone_events.attempt import Workplace
from gemstone_events.errors import StoreError
from gemstone_events.execution import Threads
from gemstone_events.relay import Relay
from gemstone_events.retrier import Retrier
from gemstone_events.store.port import EventStore
from gemstone_events.subscriber import Subscriber, SubscriptionPlan
from gemstone_events.transport import Delivery, Subscription, Transport

RETENTION_PERIOD_SECONDS = 600.0
RETENTION_BATCH = 10_000
DEFECT = "ended unexpectedly; restart the service and report the traceback in its log"


class Messaging:
    """Emits what the store logs and handles what the transports bring, between ``open`` and ``close``.

    Args:
        store: the service's store, not yet opened.
        transports: not yet opened; everything emitted goes to each of them.
        plans: what is subscribed to, on each of them.
        threads: where ``def`` handlers run.
        max_body: the longest body in bytes that is handled.
        owner: what tells this process from others on the same store.
        inbox_retention: seconds for which a handled event, and the answer to a call, is remembered.
        logger: where trouble is reported.
    """

    def __init__(
        self,
        store: EventStore,
        transports: Sequence[Transport],
        plans: Sequence[SubscriptionPlan],
        threads: Threads,
        owner: str,
        logger: logging.Logger,
        *,
        max_body: int,
        inbox_retention: float,
    ) -> None:
        scheduled = asyncio.Event()
        self.store = store
        self.transports = transports
        workplace = Workplace(store, threads, max_body)
        self.subscribers = [Subscriber(plan, workplace, scheduled, logger) for plan in plans]
        # Work is done once, so only one transport may carry it: the first.
        self.relays = [
            Relay(store, transport, owner, logger, carries_work=number == 0)
            for number, transport in enumerate(transports)
        ]
        self._retrier = Retrier(store, self.subscribers, scheduled, owner, logger)
        self._by_subscription = {subscriber.plan.subscription: subscriber for subscriber in self.subscribers}
        self._inbox_retention = inbox_retention
        self._log = logger
        self._relaying: list[asyncio.Task[None]] = []
        self._tending: list[asyncio.Task[None]] = []
        self._is_open = False

    async def open(self) -> None:
        """Open the store and the transports: from now on events can be emitted."""
        await self.store.open()
        self._is_open = True
        for transport in self.transports:
            await transport.open()

    async def consume(self) -> None:
        """Subscribe, then begin to relay: what the start emitted finds the service's own queues."""
        if self.subscribers:
            for transport in self.transports:
                await transport.subscribe(list(self._by_subscription), self._receive)
            self._tending.append(self._spawn(self._retrier.run(), "retries"))
        self._tending.append(self._spawn(self._forget_handled(), "retention"))
        self._relaying = [self._spawn(relay.run(), "relay") for relay in self.relays]

    async def drain(self, timeout: float) -> None:
        """Take nothing new and finish what runs, within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        await _cancel(self._tending)
        for transport in self.transports:
            await transport.stop_consuming()
        await asyncio.gather(
            *(subscriber.stop(max(0.0, deadline - time.monotonic())) for subscriber in self.subscribers)
        )

    async def flush(self, timeout: float = 5.0) -> None:
        """Publish what was emitted, for ``timeout`` seconds at most; the rest is published after the next start."""
        with contextlib.suppress(TimeoutError, StoreError):
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(relay.flushed() for relay in self.relays if not relay.trouble))

    async def close(self) -> None:
        """Let go of everything. Twice is harmless."""
        for subscriber in self.subscribers:  # a drain that was cut short may not have come to them
            subscriber.cut_off()
        await _cancel(self._tending)
        await _cancel(self._relaying)
        for transport in self.transports:
            await transport.close()
        if self._is_open:
            self._is_open = False
            await self.store.close()

    def trouble(self) -> dict[str, str]:
        """Return what does not work now, by the address of the part; empty when all is well."""
        found = {}
        for transport in self.transports:
            status = transport.status()
            if not status.ready:
                found[transport.address] = status.detail or "not connected"
        for relay in self.relays:
            if relay.trouble:
                found.setdefault(relay.address, relay.trouble)
        for task in (*self._relaying, *self._tending):
            if task.done():
                found[task.get_name()] = DEFECT
        for subscriber in self.subscribers:
            if subscriber.has_failed:
                found[", ".join(subscriber.consumers)] = DEFECT
        return found

    def _receive(self, subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        self._by_subscription[subscription].receive(deliveries)

    async def _forget_handled(self) -> None:
        while True:
            try:
                while await self.store.forget_handled(self._inbox_retention, RETENTION_BATCH) == RETENTION_BATCH:
                    await asyncio.sleep(0)
            except StoreError as error:
                self._log.warning("old inbox marks and answers were not removed: %s", error)
            await asyncio.sleep(RETENTION_PERIOD_SECONDS)

    def _spawn(self, work: Coroutine[object, object, None], what: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=what)
        task.add_done_callback(self._report_death)
        return task

    def _report_death(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.critical(
                "the %s of this service ended: events stand still until it is restarted",
                task.get_name(),
                exc_info=error,
            )


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()
