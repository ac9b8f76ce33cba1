"""JSON-RPC as others speak it: pjrpc's clients call our services, and our client calls pjrpc's servers."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import aio_pika
import pjrpc
import pytest
from aiohttp import web
from pjrpc.client import exceptions
from pjrpc.client.backend import aio_pika as pjrpc_amqp_client
from pjrpc.client.backend import aiohttp as pjrpc_http_client
from pjrpc.server import MethodRegistry
from pjrpc.server.integration import aio_pika as pjrpc_amqp_server
from pjrpc.server.integration import aiohttp as pjrpc_http_server
from yarl import URL

from gemstone_events import (
    InvalidParamsError,
    MethodCall,
    MethodNotFoundError,
    MicroService,
    Notification,
    RemoteService,
    RpcError,
    UnknownError,
    exposed_method,
)

DEADLINE = 20.0


class OutOfStock(RpcError):
    """An error of the service's own."""

    code, message = 1001, "Out of stock"


class Shop(MicroService):
    """Ours, to be called by others."""

    name = "shop"
    port: int | None = 0

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.heard = asyncio.Event()

    @exposed_method()
    async def subtract(self, minuend: int, subtrahend: int) -> int:
        """Return the difference."""
        return minuend - subtrahend

    @exposed_method()
    async def order(self, item: str) -> None:
        """Fail."""
        raise OutOfStock(data={"item": item, "left": 0})

    @exposed_method()
    async def hear(self) -> None:
        """Take notice."""
        self.heard.set()


methods = MethodRegistry()


@methods.add()
async def subtract(minuend: int, subtrahend: int) -> int:
    """Return the difference."""
    return minuend - subtrahend


class TheirError(pjrpc.server.exceptions.TypedError):
    """An error of their service's own."""

    CODE = 1001
    MESSAGE = "Out of stock"


@methods.add()
async def order(item: str) -> None:
    """Fail."""
    raise TheirError(data={"item": item})


@pytest.fixture
async def shop(rabbitmq_url: str, namespace: str) -> AsyncIterator[Shop]:
    async with Shop(event_transports=[rabbitmq_url], event_store="memory:", namespace=namespace) as shop:
        yield shop


@pytest.fixture(params=["http", "amqp"])
async def their_client(
    request: pytest.FixtureRequest, shop: Shop, rabbitmq_url: str
) -> "AsyncIterator[pjrpc_http_client.Client | pjrpc_amqp_client.Client]":
    client: pjrpc_http_client.Client | pjrpc_amqp_client.Client
    if request.param == "http":
        assert shop.url is not None
        client = pjrpc_http_client.Client(shop.url)
    else:
        client = pjrpc_amqp_client.Client(URL(rabbitmq_url), routing_key=f"{shop.namespace}.rpc.shop")
    async with asyncio.timeout(DEADLINE), client:
        yield client


async def test_their_client_calls_our_service(their_client: pjrpc_http_client.Client) -> None:
    assert await their_client("subtract", 42, 23) == 19
    assert await their_client("subtract", minuend=42, subtrahend=23) == 19
    assert await their_client.proxy.subtract(1, 2) == -1


async def test_their_client_gets_our_errors(their_client: pjrpc_http_client.Client) -> None:
    with pytest.raises(exceptions.JsonRpcError) as caught:
        await their_client("order", item="pearl")
    assert (caught.value.code, caught.value.message) == (1001, "Out of stock")
    assert caught.value.data == {"item": "pearl", "left": 0}
    with pytest.raises(exceptions.JsonRpcError) as caught:
        await their_client("no_such_method")
    assert caught.value.code == -32601
    with pytest.raises(exceptions.JsonRpcError) as caught:
        await their_client("subtract", 1)
    assert caught.value.code == -32602


async def test_their_client_sends_our_service_batches_and_notifications(
    their_client: pjrpc_http_client.Client, shop: Shop
) -> None:
    async with their_client.batch() as batch:
        batch("subtract", 5, 3)
        batch("subtract", 7, 3)
    assert batch.get_results() == [2, 4]
    await their_client.notify("hear")
    await shop.heard.wait()


@pytest.fixture(params=["http", "amqp"])
async def their_service(
    request: pytest.FixtureRequest, rabbitmq_url: str, namespace: str
) -> AsyncIterator[RemoteService]:
    url: str
    if request.param == "http":
        application = pjrpc_http_server.Application("/api")
        application.add_methods(methods)
        runner = web.AppRunner(application.http_app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url, stop = f"http://127.0.0.1:{runner.addresses[0][1]}/api", runner.cleanup
    else:
        queue: Mapping[str, object] = {"durable": True}
        executor = pjrpc_amqp_server.Executor(URL(rabbitmq_url), f"{namespace}.rpc.theirs", dict(queue))
        executor.dispatcher.add_methods(methods)
        await executor.start()
        url, stop = f"{rabbitmq_url}#theirs", executor.shutdown
    async with asyncio.timeout(DEADLINE), RemoteService(url, namespace=namespace) as remote:
        yield remote
    await stop()
    if request.param == "amqp":
        async with await aio_pika.connect(rabbitmq_url) as connection:
            await (await connection.channel()).queue_delete(f"{namespace}.rpc.theirs")


async def test_our_client_calls_their_service(their_service: RemoteService) -> None:
    assert await their_service.methods.subtract(42, 23) == 19
    assert await their_service.methods.subtract(subtrahend=23, minuend=42) == 19


async def test_our_client_gets_their_errors(their_service: RemoteService) -> None:
    with pytest.raises(UnknownError) as caught:
        await their_service.methods.order(item="pearl")
    assert (caught.value.code, caught.value.message, caught.value.data) == (1001, "Out of stock", {"item": "pearl"})
    with pytest.raises(MethodNotFoundError):
        await their_service.methods.no_such_method()
    with pytest.raises(InvalidParamsError):
        await their_service.methods.subtract(1)


async def test_our_client_sends_their_service_batches_and_notifications(their_service: RemoteService) -> None:
    first, second = MethodCall("subtract", [5, 3]), MethodCall("subtract", [7, 3])
    answers = await their_service.call_batch(first, Notification("subtract", [1, 1]), second)
    assert [answers.get_response_for_call(call).result for call in (second, first)] == [4, 2]
    await their_service.notify("subtract", [1, 1])
