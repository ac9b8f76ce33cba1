"""The contract suite of transports, for ours and for third parties'. It needs pytest and pytest-asyncio.

A transport passes it in a class of a few lines; what it declares in its ``Features`` decides which scenarios run:

    class TestRedis(TransportContract):
        features = RedisTransport.features

        @pytest.fixture
        def make_transport(self, redis_url: str) -> MakeTransport:
            return lambda settings: open_url(redis_url, settings)

Duplicates are counted, never hidden: without a fault a message comes exactly once. Scenarios wait for what must happen
and measure no time. Every one works in a namespace of its own, so that they may share a broker.
"""

import pytest

# Before they are imported: so that a failed scenario shows the values.
pytest.register_assert_rewrite(
    "gemstone_events.testing.transport_contract_lifecycle",
    "gemstone_events.testing.transport_contract_routing",
    "gemstone_events.testing.transport_contract_settlement",
)

from gemstone_events.testing.transport_contract_harness import (
    DEADLINE,
    MakeTransport,
    Recorder,
    Transports,
    eventually,
    keep,
    message,
    messages,
    publish,
)
from gemstone_events.testing.transport_contract_lifecycle import LifecycleContract
from gemstone_events.testing.transport_contract_routing import RoutingContract
from gemstone_events.testing.transport_contract_settlement import SettlementContract

__all__ = [
    "DEADLINE",
    "MakeTransport",
    "Recorder",
    "TransportContract",
    "Transports",
    "eventually",
    "keep",
    "message",
    "messages",
    "publish",
]


class TransportContract(RoutingContract, SettlementContract, LifecycleContract):
    """What every transport keeps: set ``features`` and override the fixture ``make_transport``."""
