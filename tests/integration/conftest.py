"""What the tests of several modules call services with."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from gemstone_events.rpc.wires.amqp.client import AmqpClientWire
from tests.integration.rpc_amqp_harness import client


@pytest.fixture
def orders_url(rabbitmq_url: str) -> str:
    """Where the service of ``rpc_amqp_harness.serving`` is called."""
    return f"{rabbitmq_url}#orders"


@pytest.fixture
async def amqp_wire(namespace: str) -> AsyncIterator[AmqpClientWire]:
    """Calls services through RabbitMQ."""
    async with client(namespace) as made:
        yield made


@pytest.fixture
async def stranger(rabbitmq_url: str) -> AsyncIterator[AbstractChannel]:
    """A client of RabbitMQ by another author."""
    connection = await aio_pika.connect(rabbitmq_url)
    async with connection:
        yield await connection.channel()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of localhost and its key in one file, which is its own authority."""
    if shutil.which("openssl") is None:
        pytest.fail("the openssl command is not installed")
    pem = tmp_path / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(pem), "-out", str(tmp_path / "certificate")]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "certificate").read_text())
    return pem
