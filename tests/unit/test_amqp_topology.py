"""Names on the broker."""

import pytest

from gemstone_events.errors import InvalidNameError, ServiceConfigurationError, TransportRefusedError
from gemstone_events.transport import Subscription
from gemstone_events.transports.amqp_topology import Topology


def test_every_kind_of_queue_has_its_name() -> None:
    topology = Topology("prod")
    shared = topology.queue(Subscription("billing", "order.*"))
    work = topology.queue(Subscription("billing", "invoice.print", work_queue=True))
    assert topology.exchange_name == "prod.events"
    assert (shared.name, shared.binding_key) == ("prod.group.billing:order.*", "order.*")
    assert (work.name, work.binding_key) == ("prod.work.invoice.print", "")
    assert shared.arguments["x-queue-type"] == work.arguments["x-queue-type"] == "quorum"


def test_the_queue_of_an_instance_has_a_new_name_every_time() -> None:
    first, second = (Topology("prod").queue(Subscription("b-1", "order.#", per_instance=True)) for _ in range(2))
    assert first.name.startswith("prod.instance.b-1:order.#:")
    assert first.name != second.name
    assert not first.lasting
    assert first.arguments == {"x-queue-type": "classic"}


def test_a_queue_name_too_long_for_the_broker_is_refused_with_a_remedy() -> None:
    with pytest.raises(TransportRefusedError, match=r"255.*shorten"):
        Topology("prod").queue(Subscription("g" * 130, "p" * 130))


def test_a_namespace_that_leaves_no_room_is_refused() -> None:
    assert len(Topology("n" * 49).work_queue_name("e" * 200)) == 255
    with pytest.raises(ServiceConfigurationError, match="50 bytes"):
        Topology("n" * 50)
    with pytest.raises(InvalidNameError):
        Topology("a b")
