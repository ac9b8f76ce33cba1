"""From declared handlers to subscriptions."""

import pytest

from gemstone_events import EVERY_INSTANCE, Container, event_handler
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.handlers import declared_handlers
from gemstone_events.subscribing.planning import plan_subscriptions
from gemstone_events.transport import Subscription


def plans_of(*containers):
    handlers = [handler for container in containers for handler in declared_handlers(container)]
    return plan_subscriptions(handlers, "billing", "i1")


class Two(Container):
    @event_handler("order.placed")
    def first(self, body):
        """Take it."""

    @event_handler("order.placed")
    def second(self, body):
        """Take it."""


def test_handlers_of_one_group_and_pattern_share_a_subscription_and_are_tracked_apart():
    shared = next(plan for plan in plans_of(Two()) if not plan.subscription.work_queue)
    assert shared.subscription == Subscription("billing", "order.placed", prefetch=20)
    assert [shared.consumer(handler) for handler in shared.takers("x")] == [
        "billing:order.placed:Two.first",
        "billing:order.placed:Two.second",
    ]


def test_work_of_a_name_goes_to_one_handler_and_to_the_same_one_when_it_comes_again():
    work = next(plan for plan in plans_of(Two()) if plan.subscription.work_queue)
    chosen = {event_id: work.takers(event_id) for event_id in map(str, range(50))}
    assert all(len(handlers) == 1 for handlers in chosen.values())
    assert len({handlers[0].name for handlers in chosen.values()}) == 2
    assert all(work.takers(event_id) == handlers for event_id, handlers in chosen.items())
    assert {work.consumer(handlers[0]) for handlers in chosen.values()} == {"work:order.placed"}


def test_a_pattern_has_no_work_queue():
    class Part(Container):
        @event_handler("order.*")
        def handle(self, body):
            """Take it."""

    assert [plan.subscription.work_queue for plan in plans_of(Part())] == [False]


def test_every_instance_gets_a_queue_of_its_own_and_no_work():
    class Part(Container):
        @event_handler("prices.changed", group=EVERY_INSTANCE)
        def handle(self, body):
            """Take it."""

    (plan,) = plans_of(Part())
    assert plan.subscription == Subscription("billing.i1", "prices.changed", per_instance=True, prefetch=20)


def test_handlers_that_share_a_queue_and_disagree_are_refused_by_name():
    class Part(Container):
        @event_handler("a", concurrency=1)
        def one(self, body):
            """Take it."""

        @event_handler("a", concurrency=2)
        def two(self, body):
            """Take it."""

    with pytest.raises(ServiceConfigurationError, match=r"Part\.one and Part\.two .* concurrency"):
        plans_of(Part())
