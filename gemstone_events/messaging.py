"""The moving parts of a service's events: store, transports, relays, subscribers and retries, started and stopped."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence

from gemstone_events.cancellation import end
from gemstone_events.countdown import Countdown
from gemstone_events.errors import StoreError
from gemstone_events.execution import Threads
from gemstone_events.housekeeping import Housekeeping
from gemstone_events.relay import Relay
from gemstone_events.store.port import EventStore
from gemstone_events.subscribing.attempt import Workplace
from gemstone_events.subscribing.retrier import Retrier
from gemstone_events.subscribing.subscriber import Subscriber
from gemstone_events.subscribing.subscription_plan import SubscriptionPlan
from gemstone_events.transport import Delivery, Subscription, Transport

FLUSH_SECONDS = 5.0
CLOSE_SECONDS = 15.0
LEAST_SECONDS = 1.0
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
        consumers = [consumer for subscriber in self.subscribers for consumer in subscriber.consumers]
        self._housekeeping = Housekeeping(store, consumers, inbox_retention, logger)
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
        self._tending.append(self._spawn(self._housekeeping.run(), "housekeeping"))
        self._relaying = [self._spawn(relay.run(), "relay") for relay in self.relays]

    async def drain(self, timeout: float) -> None:
        """Take nothing new and finish what runs, within ``timeout`` seconds; what does not end then is cancelled."""
        countdown = Countdown(timeout)
        tending, self._tending = self._tending, []
        await asyncio.gather(end(*tending, timeout=timeout), self._stop_consuming(timeout))
        left = countdown.left  # handlers went on meanwhile, and keep what is left of the time
        await asyncio.gather(*(subscriber.stop(left) for subscriber in self.subscribers))

    async def _stop_consuming(self, timeout: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(transport.stop_consuming() for transport in self.transports))

    async def flush(self, timeout: float = FLUSH_SECONDS) -> None:
        """Publish what was emitted, for ``timeout`` seconds at most; the rest is published after the next start."""
        with contextlib.suppress(TimeoutError, StoreError):
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(relay.flushed() for relay in self.relays if not relay.trouble))

    async def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Let go of everything. Twice is harmless.

        Args:
            timeout: seconds for the relays' checkpoints, the transports and the store together. Transports have a
                limit of their own, five seconds; the store gets one second at least.
        """
        countdown = Countdown(timeout)
        for subscriber in self.subscribers:  # a drain that was cut short may not have come to them
            subscriber.cut_off()
        tasks = [*self._tending, *self._relaying]
        self._tending, self._relaying = [], []
        async with contextlib.AsyncExitStack() as parts:  # one that cannot be closed keeps no other open
            parts.push_async_callback(self._close_store, countdown)
            parts.push_async_callback(self._close_transports)
            await end(*tasks, timeout=max(LEAST_SECONDS, countdown.left))

    async def _close_transports(self) -> None:
        outcomes = await asyncio.gather(*(each.close() for each in self.transports), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _close_store(self, countdown: Countdown) -> None:
        if not self._is_open:
            return
        self._is_open = False
        try:
            async with asyncio.timeout(max(LEAST_SECONDS, countdown.left)):
                await self.store.close()
        except TimeoutError:
            self._log.warning("%s did not close in time: what it was not done with comes again", self.store.address)

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
            if subscriber.store_trouble:
                found[self.store.address] = subscriber.store_trouble
            if subscriber.has_failed:
                found[", ".join(subscriber.consumers)] = DEFECT
        return found

    def _receive(self, subscription: Subscription, deliveries: Sequence[Delivery]) -> None:
        self._by_subscription[subscription].receive(deliveries)

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
