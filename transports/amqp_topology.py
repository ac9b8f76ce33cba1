"""What exists on a RabbitMQ broker: one topic exchange per namespace, and a queue per subscription or work queue.

======================================  ====================================================================
``<namespace>.events``                  durable topic exchange of all broadcast events
``<namespace>.group.<group>:<pattern>`` durable quorum queue of a subscription, bound with its pattern
``<namespace>.work.<event name>``       durable quorum queue of work, reached through the default exchange
``<namespace>.instance.<group>:...``    exclusive classic queue of one running instance, gone with its connection
======================================  ====================================================================

AMQP 0-9-1, section 3.1.3.3, matches binding keys as ``names.matches`` does.
"""

import secrets
from collections.abc import Sequence

import amqp
import kombu

from gemstone_events.errors import ServiceConfigurationError, TransportError, TransportRefusedError
from gemstone_events.names import MAX_NAME_BYTES, check_name
from gemstone_events.transport import Subscription
from gemstone_events.transports.amqp_blocking import BlockingConnection, translated

MAX_QUEUE_NAME_BYTES = 255
"""The limit of a short string: AMQP 0-9-1, section 4.2.5.3."""

# The inbox counts attempts and judges poison, alike on every transport. The broker must not do so behind its back:
# RabbitMQ 4 drops a message of a quorum queue after 20 returns, and a service that crashes at start brings those
# about without ever having handled it. No limit at all cannot be written alike for RabbitMQ 3 (which refuses -1) and 4
# (whose default is 20), and an argument that differs between them would be refused after an upgrade.
DELIVERY_LIMIT = 1_000_000_000

_QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
_CLASSIC = {"x-queue-type": "classic"}


class Topology:
    """The names on the broker of one namespace, and what they stand for."""

    def __init__(self, namespace: str) -> None:
        """Raises ServiceConfigurationError where the namespace leaves no room for an event's name."""
        self._namespace = check_name("namespace", namespace)
        room = MAX_QUEUE_NAME_BYTES - MAX_NAME_BYTES - len(".work.")
        if len(namespace) > room:
            raise ServiceConfigurationError(
                f"the namespace {namespace!r} takes {len(namespace)} bytes; RabbitMQ's names leave it {room}"
            )
        self.exchange_name = f"{namespace}.events"

    def work_queue_name(self, event_name: str) -> str:
        """Return the name of the work queue of an event."""
        return f"{self._namespace}.work.{event_name}"

    def exchange(self) -> kombu.Exchange:
        """Return the exchange of all broadcast events."""
        return kombu.Exchange(self.exchange_name, type="topic", durable=True)

    def work_queue(self, event_name: str) -> kombu.Queue:
        """Return the work queue of an event; the default exchange routes to it by its name, without a binding."""
        return kombu.Queue(self.work_queue_name(event_name), durable=True, queue_arguments=_QUORUM)

    def queue(self, subscription: Subscription) -> kombu.Queue:
        """Return the queue of a subscription; a ``per_instance`` one has a new name every time.

        A name that outlived its connection would be locked until the broker noticed that the connection is gone.

        Raises:
            TransportRefusedError: the name is too long for RabbitMQ.
        """
        if subscription.work_queue:
            return self.work_queue(subscription.pattern)
        pair = f"{subscription.group}:{subscription.pattern}"
        if subscription.per_instance:
            return kombu.Queue(
                _fit(f"{self._namespace}.instance.{pair}:{secrets.token_hex(8)}"),
                exchange=self.exchange(),
                routing_key=subscription.pattern,
                durable=False,
                exclusive=True,
                auto_delete=True,
                queue_arguments=_CLASSIC,
            )
        return kombu.Queue(
            _fit(f"{self._namespace}.group.{pair}"),
            exchange=self.exchange(),
            routing_key=subscription.pattern,
            durable=True,
            queue_arguments=_QUORUM,
        )


def declare_exchange(connection: BlockingConnection, channel: amqp.Channel, topology: Topology) -> None:
    """Declare the exchange of the broadcast events. Blocks.

    Raises:
        TransportRefusedError: an exchange of this name exists that is another.
        TransportUnavailableError: the broker did not answer.
    """
    exchange = topology.exchange()
    with translated(connection.address, f"declaring the exchange {exchange.name!r}", _drift("exchange", exchange.name)):
        exchange(channel).declare()


def declare_queue(connection: BlockingConnection, channel: amqp.Channel, queue: kombu.Queue) -> kombu.Queue:
    """Declare a queue, its exchange and its binding, and return it bound to ``channel``. Blocks.

    Raises:
        TransportRefusedError: a queue of this name exists that was declared otherwise, or may not be declared.
        TransportUnavailableError: the broker did not answer.
    """
    with translated(connection.address, f"declaring the queue {queue.name!r}", _drift("queue", queue.name)):
        bound = queue(channel)
        bound.declare()
    return bound


def declare_work_queues(
    connection: BlockingConnection, topology: Topology, event_names: Sequence[str]
) -> dict[str, TransportError]:
    """Declare the work queues of these events and return what went wrong, by event name. Blocks."""
    failed: dict[str, TransportError] = {}
    for event_name in event_names:
        try:
            # A refusal closes the channel; a new one each costs little and cannot be in a state of doubt.
            with connection.channel() as channel:
                declare_queue(connection, channel, topology.work_queue(event_name))
        except TransportRefusedError as error:
            failed[event_name] = error
    return failed


def unconsumed(connection: BlockingConnection, queue_names: Sequence[str]) -> list[str]:
    """Return which queues do not exist or have no consumer, as the broker sees it. Blocks.

    Raises:
        TransportUnavailableError: the broker did not answer.
    """
    idle: list[str] = []
    for name in queue_names:
        with translated(connection.address, f"looking at the queue {name!r}"):
            try:
                with connection.channel() as channel:
                    _, _, consumers = channel.queue_declare(name, passive=True)
            except amqp.NotFound:
                consumers = 0
        if not consumers:
            idle.append(name)
    return idle


def _fit(name: str) -> str:
    if len(name) > MAX_QUEUE_NAME_BYTES:
        raise TransportRefusedError(
            f"the queue name {name!r} takes {len(name)} bytes and RabbitMQ allows {MAX_QUEUE_NAME_BYTES}: "
            "shorten the group, the pattern or the namespace"
        )
    return name


def _drift(kind: str, name: str) -> str:
    return (
        f"the {kind} {name!r} exists and was declared otherwise. Nothing was changed. Mend it by removing it once it "
        f"is drained (for a queue: rabbitmqctl delete_queue {name!r}; bindings go with it), or use another namespace"
    )
