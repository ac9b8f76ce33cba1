"""Who gets what: the queues and consumers of one bus file, as they stood at one version of its topology."""

from collections.abc import Iterable
from typing import NamedTuple

from gemstone_events.errors import InvalidNameError
from gemstone_events.names import check_name, matches
from gemstone_events.transport import Subscription

WORK = "work"
GROUP = "group"
INSTANCE = "instance"

_MAX_CACHED_ROUTES = 10_000


class Queue(NamedTuple):
    """One queue of the file. ``owner`` is the instance that a queue of kind ``INSTANCE`` lives and dies with."""

    id: int
    kind: str
    group: str
    pattern: str
    owner: int | None


class QueueKey(NamedTuple):
    """What makes two declarations name the same queue, apart from the owner."""

    kind: str
    group: str
    pattern: str

    @classmethod
    def of(cls, subscription: Subscription) -> "QueueKey":
        """Return the key of a subscription's queue. All groups share the work queue of a name."""
        if subscription.work_queue:
            return cls(WORK, "", subscription.pattern)
        return cls(INSTANCE if subscription.per_instance else GROUP, subscription.group, subscription.pattern)


class Topology:
    """A snapshot of the queues and their consumers, and the routes that follow from it."""

    def __init__(self, version: int, queues: Iterable[Queue], consumers: Iterable[tuple[int, int]]) -> None:
        self.version = version
        listed = list(queues)
        self._broadcast = [queue for queue in listed if queue.kind != WORK]
        self._work = {queue.pattern: queue.id for queue in listed if queue.kind == WORK}
        self._consumers: dict[int, set[int]] = {}
        for queue_id, instance in consumers:
            self._consumers.setdefault(queue_id, set()).add(instance)
        self._routes: dict[str, tuple[int, ...]] = {}

    def subscribers(self, event_name: str) -> tuple[int, ...]:
        """Return the queues that get a copy of a broadcast event: none where the name is not valid."""
        route = self._routes.get(event_name)
        if route is None:
            if len(self._routes) >= _MAX_CACHED_ROUTES:
                self._routes.clear()
            route = tuple(queue.id for queue in self._broadcast if matches(queue.pattern, event_name))
            self._routes[event_name] = route
        return route

    def work_queue(self, event_name: str) -> int | None:
        """Return the work queue of an event name, or None where nobody has declared it yet."""
        return self._work.get(event_name)

    def consumers(self, queue_ids: Iterable[int]) -> set[int]:
        """Return the instances that consume from any of the queues."""
        found: set[int] = set()
        for queue_id in queue_ids:
            found |= self._consumers.get(queue_id, set())
        return found


def is_event_name(name: str) -> bool:
    """Tell whether a message with this type can be routed at all."""
    try:
        check_name("event name", name)
    except InvalidNameError:
        return False
    return True
