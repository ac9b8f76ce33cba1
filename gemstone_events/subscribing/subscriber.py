"""From a delivery to its durable outcome."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from gemstone_events.deadlines import Timeouts
from gemstone_events.errors import StoreError
from gemstone_events.event import new_id
from gemstone_events.store.port import Changes, InboxKey, Retry
from gemstone_events.subscribing.attempt import Attempt, Workplace, attempt, failed
from gemstone_events.subscribing.open_deliveries import OpenDeliveries
from gemstone_events.subscribing.outcomes import Outcomes
from gemstone_events.subscribing.patient_store import PatientStore
from gemstone_events.subscribing.subscription_plan import SubscriptionPlan
from gemstone_events.subscribing.task_set import TaskSet
from gemstone_events.subscribing.turns import Turns
from gemstone_events.transport import Delivery


class Subscriber:
    """Handles what arrives for one subscription, from any transport.

    A delivery is acked when its outcome is durable in the store: the handler's unit of work with the inbox mark, the
    attempt to come, or the dead letter. With a store that is not durable, or if the plan says so, it is acked only
    when the event is handled or dead. Trouble with the store is nobody's failure: the outcome is written when the
    store can be used again, and the delivery stays unacked until then.

    Args:
        plan: what is handled, by whom, and how.
        workplace: what attempts work with.
        retry_scheduled: set when there is something for the retrier to do.
        logger: where failures, and defects, are reported.
    """

    def __init__(
        self, plan: SubscriptionPlan, workplace: Workplace, retry_scheduled: asyncio.Event, logger: logging.Logger
    ) -> None:
        self.plan = plan
        self.consumers = plan.consumers
        """The inbox's names for this subscriber's handlers."""
        self.has_failed = False
        """Something unexpected has happened, and deliveries may be stuck: readiness says so."""
        self.is_awaited = False
        """Retries wait until there is room for more attempts: say so when there is."""
        self._retry_scheduled = retry_scheduled
        self._workplace = workplace
        self._store = PatientStore(workplace.store, logger)
        self._log = logger
        self._arrived: deque[Delivery] = deque()
        self._open = OpenDeliveries(hold_until_final=plan.hold_until_final or not workplace.store.durable)
        self._outcomes = Outcomes(self._store, self._open, plan.retry, retry_scheduled, logger)
        self._turns = Turns(plan.concurrency)
        self._tasks = TaskSet(self._report_defect)
        self._timeouts = Timeouts()
        self._is_sorting = False
        self._accepting = True

    @property
    def store_trouble(self) -> str:
        """Why outcomes cannot be written now, and deliveries wait for that; empty when all is well."""
        return self._store.trouble

    @property
    def room(self) -> int:
        """How many attempts that are due may be brought: as many as could begin, and one for a place that gets free."""
        return self._turns.room

    def receive(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries; never blocks."""
        if not self._accepting:
            for delivery in deliveries:
                delivery.release()
            return
        self._arrived.extend(deliveries)
        if not self._is_sorting:
            self._is_sorting = True
            self._tasks.start(self._sort())

    def retry(self, retry: Retry) -> None:
        """Take an attempt that is due."""
        self._turns.add_due(self.plan.next_turn(retry))
        self._begin_attempts()

    async def settle_held(self) -> None:
        """Ack what is held and has become final meanwhile, here or in another process on the same store."""
        held = self._open.held()
        for key in await self._workplace.store.find_settled(held, final=True) if held else ():
            self._open.settle(key)

    async def stop(self, timeout: float) -> None:
        """Finish what runs, for ``timeout`` seconds at most, and give back what has not begun. Twice is harmless."""
        self._accepting = False
        dropped = self._turns.drop()
        try:
            if dropped:  # claimed, and not begun: whoever runs next need not wait for the claim to end
                self._tasks.start(self._give_back(dropped))
            await self._tasks.wait(timeout)
        finally:
            unfinished = self.cut_off()
        if unfinished:
            self._log.warning("%d attempts of %s did not end in time", unfinished, self.consumers)
            await self._tasks.wait(1.0)

    def cut_off(self) -> int:
        """Cancel what runs, give back what is not settled, and return how much ran. Twice is harmless."""
        self._accepting = False
        unfinished = self._tasks.cancel()
        for delivery in self._arrived:
            delivery.release()
        self._arrived.clear()
        self._open.release()
        return unfinished

    async def _give_back(self, turns: Sequence[Attempt]) -> None:
        retries = [Retry(turn.key, turn.message, turn.failures, 0.0, turn.error) for turn in turns]
        try:
            await self._workplace.store.commit(Changes(retries=retries))
        except StoreError as error:
            self._log.warning("%d retries wait until their claims end: %s", len(retries), error)

    def _report_defect(self, error: BaseException) -> None:
        self.has_failed = True
        self._log.critical(
            "a defect: events of %s stand still until the service is restarted", self.consumers, exc_info=error
        )

    # What arrived is looked up in the inbox, all that came together at once, and waits for its turn.

    async def _sort(self) -> None:
        try:
            while self._arrived and self._accepting:
                turns = self._open_arrived()
                settled = await self._store.find_settled([turn.key for turn in turns])
                if not self._open.hold_until_final:
                    settled |= await self._hand_to_retrier([t for t in turns if t.redelivered and t.key not in settled])
                for turn in turns:
                    if turn.key in settled:
                        self._open.settle_for_now(turn.key)
                    elif self._accepting:
                        self._turns.add_new(turn)
                self._begin_attempts()
        finally:
            self._is_sorting = False

    def _open_arrived(self) -> list[Attempt]:
        attempts: list[Attempt] = []
        while self._arrived:
            delivery = self._arrived.popleft()
            # A message without an id cannot be told from others; its attempts will end as dead letters.
            event_id = delivery.message.id or f"nameless:{new_id()}"
            if not self._open.join(event_id, delivery):
                turns = self.plan.first_turns(event_id, delivery)
                self._open.add(event_id, delivery, [turn.key for turn in turns])
                attempts += turns
        return attempts

    async def _hand_to_retrier(self, turns: Sequence[Attempt]) -> set[InboxKey]:
        """Make retries of what was delivered before: they count their attempts even if each ends with its process."""
        if turns:
            await self._store.commit(Changes(retries=[Retry(turn.key, turn.message, 0, 0.0) for turn in turns]))
            self._retry_scheduled.set()
        return {turn.key for turn in turns}

    # As many attempts as the plan allows are made at once, each in a task of its own; one that ends begins the next.

    def _begin_attempts(self) -> None:
        # Whom a cut cancelled makes room for others, which nobody waits for any more.
        while not self._tasks.are_cancelled and (turn := self._turns.take()) is not None:
            self._tasks.start(self._work(turn))

    async def _work(self, turn: Attempt) -> None:
        try:
            await self._make(turn)
        finally:
            self._turns.leave()
            self._begin_attempts()
            if self.is_awaited:
                self.is_awaited = False
                self._retry_scheduled.set()

    async def _make(self, turn: Attempt) -> None:
        plan = self.plan
        try:
            verdict = await attempt(turn, self._workplace, self._timeouts, plan.timeout, plan.retry)
        except asyncio.CancelledError:
            if not self._tasks.take_back_cancellation():
                raise
            verdict = failed(turn, RuntimeError("the handler cancelled its own task"), plan.retry)
        try:
            await self._outcomes.write(turn, verdict)
        except asyncio.CancelledError:  # the handler left it behind, and has ended well
            if not self._tasks.take_back_cancellation():
                raise
            await self._outcomes.write(turn, verdict)
