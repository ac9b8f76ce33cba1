"""A service in another process, called as its interface: over HTTP, RabbitMQ and the embedded bus, found by a registry."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis as RedisClient
from redis.asyncio.client import Pipeline

from gemstone_events import MicroService
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management import (
    AbstractComponent,
    ChannelInstances,
    ChannelManager,
    CheckReport,
    ComponentRegistry,
    HealthStatus,
    LocalComponentRegistry,
    PresenceComponentRegistry,
    ServiceInstanceProvider,
    ServiceManager,
    health_check,
    implementation,
)
from gemstone_events.management.addresses import addresses_of
from gemstone_events.management.descriptors import component_descriptor
from gemstone_events.management.redis_registry import RedisComponentRegistry
from gemstone_events.rpc.call_errors import (
    CalledServiceError,
    CallTimeoutError,
    InterruptedCallError,
    OutcomeUnknownError,
    ServiceException,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.discovery.broker_strategy import BrokerDiscoveryStrategy
from tests.integration.management_peer import Colour, Line, Order, Orders, OrderService, Receipt, ShopComponent

PATIENCE = 30.0
SHOP = component_descriptor(ShopComponent)
PEER = Path(__file__).with_name("management_peer.py")


class Peer:
    """A process that hosts the shop."""

    def __init__(self, process: asyncio.subprocess.Process, urls: list[str]) -> None:
        self.process = process
        self.urls = urls

    async def said(self, line: str) -> None:
        """Wait until the process has said something."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while (await self.process.stdout.readline()).decode().strip() != line:
                assert not self.process.stdout.at_eof(), "the process has ended"

    async def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def peer(number: int, *options: str) -> AsyncIterator[Peer]:
    """Run a process that hosts the shop, and says who it is."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", str(PEER), "shop", str(number), *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            words = (await process.stdout.readline()).decode().split()
        assert words[:1] == ["serving"], "the process did not start"
        yield Peer(process, words[1:])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(question: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not await question():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def fixed(*urls: str, timeout: float = PATIENCE) -> AsyncIterator[ServiceManager]:
    """A manager that is told where the shop is."""
    registry = LocalComponentRegistry()
    await registry.register(SHOP, addresses_of(urls))
    async with ServiceManager(registry, ChannelManager(timeout=timeout)) as manager:
        yield manager


@pytest.fixture(params=["http", "amqp", "bus"])
def way(request: pytest.FixtureRequest, namespace: str, tmp_path: Path) -> tuple[str, list[str], str]:
    """A channel, how a peer is told to serve on it, and the broker's URL."""
    if request.param == "http":
        return "http", ["--http"], ""
    if request.param == "amqp":
        url: str = request.getfixturevalue("rabbitmq_url")
        return "amqp", ["--transport", url, "--namespace", namespace], url
    url = f"sqlite:///{tmp_path}/bus.db"
    return "bus", ["--transport", url, "--namespace", namespace], url


async def test_an_interface_in_another_process_is_called_the_same_on_every_channel(
    way: tuple[str, list[str], str], namespace: str
) -> None:
    channel, options, broker = way
    order = Order(
        uuid4(), datetime.now(UTC), [Line("pen", 2, Decimal("1.10")), Line("ink")], Colour.RED, {"für": "Zoë"}
    )
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(peer(7, *options))
        registry: ComponentRegistry
        if broker:
            registry = PresenceComponentRegistry(broker, namespace)
        else:
            registry = LocalComponentRegistry()
            await registry.register(SHOP, addresses_of(running.urls))
        manager = ServiceManager(registry, ChannelManager(namespace=namespace, timeout=PATIENCE))
        await stack.enter_async_context(manager)
        orders: OrderService = manager.get_service(OrderService, channel)

        assert await orders.place(order) == Receipt(order, Decimal("3.20"), 7)
        assert await asyncio.to_thread(orders.total, [Line("pen", 3)]) == Decimal("3.00")
        with pytest.raises(CalledServiceError) as failed:
            await orders.fail("pen")

    assert (failed.value.code, failed.value.message, failed.value.data) == (1001, "Sold out", {"article": "pen"})
    assert isinstance(failed.value, ServiceException)
    assert list(manager.report()["remote"]["shop_component"]) == [channel]  # type: ignore[index, call-overload, arg-type]


