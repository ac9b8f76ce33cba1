"""Calls through RabbitMQ over TLS: the chain and the host name are checked, by aio-pika too."""

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.wire import WireRequest
from tests.integration.rpc_amqp_harness import client, serving
from tests.integration.test_rabbitmq_tls import TlsNode, node

__all__ = ["node"]


async def test_the_right_host_is_called(node: TlsNode, namespace: str) -> None:
    async with serving(node.url(), namespace), client(namespace) as wire:
        assert await wire.call(f"{node.url()}#orders", WireRequest(b"x" * 500_000, 10.0)) == b"x" * 500_000
        assert wire.address(f"{node.url()}#orders") == f"amqps://localhost:{node.port}/%2F#orders"


@pytest.mark.parametrize(("host", "ca", "complaint"), [("127.0.0.1", "ca", "IP address"), ("localhost", "other", "")])
async def test_another_host_or_authority_is_not(
    node: TlsNode, namespace: str, host: str, ca: str, complaint: str
) -> None:
    url = node.url(host, ca)
    async with client(namespace) as wire:
        with pytest.raises(ServiceConfigurationError, match=f"certificate does not hold.*{complaint}"):
            await wire.call(f"{url}#orders", WireRequest(b"1", 10.0))
    with pytest.raises(ServiceConfigurationError, match="certificate does not hold"):
        async with serving(url, namespace):
            pass


async def test_files_that_are_not_there_are_a_clear_error(node: TlsNode, namespace: str) -> None:
    async with client(namespace) as wire:
        with pytest.raises(ServiceConfigurationError, match="TLS files cannot be used"):
            await wire.call(f"{node.url(ca='nowhere')}#orders", WireRequest(b"1", 10.0))
