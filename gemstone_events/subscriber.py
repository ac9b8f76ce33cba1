"""From a delivery to its durable outcome. Only here are deliveries acked."""

import asyncio
import logging
import random
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from gemstone_events.attempt import Attempt, Kind, Verdict, Workplace, attempt, buried, failed
from gemstone_events.deadlines import Timeouts
from gemstone_events.errors import (
    AlreadyHandledError,
    EventError,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnavailableError,
)
from gemstone_events.event import new_id
from gemstone_events.handlers import EventHandler
from gemstone_events.retry import RetryPolicy
from gemstone_events.store.port import Changes, InboxKey, Retry
from gemstone_events.transport import Delivery, Subscription

MAX_STORE_BACKOFF_SECONDS = 5.0
STORE_TROUBLE = (StoreUnavailableError, StoreFullError, StoreRefusedError)
"""What is no fault of the changes: they can be written when it is over."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """One subscription of a service, and how it is handled.

    Attributes:
        subscription: what the transports are asked for.
        handlers: who gets each event: all of them, or exactly one for a work queue.
        concurrency: how many events are handled at once.
        timeout: seconds per attempt.
        retry: attempts and delays.
        hold_until_final: ack only what is handled or dead.
    """

    subscription: Subscription
    handlers: tuple[EventHandler, ...]
    concurrency: int
    timeout: float
    retry: RetryPolicy
    hold_until_final: bool

    def consumer(self, handler: EventHandler) -> str:
        """The inbox's name for one handler of this subscription."""
        if self.subscription.work_queue:  # whichever handler takes it, the work is done once
            return f"work:{self.subscription.pattern}"
        return f"{self.subscription.group}:{self.subscription.pattern}:{handler.name}"

    def takers(self, event_id: str) -> Sequence[EventHandler]:
        """The handlers that an event goes to; for a work queue one, and the same one when it comes again."""
        if not self.subscription.work_queue or len(self.handlers) == 1:
            return self.handlers
        return (self.handlers[zlib.crc32(event_id.encode()) % len(self.handlers)],)


@dataclass(slots=True)
class _Settlement:
    """The deliveries of one message (it may come again while it is handled) and the outcomes that they wait for."""

    deliveries: list[Delivery]
    waiting: set[InboxKey]


@dataclass(slots=True)
class SubscriberCounts:
    """What happened since the start, for logs, statistics and tests."""

    handled: int = 0
    failed: int = 0
    dead: int = 0
    duplicates: int = 0