async def test_calls_go_to_the_instance_that_is_left_when_one_is_killed() -> None:
    async with peer(1, "--http") as one, peer(2, "--http") as two, fixed(*one.urls, *two.urls) as manager:
        orders = manager.get_service(OrderService)
        assert {await orders.who() for _ in range(4)} == {1, 2}

        await one.kill()

        assert {await orders.who_once() for _ in range(8)} == {2}
        await two.kill()
        with pytest.raises(ServiceUnreachableError):
            await orders.who()


async def test_a_call_that_was_under_way_is_repeated_elsewhere_only_if_it_is_idempotent() -> None:
    async with peer(1, "--http") as one, peer(2, "--http") as two, fixed(*one.urls, *two.urls) as manager:
        orders = manager.get_service(OrderService)
        peers = {1: one, 2: two}
        first = await orders.who()
        victim, other = (peers[2], first) if first == 1 else (peers[1], first)
        number = 3 - other

        waiting = asyncio.create_task(orders.who(delay=1.0))
        await victim.said(f"asked {number}")
        await victim.kill()
        assert await asyncio.wait_for(waiting, PATIENCE) == other

        waiting = asyncio.create_task(orders.who_once(delay=60.0))
        await peers[other].said(f"asked {other}")
        await peers[other].kill()
        with pytest.raises(OutcomeUnknownError):
            await asyncio.wait_for(waiting, PATIENCE)


