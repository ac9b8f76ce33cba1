"""The contract suite of wires for JSON-RPC, for ours and for third parties'. It needs pytest and pytest-asyncio.

A wire passes it in a class of a few lines. Where its two sides are named in the entry points
``gemstone_events.rpc_clients`` and ``gemstone_events.rpc_servers``, the URL of a broker or bus is enough; what it
declares in ``features`` decides which scenarios run:

    class TestRedis(RpcContract):
        @pytest.fixture
        def wire_url(self, redis_url: str) -> str:
            return redis_url

Otherwise override ``make_client`` and ``make_server``. Scenarios wait for what must happen and measure no time. Every
one works in a namespace of its own, so that they may share a broker.
"""

import pytest

# Before they are imported: so that a failed scenario shows the values.
pytest.register_assert_rewrite(
    "gemstone_events.testing.rpc_contract_calls",
    "gemstone_events.testing.rpc_contract_lifecycle",
    "gemstone_events.testing.rpc_contract_protocol",
)

from gemstone_events.testing.rpc_contract_calls import CallsContract
from gemstone_events.testing.rpc_contract_harness import (
    DEADLINE,
    MakeClient,
    MakeServer,
    RpcFeatures,
    Served,
    eventually,
)
from gemstone_events.testing.rpc_contract_lifecycle import LifecycleContract
from gemstone_events.testing.rpc_contract_protocol import ProtocolContract

__all__ = ["DEADLINE", "MakeClient", "MakeServer", "RpcContract", "RpcFeatures", "Served", "eventually"]


class RpcContract(ProtocolContract, CallsContract, LifecycleContract):
    """What every wire keeps: override the fixture ``wire_url``, or ``make_client`` and ``make_server``."""
