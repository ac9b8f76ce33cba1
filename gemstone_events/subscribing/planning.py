"""From declared handlers to subscriptions: who shares a queue, and what is ambiguous."""

from collections.abc import Iterable, Sequence

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.handlers import EventHandler, EveryInstance
from gemstone_events.names import is_exact
from gemstone_events.subscribing.subscription_plan import SubscriptionPlan
from gemstone_events.transport import Subscription

MAX_PREFETCH = 1000


def plan_subscriptions(handlers: Iterable[EventHandler], service: str, instance: str) -> Sequence[SubscriptionPlan]:
    """Return one plan for each pair of group and pattern, and one for the work queue of each exact name.

    Args:
        handlers: every handler of the service and its containers.
        service: the service's name, which is the group of handlers that name none.
        instance: what tells this running instance from others.

    Raises:
        ServiceConfigurationError: handlers that share a queue ask for different treatment of it.
    """
    shared: dict[tuple[str, str, bool], list[EventHandler]] = {}
    work: dict[str, list[EventHandler]] = {}
    for handler in handlers:
        group = handler.options.group
        per_instance = isinstance(group, EveryInstance)
        name = f"{service}.{instance}" if isinstance(group, EveryInstance) else group or service
        shared.setdefault((name, handler.options.pattern, per_instance), []).append(handler)
        if is_exact(handler.options.pattern) and not per_instance:
            work.setdefault(handler.options.pattern, []).append(handler)
    plans = []
    for (group_name, pattern, per_instance), members in shared.items():
        _check_agreement(pattern, members)
        prefetch = _prefetch(members[0].options.concurrency)
        subscription = Subscription(group_name, pattern, per_instance=per_instance, prefetch=prefetch)
        plans.append(_plan(subscription, members))
    for pattern, members in work.items():
        _check_agreement(f"{pattern} as work", members)
        prefetch = _prefetch(members[0].options.concurrency)
        plans.append(_plan(Subscription(service, pattern, work_queue=True, prefetch=prefetch), members))
    return plans


def _prefetch(concurrency: int) -> int:
    # Twice what is handled at once, so that the next events are there when a handler ends.
    return min(MAX_PREFETCH, 2 * concurrency)


def _plan(subscription: Subscription, members: list[EventHandler]) -> SubscriptionPlan:
    _check_names(subscription.pattern, members)
    options = members[0].options
    return SubscriptionPlan(
        subscription=subscription,
        handlers=tuple(members),
        concurrency=options.concurrency,
        timeout=options.timeout,
        retry=options.retry,
        hold_until_final=options.hold_until_final,
    )


def _check_names(pattern: str, members: list[EventHandler]) -> None:
    names = [member.name for member in members]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ServiceConfigurationError(
            f"two handlers of {pattern!r} are named {min(twice)}: the inbox could not tell them apart; "
            "rename one of the classes, or give one of them a group of its own"
        )


def _check_agreement(pattern: str, members: list[EventHandler]) -> None:
    first = members[0]
    for other in members[1:]:
        for option in ("concurrency", "timeout", "retry", "hold_until_final"):
            if getattr(first.options, option) != getattr(other.options, option):
                raise ServiceConfigurationError(
                    f"{first.name} and {other.name} share the subscription to {pattern!r} and disagree on {option}: "
                    "give both the same, or put one of them into another service"
                )
