"""The queues behind ``memory://``: routing, handing out, settling. One event loop's, without a lock or an await."""

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from gemstone_events.errors import InvalidNameError
from gemstone_events.message import Message
from gemstone_events.names import check_name, matches
from gemstone_events.transport import Outcome, Receive, Subscription

MAX_CACHED_ROUTES = 10_000


class QueueKey(NamedTuple):
    """What makes two declarations name the same queue. ``owner`` is 0 except where nobody shares it."""

    namespace: str
    group: str
    pattern: str
    is_work: bool
    owner: int

    @classmethod
    def of(cls, namespace: str, subscription: Subscription, owner: int) -> "QueueKey":
        """Return the key of a subscription's queue. All groups share the work queue of a name."""
        group = "" if subscription.work_queue else subscription.group
        return cls(namespace, group, subscription.pattern, subscription.work_queue, owner)


class Letter(NamedTuple):
    """A message in one queue. Letters sort by their number, the order of arrival."""

    number: int
    message: Message
    redelivered: bool


class Delivery:
    """A letter in the hands of a consumer: see ``gemstone_events.transport.Delivery``."""

    __slots__ = ("_consumer", "_number", "message", "redelivered")

    def __init__(self, letter: Letter, consumer: "Consumer") -> None:
        self._number, self.message, self.redelivered = letter
        self._consumer = consumer

    def ack(self) -> None:
        """See ``Delivery.ack`` of the port."""
        self._consumer.settle(self._number, acked=True)

    def release(self) -> None:
        """See ``Delivery.release`` of the port."""
        self._consumer.settle(self._number, acked=False)


class Queue:
    """Letters of one queue, handed out to its consumers in turn."""

    def __init__(self, key: QueueKey, loop: asyncio.AbstractEventLoop) -> None:
        self.key = key
        self.consumers: deque[Consumer] = deque()
        self._loop = loop
        self._arrived = 0
        self._waiting: deque[Letter] = deque()
        self._returned: list[Letter] = []  # a heap: what was given back comes first, in the order of its arrival
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._waiting) + len(self._returned)

    def put(self, message: Message) -> None:
        """Add a message at the end."""
        self._arrived += 1
        self._waiting.append(Letter(self._arrived, message, False))
        self.schedule()

    def put_back(self, letter: Letter) -> None:
        """Let a letter come again, before what has not been delivered yet."""
        heapq.heappush(self._returned, letter._replace(redelivered=True))
        self.schedule()

    def schedule(self) -> None:
        """Hand out at the loop's next turn, if there is something and somebody to take it."""
        if not self._scheduled and self.consumers and (self._waiting or self._returned):
            self._scheduled = True
            self._loop.call_soon(self._hand_out)

    def _hand_out(self) -> None:
        self._scheduled = False
        consumer = self._next_consumer()
        if consumer is None or not len(self):
            return
        # An equal part for everybody, so that the first consumer does not take all.
        part = -(-len(self) // len(self.consumers))
        letters = [self._next() for _ in range(min(len(self), consumer.room, part))]
        self.schedule()  # before the receiver is called: should it raise, the others have their turn all the same
        consumer.hand_out(letters)

    def _next_consumer(self) -> "Consumer | None":
        for _ in range(len(self.consumers)):
            self.consumers.rotate(-1)
            if self.consumers[0].room > 0:
                return self.consumers[0]
        return None

    def _next(self) -> Letter:
        return heapq.heappop(self._returned) if self._returned else self._waiting.popleft()


class Consumer:
    """One subscription of one transport."""

    def __init__(self, queue: Queue, subscription: Subscription, receive: Receive) -> None:
        self.queue = queue
        self.subscription = subscription
        self._receive = receive
        self._unsettled: dict[int, Letter] = {}

    @property
    def room(self) -> int:
        """How many more letters it may hold unsettled."""
        return self.subscription.prefetch - len(self._unsettled)

    def start(self) -> None:
        """Take letters from now on."""
        self.queue.consumers.append(self)
        self.queue.schedule()

    def stop(self) -> None:
        """Take no more letters."""
        if self in self.queue.consumers:
            self.queue.consumers.remove(self)

    def close(self) -> None:
        """Stop, and give back what is unsettled."""
        self.stop()
        unsettled, self._unsettled = self._unsettled, {}
        for letter in unsettled.values():
            self.queue.put_back(letter)

    def settle(self, number: int, *, acked: bool) -> None:
        """Forget a letter or give it back; nothing where it is settled already."""
        letter = self._unsettled.pop(number, None)
        if letter is None:
            return
        if not acked:
            self.queue.put_back(letter)
        self.queue.schedule()

    def hand_out(self, letters: Sequence[Letter]) -> None:
        """Call the receiver, the last thing done: it may raise."""
        self._unsettled.update((letter.number, letter) for letter in letters)
        self._receive(self.subscription, [Delivery(letter, self) for letter in letters])


class Broker:
    """All queues of one name. Routes are kept until a queue comes or goes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._owners = 0
        self._queues: dict[QueueKey, Queue] = {}
        self._routes: dict[tuple[str, str], list[Queue]] = {}

    def check_loop(self) -> None:
        """Raise RuntimeError on any other event loop or thread: nothing here is guarded against them."""
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("a memory transport belongs to the event loop that opened it")

    def new_owner(self) -> int:
        """Return a number for a queue that nobody is to share."""
        self._owners += 1
        return self._owners

    def declare(self, key: QueueKey) -> Queue:
        """Return the queue, made if need be."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Queue(key, self.loop)
            self._routes.clear()
        return queue

    def drop(self, queue: Queue) -> None:
        """Remove a queue with what is in it."""
        self._queues.pop(queue.key, None)
        self._routes.clear()

    def publish(self, namespace: str, message: Message, max_queue: int) -> Outcome:
        """Put a copy into every queue that the message belongs to, or into none where one of them is full."""
        try:
            queues = self._route(namespace, message)
        except InvalidNameError:
            return Outcome.REFUSED
        if any(len(queue) >= max_queue for queue in queues):
            return Outcome.REFUSED
        for queue in queues:
            # A copy for each: what one subscriber does to its attributes is not to be seen by another.
            queue.put(Message(dict(message.attributes), message.body, message.broadcast))
        return Outcome.CONFIRMED

    def _route(self, namespace: str, message: Message) -> list[Queue]:
        name = message.type
        if not message.broadcast:
            key = QueueKey(namespace, "", check_name("event name", name), True, 0)
            return [self.declare(key)]
        route = self._routes.get((namespace, name))
        if route is None:
            check_name("event name", name)
            if len(self._routes) >= MAX_CACHED_ROUTES:
                self._routes.clear()
            route = [queue for key, queue in self._queues.items() if _is_subscribed(key, namespace, name)]
            self._routes[namespace, name] = route
        return route


def _is_subscribed(key: QueueKey, namespace: str, name: str) -> bool:
    return key.namespace == namespace and not key.is_work and matches(key.pattern, name)
