"""URLs and routing of the embedded bus: what needs no file."""

from pathlib import Path

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.testing.transport_contract import Recorder, messages
from gemstone_events.transport import Outcome, Subscription, TransportSettings
from gemstone_events.transports.embedded import open_url
from gemstone_events.transports.embedded_topology import GROUP, INSTANCE, WORK, Queue, QueueKey, Topology

SETTINGS = TransportSettings()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sqlite:///.gemstone/bus.db", "sqlite:///.gemstone/bus.db"),
        ("sqlite:////var/lib/bus.db", "sqlite:////var/lib/bus.db"),
        ("sqlite:///with%20space.db", "sqlite:///with%20space.db"),
    ],
)
def test_three_slashes_are_relative_and_four_absolute(url: str, address: str) -> None:
    assert open_url(url, SETTINGS).address == address


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite://bus.db",
        "sqlite://host/bus.db",
        "sqlite:///folder/",
        "sqlite:///a%00b",
        "sqlite:///bus.db?mode=ro",
        "sqlite:///bus.db#part",
    ],
)
def test_a_url_with_anything_unknown_is_an_error(url: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="sqlite"):
        open_url(url, SETTINGS)


def test_making_it_opens_nothing(tmp_path: Path) -> None:
    open_url(f"sqlite:///{tmp_path}/bus.db", SETTINGS)
    assert list(tmp_path.iterdir()) == []


async def test_unopened_it_refuses_and_says_so() -> None:
    transport = open_url("sqlite:///bus.db", SETTINGS)
    assert not transport.status().publishing
    assert list(await transport.publish(messages("order.placed", 2))) == [Outcome.REFUSED] * 2
    with pytest.raises(RuntimeError, match="not open"):
        await transport.subscribe([Subscription("billing", "#")], Recorder())


def test_broadcast_goes_to_matching_queues_and_work_to_its_own() -> None:
    queues = [
        Queue(1, GROUP, "billing", "order.*", None),
        Queue(2, INSTANCE, "cache", "#", 7),
        Queue(3, WORK, "", "order.print", None),
        Queue(4, GROUP, "billing", "invoice.#", None),
    ]
    topology = Topology(1, queues, [(1, 7), (1, 8), (2, 7)])
    assert topology.subscribers("order.print") == (1, 2)
    assert topology.subscribers("invoice") == (2, 4)
    assert topology.work_queue("order.print") == 3
    assert topology.work_queue("order.placed") is None
    assert topology.consumers([1, 3]) == {7, 8}


def test_all_groups_share_the_work_queue_of_a_name() -> None:
    keys = {QueueKey.of(Subscription(group, "order.print", work_queue=True)) for group in ("billing", "shipping")}
    assert len(keys) == 1
