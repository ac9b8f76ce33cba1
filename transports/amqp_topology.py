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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import amqp

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


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as it is declared.

    Attributes:
        name: on the broker.
        binding_key: what it gets from the exchange; empty for nothing but what is sent to its name.
        lasting: it is durable and shared; otherwise it is exclusive to its connection and ends with it.
    """

    name: str
    binding_key: str = ""
    lasting: bool = True

    @property
    def arguments(self) -> Mapping[str, object]:
        """What the broker compares with an existing queue's, and refuses where it differs."""
        return _QUORUM if self.lasting else _CLASSIC


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
        """Return the name of the work queue of an event; the default exchange routes to it without a binding."""
        return f"{self._namespace}.work.{event_name}"

    def queue(self, subscription: Subscription) -> Queue:
        """Return the queue of a subscription; a ``per_instance`` one has a new name every time.

        A name that outlived its connection would be locked until the broker noticed that the connection is gone.

        Raises:
            TransportRefusedError: the name is too long for RabbitMQ.
        """
        if subscription.work_queue:
            return Queue(self.work_queue_name(subscription.pattern))
        pair = f"{subscription.group}:{subscription.pattern}"
        if subscription.per_instance:
            name = f"{self._namespace}.instance.{pair}:{secrets.token_hex(8)}"
        else:
            name = f"{self._namespace}.group.{pair}"
        if len(name) > MAX_QUEUE_NAME_BYTES:
            raise TransportRefusedError(
                f"the queue name {name!r} takes {len(name)} bytes and RabbitMQ allows {MAX_QUEUE_NAME_BYTES}: "
                "shorten the group, the pattern or the namespace"
            )
        return Queue(name, subscription.pattern, lasting=not subscription.per_instance)


def declare_exchange(connection: BlockingConnection, channel: amqp.Channel, topology: Topology) -> None:
    """Declare the exchange of the broadcast events. Blocks.

    Raises:
        TransportRefusedError: an exchange of this name exists that is another.
        TransportUnavailableError: the broker did not answer.
    """
    name = topology.exchange_name
    with translated(connection.address, f"declaring the exchange {name!r}", _drift("exchange", name)):
        channel.exchange_declare(name, "topic", durable=True, auto_delete=False)


def declare_queue(connection: BlockingConnection, channel: amqp.Channel, topology: Topology, queue: Queue) -> None:
    """Declare a queue and its binding to the exchange, which is declared already. Blocks.

    Raises:
        TransportRefusedError: a queue of this name exists that was declared otherwise, or may not be declared.
        TransportUnavailableError: the broker did not answer.
    """
    with translated(connection.address, f"declaring the queue {queue.name!r}", _drift("queue", queue.name)):
        channel.queue_declare(
            queue.name,
            durable=queue.lasting,
            exclusive=not queue.lasting,
            auto_delete=not queue.lasting,
            arguments=queue.arguments,
        )
        if queue.binding_key:
            channel.queue_bind(queue.name, topology.exchange_name, queue.binding_key)


def declare_work_queues(
    connection: BlockingConnection, topology: Topology, event_names: Sequence[str]
) -> dict[str, TransportError]:
    """Declare the work queues of these events and return what went wrong, by event name. Blocks."""
    failed: dict[str, TransportError] = {}
    for event_name in event_names:
        try:
            # A refusal closes the channel; a new one each costs little and cannot be in a state of doubt.
            with connection.channel() as channel:
                declare_queue(connection, channel, topology, Queue(topology.work_queue_name(event_name)))
        except TransportRefusedError as error:
            failed[event_name] = error
    return failed


class QueueState(NamedTuple):
    """How a queue is, as the broker sees it.

    Attributes:
        ready: messages that no consumer was given yet.
        consumers: how many there are, of all processes.
    """

    ready: int
    consumers: int


def look_at_queues(connection: BlockingConnection, queue_names: Sequence[str]) -> dict[str, QueueState]:
    """Return how queues are; one that does not exist has no consumers. Blocks.

    Raises:
        TransportUnavailableError: the broker did not answer.
    """
    states: dict[str, QueueState] = {}
    for name in queue_names:
        with translated(connection.address, f"looking at the queue {name!r}"):
            try:
                with connection.channel() as channel:
                    _, ready, consumers = channel.queue_declare(name, passive=True)
            except amqp.NotFound:
                ready = consumers = 0
        states[name] = QueueState(ready, consumers)
    return states


def _drift(kind: str, name: str) -> str:
    return (
        f"the {kind} {name!r} exists and was declared otherwise. Nothing was changed. Mend it by removing it once it "
        f"is drained (for a queue: rabbitmqctl delete_queue {name!r}; bindings go with it), or use another namespace"
    )
