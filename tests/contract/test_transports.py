"""All transports behind one contract."""

import uuid
from pathlib import Path

import pytest

from gemstone_events.adapters import make_transport as transport_for
from gemstone_events.testing.transport_contract import MakeTransport, TransportContract
from gemstone_events.transports.embedded import EmbeddedTransport
from gemstone_events.transports.memory import MemoryTransport
from gemstone_events.transports.rabbitmq import RabbitMQTransport


class TestMemory(TransportContract):
    features = MemoryTransport.features

    @pytest.fixture
    def make_transport(self) -> MakeTransport:
        url = f"memory://{uuid.uuid4().hex}"
        return lambda settings: transport_for(url, settings)


class TestEmbedded(TransportContract):
    features = EmbeddedTransport.features

    @pytest.fixture
    def make_transport(self, tmp_path: Path) -> MakeTransport:
        return lambda settings: transport_for(f"sqlite:///{tmp_path}/bus.db", settings)


class TestRabbitMQ(TransportContract):
    features = RabbitMQTransport.features

    @pytest.fixture
    def make_transport(self, rabbitmq_url: str) -> MakeTransport:
        return lambda settings: transport_for(rabbitmq_url, settings)