@pytest.fixture(params=["amqp", "bus"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a broker or bus."""
    return str(request.getfixturevalue("rabbitmq_url")) if request.param == "amqp" else f"sqlite:///{tmp_path}/bus.db"


@pytest.mark.parametrize("interface_method", ["who", "who_once"])
async def test_a_call_that_an_instance_on_a_broker_had_when_it_died_is_carried_out_by_another_if_it_is_idempotent(
    interface_method: str, broker: str, namespace: str
) -> None:
    options = ["--transport", broker, "--namespace", namespace]
    registry = PresenceComponentRegistry(broker, namespace)
    manager = ServiceManager(registry, ChannelManager(namespace=namespace, timeout=PATIENCE))
    async with peer(1, *options) as one, peer(2, *options) as two, manager:
        call = getattr(manager.get_service(OrderService), interface_method)
        waiting = asyncio.create_task(call(delay=1.0))
        asked = {asyncio.create_task(each.said(f"asked {n}")): each for n, each in enumerate((one, two), 1)}
        (first,), (other,) = await asyncio.wait(asked, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        await asked[first].kill()
        other.cancel()
        (outcome,) = await asyncio.wait_for(asyncio.gather(waiting, return_exceptions=True), PATIENCE)
    if interface_method == "who":
        assert outcome == (2 if asked[first] is one else 1)
    else:
        assert isinstance(outcome, OutcomeUnknownError | InterruptedCallError)


async def test_instances_are_called_by_the_broker_that_the_registry_names_though_one_has_http(
    broker: str, namespace: str
) -> None:
    options = ["--transport", broker, "--namespace", namespace]
    registry = PresenceComponentRegistry(broker, namespace)
    async with (
        peer(1, *options, "--http") as one,
        peer(2, *options),
        peer(3, *options),
        ServiceManager(registry, ChannelManager(namespace=namespace, timeout=PATIENCE)) as manager,
    ):
        orders = manager.get_service(OrderService)
        assert {await orders.who() for _ in range(12)} == {1, 2, 3}
        assert {await manager.get_service(OrderService, "http").who() for _ in range(4)} == {1}
        assert one.urls[0].startswith("http://")


async def test_a_failed_call_says_once_what_was_called() -> None:
    async with peer(1, "--http") as one, fixed(*one.urls) as manager:
        with pytest.raises(CalledServiceError) as failed:
            await manager.get_service(OrderService).fail("pen")
        assert failed.value.__notes__ == [f"calling 'order_service.fail' of {one.urls[0]}, attempt 1"]


async def test_a_call_ends_with_its_deadline_whatever_the_service_does() -> None:
    async with peer(1, "--http") as one, fixed(*one.urls, timeout=0.2) as manager:
        os.kill(one.process.pid, signal.SIGSTOP)
        with pytest.raises(CallTimeoutError):
            await asyncio.wait_for(manager.get_service(OrderService).who_once(), PATIENCE)
        os.kill(one.process.pid, signal.SIGCONT)


async def test_a_registry_in_redis_is_told_of_instances_and_forgets_those_that_died(
    redis_url: str, namespace: str
) -> None:
    options = ["--http", "--redis", redis_url, "--namespace", namespace]
    registry = RedisComponentRegistry(redis_url, namespace=namespace, interval=0.2)
    async with ServiceManager(registry, ChannelManager(timeout=PATIENCE)) as manager:
        orders = manager.get_service(OrderService)
        with pytest.raises(ServiceNotFoundError, match="no instance of the component 'shop_component'"):
            await orders.who()

        async with peer(1, *options) as one, peer(2, *options) as two:
            await until(lambda: _known(manager, [*one.urls, *two.urls]))
            assert {await orders.who() for _ in range(4)} == {1, 2}

            await one.kill()  # its entry runs out by itself
            await until(lambda: _known(manager, two.urls))
            two.process.terminate()  # it takes its entry back
            await two.process.wait()
            await until(lambda: _known(manager, []))


async def _known(manager: ServiceManager, urls: list[str]) -> bool:
    known: object = manager.report()["remote"]
    return known == {"shop_component": {"http": sorted(urls)} if urls else {}}


async def test_what_a_redis_registry_is_told_is_pushed_at_once(redis_url: str, namespace: str) -> None:
    watched, other = (RedisComponentRegistry(redis_url, namespace=namespace, interval=600) for _ in range(2))
    channel = ChannelManager().make(ChannelInstances(SHOP.name, "http"))
    watched.watch(channel)
    try:
        for urls in (["http://127.0.0.1:1/api"], ["http://127.0.0.1:2/api", "http://127.0.0.1:3/api"], []):
            await other.register(SHOP, addresses_of(urls))
            async with asyncio.timeout(PATIENCE):
                while list(channel.urls) != urls:
                    await asyncio.sleep(0.02)
    finally:
        await asyncio.gather(watched.close(), other.close())


async def test_a_redis_registry_holds_nothing_that_may_not_be_called(redis_url: str, namespace: str) -> None:
    registry = RedisComponentRegistry(redis_url, namespace=namespace, brokers=["amqp://me:secret@broker/shop"])
    try:
        urls = ["http://169.254.169.254/latest", "amqp://broker/shop#orders", "http://127.0.0.1:5/api"]
        await registry.register(SHOP, addresses_of(urls))
        assert await registry.get_addresses(SHOP) == [
            ChannelInstances(SHOP.name, "amqp", ["amqp://me:secret@broker/shop#orders"]),
            ChannelInstances(SHOP.name, "http", ["http://127.0.0.1:5/api"]),
        ]
        with pytest.raises(ServiceConfigurationError, match=r"amqp://me:\*\*\*@broker/shop#orders holds a password"):
            await registry.register(SHOP, addresses_of(["amqp://me:secret@broker/shop#orders"]))
        with pytest.raises(ServiceConfigurationError, match="is no URL"):
            await registry.register(SHOP, addresses_of(["http://[::1/api"]))
    finally:
        await registry.close()


async def test_what_is_registered_for_long_is_not_cut_short_by_who_registers_for_a_moment(
    redis_url: str, namespace: str
) -> None:
    lasting = RedisComponentRegistry(redis_url, 30.0, namespace=namespace)
    brief = RedisComponentRegistry(redis_url, 0.1, namespace=namespace)
    await lasting.register(SHOP, addresses_of(["http://127.0.0.1:1/api"]))
    await brief.register(SHOP, addresses_of(["http://127.0.0.1:2/api"]))
    await brief.close()
    left = [ChannelInstances(SHOP.name, "http", ["http://127.0.0.1:1/api"])]
    try:

        async def has_run_out() -> bool:
            return len((await lasting.get_addresses(SHOP))[0].urls) == 1

        await until(has_run_out)
        async with RedisClient.from_url(redis_url) as redis:
            assert await redis.pttl(f"{namespace}.components:{SHOP.name}") > 30_000
        assert await lasting.get_addresses(SHOP) == left
    finally:
        await lasting.close()


@pytest.mark.parametrize("entry", [b"[" * 200_000, b"\xff", b"[]", b'["http", 1, "x"]', b'["http", "http://[", "x"]'])
async def test_whatever_others_write_into_redis_a_registry_goes_on(
    entry: bytes, redis_url: str, namespace: str
) -> None:
    registry = RedisComponentRegistry(redis_url, namespace=namespace, interval=0.05)
    channel = ChannelManager().make(ChannelInstances(SHOP.name, "http"))
    async with RedisClient.from_url(redis_url) as redis:
        seconds, _ = await redis.time()
        await redis.zadd(f"{namespace}.components:{SHOP.name}", {entry: seconds + 100})
    registry.watch(channel)
    try:
        assert await registry.get_addresses(SHOP) == []
        await registry.register(SHOP, addresses_of(["http://127.0.0.1:1/api"]))
        async with asyncio.timeout(PATIENCE):
            while list(channel.urls) != ["http://127.0.0.1:1/api"]:
                await asyncio.sleep(0.02)
    finally:
        await registry.close()


async def test_a_bus_is_registered_with_its_whole_path_and_memory_not_at_all(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    writer = RedisComponentRegistry(redis_url, namespace=namespace)
    near = RedisComponentRegistry(redis_url, namespace=namespace, brokers=[f"sqlite:///{tmp_path}/bus.db"])
    far = RedisComponentRegistry(redis_url, namespace=namespace, brokers=["sqlite:///bus.db", "memory://bus"])
    await writer.register(SHOP, addresses_of(["sqlite:///bus.db#shop", "memory://bus#shop"]))
    try:
        monkeypatch.chdir(tmp_path / "other")
        assert await near.get_addresses(SHOP) == [
            ChannelInstances(SHOP.name, "bus", [f"sqlite:///{tmp_path}/bus.db#shop"])
        ]
        assert await far.get_addresses(SHOP) == []
    finally:
        await writer.close()


async def test_what_is_taken_back_while_it_is_renewed_stays_gone(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = RedisComponentRegistry(redis_url, 0.1, namespace=namespace)
    renewing, go_on = asyncio.Event(), asyncio.Event()
    execute = Pipeline.execute

    async def slow(pipeline: Pipeline, raise_on_error: bool = True) -> list[object]:
        if not renewing.is_set():
            renewing.set()
            await go_on.wait()
        return await execute(pipeline, raise_on_error)

    await registry.register(SHOP, addresses_of(["http://127.0.0.1:1/api"]))
    try:
        monkeypatch.setattr(Pipeline, "execute", slow)
        await renewing.wait()
        taking_back = asyncio.create_task(registry.deregister(SHOP))
        await asyncio.wait([taking_back], timeout=0.2)  # without a lock it would be through by now
        go_on.set()
        await taking_back
        async with RedisClient.from_url(redis_url) as redis:
            assert await redis.zrange(f"{namespace}.components:{SHOP.name}", 0, -1) == []
    finally:
        await registry.close()


async def test_a_redis_that_is_away_is_unreachable_and_what_was_known_is_still_called() -> None:
    async with peer(1, "--http") as one, fixed(*one.urls) as manager:
        await manager.get_service(OrderService).who()
        away = RedisComponentRegistry("redis://127.0.0.1:1/0", interval=0.01)
        with pytest.raises(ServiceUnreachableError, match=r"redis://127\.0\.0\.1:1/0 cannot be used"):
            await away.get_addresses(SHOP)
        channel = manager.channels.make(ChannelInstances(SHOP.name, "http", one.urls))
        away.watch(channel)
        with pytest.raises(ServiceUnreachableError):
            await away.register(SHOP, addresses_of(one.urls))
        assert list(channel.urls) == one.urls
        await away.close()


class Checkout(MicroService):
    """A service that uses the shop of another process."""

    name = "checkout"
    port = None
    orders = ServiceInstanceProvider(OrderService)


async def test_a_service_finds_components_by_presence_and_its_instances_share_the_calls(
    tmp_path: Path, namespace: str
) -> None:
    bus = f"sqlite:///{tmp_path}/bus.db"
    options = ["--transport", bus, "--namespace", namespace]
    checkout = Checkout(namespace=namespace, event_transports=[bus], event_store="memory:")
    async with checkout, peer(1, *options), peer(2, *options):
        assert {await checkout.orders.who() for _ in range(40)} <= {1, 2}
        assert checkout.service_manager.host.component_names == ()


async def test_a_component_is_found_on_a_bus_whose_path_is_written_differently(
    tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    options = ["--transport", "sqlite:///bus.db", "--namespace", namespace]
    async with peer(1, *options):
        monkeypatch.chdir(tmp_path / "other")
        registry = PresenceComponentRegistry("sqlite:///../bus.db", namespace)
        async with ServiceManager(registry, ChannelManager(namespace=namespace, timeout=PATIENCE)) as manager:
            assert await manager.get_service(OrderService).who() == 1


async def test_a_component_shows_its_health_where_it_says() -> None:
    async with peer(1, "--http") as one:
        url = one.urls[0].replace("/api", "")
        for path in ("/shop/health", "/health/ready"):
            with await asyncio.to_thread(urllib.request.urlopen, url + path, timeout=PATIENCE) as response:
                answer = json.load(response)
            checks = answer["health"]["checks"] if path == "/health/ready" else answer["checks"]
            assert [(check["name"], check["status"]) for check in checks] == [("open", "OK")]


@implementation()
class SickShop(AbstractComponent, ShopComponent):
    """How it is, is what a test says."""

    status = HealthStatus.ERROR

    @health_check()
    async def till(self, result: CheckReport) -> None:
        result.set_status(self.status, "empty" * 100)


async def test_the_presence_tells_of_health_checks_as_readiness_does(
    broker: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemstone_events.management.hosting._FRESH_SECONDS", 0.05)
    shop = SickShop(Orders(1))
    asked = BrokerDiscoveryStrategy(broker, namespace)

    def is_told(health: str, trouble: Sequence[str]) -> Callable[[], Awaitable[bool]]:
        async def told() -> bool:
            (presence,) = await asked.instances("shop")
            return (presence.health, presence.trouble) == (health, tuple(trouble))

        return told

    options = {"port": 0, "namespace": namespace, "event_transports": [broker], "event_store": "memory:"}
    async with MicroService(name="shop", components=[shop], **options) as served:
        await until(is_told("degraded", [f"till: {'empty' * 100}"[:200]]))
        assert served.url is not None
        for status, health, ready in (
            (HealthStatus.ERROR, "degraded", 503),
            (HealthStatus.WARNING, "warning", 200),
            (HealthStatus.OK, "ok", 200),
        ):
            shop.status = status
            trouble = [] if health == "ok" else [f"till: {'empty' * 100}"[:200]]
            await until(is_told(health, trouble))
            assert await asyncio.to_thread(status_of, served.url.replace("/api", "/health/ready")) == ready
    await asked.close()


def status_of(url: str) -> int:
    """Return the status that HTTP answers with."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def test_the_programs_of_the_documentation_work(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "typed-services.md").read_text()
    programs = re.findall(r"`(\w+\.py)`[^\n]*:\n\n```python\n(.*?)```", page, re.DOTALL)
    for name, program in programs:
        (tmp_path / name).write_text(program)
    assert [name for name, _ in programs] == ["shop_api.py", "shop.py", "checkout.py"]

    service = await asyncio.create_subprocess_exec(
        sys.executable, "shop.py", cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert service.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while b"is ready" not in (line := await service.stderr.readline()):
                assert line, "the service has ended"
        client = await asyncio.create_subprocess_exec(
            sys.executable, "checkout.py", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(client.communicate(), PATIENCE)
    finally:
        service.kill()
        await service.wait()
    assert output.decode() == "3.30 placed\n"


def test_the_other_examples_of_the_documentation_run(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "typed-services.md").read_text()
    blocks: list[str] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block in blocks[3:]:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, timeout=PATIENCE, check=False)
        assert done.returncode == 0, block
