"""Servers for the tests that need them. A server that cannot be had is a failure, never a skip."""

import os
import socket
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from gemstone_events.testing.servers import PostgreSQL, RabbitMQ, Redis


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test has: tests share their servers, not their names."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """A broker for the whole run: that of $GEMSTONE_TEST_RABBITMQ_URL, or a private one. Nobody may stop it."""
    yield from _given("GEMSTONE_TEST_RABBITMQ_URL", 5672) or _private(RabbitMQ())


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server for the whole run: that of $GEMSTONE_TEST_REDIS_URL, or a private one."""
    yield from _given("GEMSTONE_TEST_REDIS_URL", 6379) or _private(Redis())


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL server for the whole run: that of $GEMSTONE_TEST_POSTGRESQL_URL, or a private one."""
    yield from _given("GEMSTONE_TEST_POSTGRESQL_URL", 5432) or _private(PostgreSQL())


@pytest.fixture(scope="session")
def _rabbitmq_to_break() -> Iterator[RabbitMQ]:
    with RabbitMQ() as node:
        yield node


@pytest.fixture
def rabbitmq_node(_rabbitmq_to_break: RabbitMQ) -> RabbitMQ:
    """A private node that the test may stop, kill, pause and fill: it runs, and holds nothing of earlier tests."""
    _rabbitmq_to_break.resume()
    _rabbitmq_to_break.start()
    _rabbitmq_to_break.reset()
    return _rabbitmq_to_break


def _given(variable: str, default_port: int) -> list[str]:
    url = os.environ.get(variable, "")
    if not url:
        return []
    parts = urlsplit(url)
    address = (parts.hostname or "localhost", parts.port or default_port)
    try:
        socket.create_connection(address, 10.0).close()
    except OSError as error:
        # Without the URL: it may hold a password.
        pytest.fail(f"${variable} names {address[0]}:{address[1]}, which cannot be reached: {error}", pytrace=False)
    return [url]


def _private(server: RabbitMQ | Redis | PostgreSQL) -> Iterator[str]:
    with server:
        yield server.url