class Subscriber:
    """Handles what arrives for one subscription, from any transport.

    A delivery is acked when its outcome is durable in the store: the handler's unit of work with the inbox mark, the
    attempt to come, or the dead letter. With a store that is not durable, or if the plan says so, it is acked only
    when the event is handled or dead. Trouble with the store is nobody's failure: the outcome is written when the
    store can be used again, and the delivery stays unacked until then.
    """

    def __init__(
        self,
        plan: SubscriptionPlan,
        workplace: Workplace,
        retry_scheduled: asyncio.Event,
        logger: logging.Logger,
    ) -> None:
        self.plan = plan
        self.counts = SubscriberCounts()
        self.has_failed = False
        """Something unexpected has happened, and deliveries may be stuck: readiness says so."""
        self.store_trouble = ""
        """Why outcomes cannot be written now, and deliveries wait for that; empty when all is well."""
        self.is_awaited = False
        """Retries wait until there is room for more attempts: say so when there is."""
        self._retry_scheduled = retry_scheduled
        self._workplace = workplace
        self._store = workplace.store
        self._log = logger
        self._holds = plan.hold_until_final or not workplace.store.durable
        self._handlers = {plan.consumer(handler): handler for handler in plan.handlers}
        self._arrived: deque[Delivery] = deque()
        self._ready: deque[Attempt] = deque()
        self._due: deque[Attempt] = deque()
        self._took_due = False
        self._timeouts = Timeouts()
        self._open: dict[str, _Settlement] = {}
        self._held: set[InboxKey] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = copy_context()
        self._insisting = 0
        self._is_cut_off = False
        self._is_sorting = False
        self._workers = 0
        self._accepting = True

    @property
    def consumers(self) -> Sequence[str]:
        """The inbox's names for this subscriber's handlers."""
        return list(self._handlers)

    def receive(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries; never blocks."""
        if not self._accepting:
            for delivery in deliveries:
                delivery.release()
            return
        self._arrived.extend(deliveries)
        if not self._is_sorting:
            self._is_sorting = True
            self._start(self._sort())

    @property
    def room(self) -> int:
        """How many attempts that are due may be brought: as many as could begin, and one for a place that gets free."""
        free = self.plan.concurrency - self._workers - len(self._ready)
        return max(0, max(1, free) - len(self._due))

    def retry(self, retry: Retry) -> None:
        """Take an attempt that is due."""
        handler = self._handlers[retry.key.consumer]
        if self.plan.subscription.work_queue:
            handler = self.plan.takers(retry.key.event_id)[0]
        self._due.append(Attempt(retry.key, handler, retry.message, retry.attempts, retry.error))
        self._start_workers()

    async def stop(self, timeout: float) -> None:
        """Finish what runs, for ``timeout`` seconds at most, and give back what has not begun. Twice is harmless."""
        self._accepting = False
        dropped = list(self._due)
        self._due.clear()
        self._ready.clear()
        try:
            if dropped:  # claimed, and not begun: whoever runs next need not wait for the claim to end
                self._start(self._give_back(dropped))
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=timeout)
        finally:
            unfinished = self.cut_off()
        if unfinished:
            self._log.warning("%d attempts of %s did not end in time", len(unfinished), self.consumers)
            await asyncio.wait(unfinished, timeout=1.0)

    def cut_off(self) -> set[asyncio.Task[None]]:
        """Cancel what runs, give back what is not settled, and return what was cancelled. Twice is harmless."""
        self._accepting = False
        self._is_cut_off = True
        unfinished = set(self._tasks)
        for task in unfinished:
            task.cancel()
        for delivery in self._arrived:
            delivery.release()
        for settlement in self._open.values():
            for delivery in settlement.deliveries:
                delivery.release()
        self._arrived.clear()
        self._open.clear()
        return unfinished

    async def _give_back(self, turns: Sequence[Attempt]) -> None:
        retries = [Retry(turn.key, turn.message, turn.failures, 0.0, turn.error) for turn in turns]
        try:
            await self._store.commit(Changes(retries=retries))
        except StoreError as error:
            self._log.warning("%d retries wait until their claims end: %s", len(retries), error)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        # A context of its own: what one handler sets in it is not the next one's concern.
        task = asyncio.get_running_loop().create_task(work, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._take_leave)

    def _take_leave(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.has_failed = True
            self._log.critical(
                "a defect: events of %s stand still until the service is restarted", self.consumers, exc_info=error
            )

    # What arrived is looked up in the inbox, all that came together at once, and queued for the workers.

    async def _sort(self) -> None:
        try:
            while self._arrived and self._accepting:
                attempts = self._take_arrived()
                settled = await self._find_settled([turn.key for turn in attempts])
                if not self._holds:
                    settled |= await self._hand_to_retrier(
                        [t for t in attempts if t.redelivered and t.key not in settled]
                    )
                for turn in attempts:
                    if turn.key in settled and self._holds:
                        self._held.add(turn.key)  # it may still wait for its next attempt
                    elif turn.key in settled:
                        self.counts.duplicates += 1
                        self._settle(turn.key)
                    elif self._accepting:
                        self._ready.append(turn)
                self._start_workers()
        finally:
            self._is_sorting = False

    def _take_arrived(self) -> list[Attempt]:
        attempts: list[Attempt] = []
        while self._arrived:
            delivery = self._arrived.popleft()
            message = delivery.message
            # A message without an id cannot be told from others; its attempts will end as dead letters.
            place = message.id or f"nameless:{new_id()}"
            if (settlement := self._open.get(place)) is not None:
                settlement.deliveries.append(delivery)
                continue
            turns = [
                Attempt(
                    InboxKey(self.plan.consumer(handler), place), handler, message, redelivered=delivery.redelivered
                )
                for handler in self.plan.takers(place)
            ]
            self._open[place] = _Settlement([delivery], {turn.key for turn in turns})
            attempts += turns
        return attempts

    async def _hand_to_retrier(self, turns: Sequence[Attempt]) -> set[InboxKey]:
        """Make retries of what was delivered before: they count their attempts even if each ends with its process."""
        if turns:
            await self._commit(Changes(retries=[Retry(turn.key, turn.message, 0, 0.0) for turn in turns]))
            self._retry_scheduled.set()
        return {turn.key for turn in turns}

    async def _find_settled(self, keys: list[InboxKey]) -> set[InboxKey]:
        return await self._insist(lambda: self._store.find_settled(keys)) if keys else set()

    # As many attempts as the plan allows are made at once, each in a task of its own; one that ends starts the next.

    def _start_workers(self) -> None:
        if self._is_cut_off:  # whom it cancelled makes room for others, which nobody waits for any more
            return
        for _ in range(min(len(self._ready) + len(self._due), self.plan.concurrency - self._workers)):
            self._workers += 1
            self._start(self._work())

    async def _work(self) -> None:
        try:
            if self._ready or self._due:
                await self._make(self._next_turn())
        finally:
            self._workers -= 1
            self._start_workers()
            if self.is_awaited:
                self.is_awaited = False
                self._retry_scheduled.set()

    def _next_turn(self) -> Attempt:
        # By turns: a backlog keeps no retry waiting for its end, and many retries do not hold up what is new.
        self._took_due = bool(self._due) and not (self._ready and self._took_due)
        return (self._due if self._took_due else self._ready).popleft()

    async def _make(self, turn: Attempt) -> None:
        plan = self.plan
        if turn.failures >= plan.retry.attempts:  # its last attempts ended with their process
            verdict = buried(turn, "exhausted", turn.error or "the process ended during each attempt")
        else:
            verdict = await self._attempt(turn)
        try:
            await self._commit(verdict.changes)
        except AlreadyHandledError:
            self.counts.duplicates += 1
            self._settle(turn.key)
            return
        except (EventError, StoreError) as error:
            # The author's SQL, a stale stream, an event id that was used before, or more than the store can take.
            verdict = failed(turn, error, plan.retry)
            await self._commit(verdict.changes)
        self._record(turn, verdict)
        if verdict.kind is not Kind.RETRY or not self._holds:
            self._settle(turn.key)
        else:
            self._held.add(turn.key)

    async def _attempt(self, turn: Attempt) -> Verdict:
        try:
            return await attempt(turn, self._workplace, self._timeouts, self.plan.timeout, self.plan.retry)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_cut_off or task is None:
                raise
            task.uncancel()
            return failed(turn, RuntimeError("the handler cancelled its own task"), self.plan.retry)

    async def settle_held(self) -> None:
        """Ack what is held and has become final meanwhile, here or in another process on the same store."""
        held = [key for key in self._held if key.event_id in self._open]
        self._held = set(held)
        for key in await self._store.find_settled(held, final=True) if held else ():
            self._held.discard(key)
            self._settle(key)

    async def _commit(self, changes: Changes) -> None:
        await self._insist(lambda: self._store.commit(changes))

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store until it can be used. What it refuses for the sake of the changes themselves is raised."""
        trouble = 0
        try:
            while True:
                try:
                    return await ask()
                except STORE_TROUBLE as error:
                    trouble += 1
                    if trouble == 1:
                        self._insisting += 1
                    if not self.store_trouble:
                        self._log.error("events wait because the store cannot be used: %s", error)
                    self.store_trouble = f"events wait: {error}"
                ceiling = min(MAX_STORE_BACKOFF_SECONDS, 0.05 * 2.0 ** min(trouble, 20))
                await asyncio.sleep(random.uniform(ceiling / 2, ceiling))
        finally:
            if trouble:
                self._insisting -= 1
            if not self._insisting:  # not before: a disk that is full can be read all the while
                self.store_trouble = ""

    def _settle(self, key: InboxKey) -> None:
        settlement = self._open.get(key.event_id)
        if settlement is None:  # a retry whose delivery was acked long ago
            return
        settlement.waiting.discard(key)
        if not settlement.waiting:
            del self._open[key.event_id]
            for delivery in settlement.deliveries:
                delivery.ack()

    def _record(self, turn: Attempt, verdict: Verdict) -> None:
        if verdict.kind is Kind.HANDLED:
            self.counts.handled += 1
            self._log.debug("%s handled event %s", turn.handler.name, turn.key.event_id)
            return
        self.counts.failed += 1
        last_line = verdict.error.strip().rpartition("\n")[2]
        if verdict.kind is Kind.RETRY:
            self._retry_scheduled.set()
            self._log.warning(
                "%s failed on event %s (attempt %d of %d, next in %.1f s): %s",
                turn.handler.name,
                turn.key.event_id,
                turn.failures + 1,
                self.plan.retry.attempts,
                verdict.delay,
                last_line,
            )
        else:
            self.counts.dead += 1
            (letter,) = verdict.changes.dead_letters
            self._log.error(
                "%s gave up event %s (%s): see 'gemstone dead-letters show %s'\n%s",
                turn.handler.name,
                turn.key.event_id,
                letter.reason,
                letter.id,
                verdict.error,
            )
