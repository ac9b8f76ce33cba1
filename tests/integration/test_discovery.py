"""Discovery with real servers: Redis, registries, and brokers that are asked who is there."""

import asyncio
import logging
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis as RedisClient

from gemstone_events import MicroService, exposed_method
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.registry import ServiceRegistry
from gemstone_events.rpc.call_errors import (
    AccessDeniedError,
    CalledServiceError,
    InvalidAnswerError,
    InvalidParamsError,
    ServiceNotFoundError,
    ServiceNotLocatedError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.caller import Caller
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.discovery.broker_strategy import BrokerDiscoveryStrategy
from gemstone_events.rpc.discovery.discovery import Discovery
from gemstone_events.rpc.discovery.http_strategy import HttpDiscoveryStrategy, registry_key
from gemstone_events.rpc.discovery.locator import Locator
from gemstone_events.rpc.discovery.own_brokers import OwnBrokers
from gemstone_events.rpc.discovery.redis_strategy import RedisDiscoveryStrategy
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.discovery.strategy_runner import StrategyRunner
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.testing.private_server import free_port
from gemstone_events.testing.servers import Redis

A, B, FAR = "http://127.0.0.1:1/api", "http://127.0.0.1:2/api", "http://10.0.0.1:3/api"
TOKEN = "a token of more than 16 bytes"
COMMANDS = ("zadd", "zrem", "zremrangebyscore", "zrange", "pexpire", "set", "del", "mget", "time", "select")
LOGGER = logging.getLogger("test_discovery")


class Orders(MicroService):
    """A service that others look for."""

    name = "orders.eu"
    port = None
    event_store = "memory:"

    @exposed_method()
    async def count(self) -> int:
        return 42


class Known(BaseDiscoveryStrategy):
    """Knows where ``orders`` is."""

    def __init__(self, *urls: str) -> None:
        self.urls = urls

    def locate(self, name: str) -> Sequence[str]:
        return self.urls if name == "orders" else ()


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Return as soon as the condition holds."""
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def discovery(*args: object, namespace: str = "gemstone", **options: object) -> AsyncIterator[Discovery]:
    """A service's discovery, with connections of its own."""
    wires = WirePool(ClientSettings(namespace=namespace))
    made = Discovery(list(args), wires=wires, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()
        await wires.close()


# Redis


async def test_a_service_is_found_in_redis_by_name_and_by_pattern(redis_url: str, namespace: str) -> None:
    strategy = RedisDiscoveryStrategy(redis_url, namespace=namespace)
    await strategy.ping("orders.eu", A)
    await strategy.ping("orders.eu", A)
    await strategy.ping("orders.eu", B)
    await strategy.ping("orders.us", A)
    await strategy.ping("orders", A)
    assert sorted(await strategy.locate("orders.eu")) == [A, B]
    assert sorted(await strategy.locate("orders.*")) == [A, A, B]
    assert await strategy.locate("orders") == [A]
    assert sorted(await strategy.locate("orders.[eu]?")) == [A, A, B]
    assert await strategy.locate("*.us") == [A]
    assert await strategy.locate("nobody") == []


async def test_namespaces_do_not_see_each_other_even_where_their_names_look_like_patterns(
    redis_url: str, namespace: str
) -> None:
    await RedisDiscoveryStrategy(redis_url, namespace=namespace).ping("orders", A)
    assert await RedisDiscoveryStrategy(redis_url, namespace=f"{namespace}x").locate("*") == []
    assert await RedisDiscoveryStrategy(redis_url, namespace=namespace[:-1]).locate("*") == []


async def test_an_announcement_in_redis_vanishes_unless_it_is_made_again(redis_url: str, namespace: str) -> None:
    brief = RedisDiscoveryStrategy(redis_url, 0.3, namespace=namespace)
    lasting = RedisDiscoveryStrategy(redis_url, namespace=namespace)
    await lasting.ping("orders", B)
    await brief.ping("orders", A)
    await brief.ping("billing", A)

    async def is_gone() -> bool:
        return await brief.locate("*") == [B] and await brief.locate("billing") == []

    await until(is_gone)
    assert [presence.urls for presence in await brief.instances("*")] == [(B,)]
    await lasting.ping("orders", B)  # cleans up
    async with RedisClient.from_url(redis_url) as redis:
        assert await redis.zrange(f"{namespace}.services", 0, -1) == [b"orders"]
        assert await redis.zrange(f"{namespace}.services:orders", 0, -1) == [B.encode()]
        left = [key async for key in redis.scan_iter(f"{namespace}*")]
        assert all([await redis.pttl(key) > 0 for key in left]), "a key stays for ever"


async def test_what_is_announced_for_long_is_not_cut_short_by_who_announces_it_for_a_moment(
    redis_url: str, namespace: str
) -> None:
    lasting = RedisDiscoveryStrategy(redis_url, namespace=namespace)
    brief = RedisDiscoveryStrategy(redis_url, 0.05, namespace=namespace)
    await lasting.ping("orders", A)
    await brief.ping("orders", A)
    await brief.ping("orders", B)

    async def is_gone() -> bool:
        return B not in await lasting.locate("orders")

    await until(is_gone)
    assert await lasting.locate("orders") == await lasting.locate("order?") == [A]


async def test_a_service_is_found_among_thousands_whatever_else_the_database_holds(
    redis_url: str, namespace: str
) -> None:
    strategy = RedisDiscoveryStrategy(redis_url, namespace=namespace)
    await strategy.ping("one.us", A)
    async with RedisClient.from_url(redis_url) as redis, redis.pipeline() as pipeline:
        until_when = (await redis.time())[0] + 100
        for number in range(5000):
            pipeline.zadd(f"{namespace}.services", {f"s{number}.eu": until_when + number})
        await pipeline.execute()
    assert await strategy.locate("*.us") == [A]


async def test_an_instance_that_has_too_much_to_say_is_found_all_the_same(redis_url: str, namespace: str) -> None:
    strategy = RedisDiscoveryStrategy(redis_url, namespace=namespace)
    told = Presence(service="orders", instance="1", urls=(B,), health="degraded", trouble=("x" * 70_000,))
    await strategy.ping("orders", A, presence=told)
    assert await strategy.locate("orders") == [A]
    assert list(await strategy.instances("orders")) == [
        Presence(service="orders", instance="1", urls=(A,), health="degraded")
    ]


async def test_a_withdrawn_announcement_is_gone_from_redis(redis_url: str, namespace: str) -> None:
    strategy = RedisDiscoveryStrategy(redis_url, namespace=namespace)
    await strategy.ping("orders", A)
    await strategy.ping("orders", B)
    await strategy.withdraw("orders", A)
    await strategy.withdraw("orders", A)
    assert await strategy.locate("orders") == [B]


async def test_what_others_wrote_under_our_keys_is_passed_over(redis_url: str, namespace: str) -> None:
    strategy = RedisDiscoveryStrategy(redis_url, namespace=namespace)
    await strategy.ping("orders", A)
    async with RedisClient.from_url(redis_url) as redis:
        (key,) = [key async for key in redis.scan_iter(f"{namespace}.services:orders#*")]
        for value in (b"", b"\xff", b"[]", b"{}", b'{"service": 1}', b"{" * 100_000):
            await redis.set(key, value)
            assert list(await strategy.instances("o*")) == [Presence(service="orders", instance="", urls=(A,))]
        await redis.delete(key)
        await redis.lpush(key, "x")
        assert list(await strategy.instances("orders")) == [Presence(service="orders", instance="", urls=(A,))]
        await redis.set(f"{namespace}.services:billing", "no set")
    assert await strategy.locate("orders") == [A]
    with pytest.raises(ServiceUnreachableError, match="WRONGTYPE"):
        await strategy.locate("billing")


async def test_redis_is_used_without_keys_and_within_the_namespace(redis_url: str, namespace: str) -> None:
    user = f"user-{namespace}"
    async with RedisClient.from_url(redis_url) as redis:
        await redis.acl_setuser(
            user,
            enabled=True,
            passwords=["+secret"],
            keys=[f"{namespace}.services", f"{namespace}.services:*"],
            commands=[f"+{command}" for command in COMMANDS],
        )
    strategy = RedisDiscoveryStrategy(redis_url.replace("://", f"://{user}:secret@"), namespace=namespace)
    await strategy.ping("orders", A)
    assert await strategy.locate("*") == [A]
    assert [presence.service for presence in await strategy.instances("*")] == ["orders"]
    await strategy.withdraw("orders", A)
    assert await strategy.locate("orders") == []


def test_the_documentation_says_what_a_user_of_redis_needs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "discovery.md").read_text()
    assert f"`{' '.join(f'+{command}' for command in COMMANDS)}`" in page


async def test_redis_that_is_away_is_told_of_without_the_password() -> None:
    strategy = RedisDiscoveryStrategy(f"redis://ada:secret@127.0.0.1:{free_port()}/0")
    with pytest.raises(ServiceUnreachableError, match=r"redis://127\.0\.0\.1:\d+/0 cannot be used") as caught:
        await strategy.ping("orders", A)
    assert "secret" not in str(caught.value)


class TlsRedis(Redis):
    """A server that is also reached by TLS, as ``localhost`` and nobody else, and by a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.tls_port = free_port()

    def _prepare(self) -> None:
        super()._prepare()
        make_certificates(self.folder)
        lines = [
            f"tls-port {self.tls_port}",
            "tls-cert-file server.pem",
            "tls-key-file server.key",
            "tls-ca-cert-file ca.pem",
            "tls-auth-clients no",
            "unixsocket redis.sock",
        ]
        with (self.folder / "redis.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")


def make_certificates(folder: Path) -> None:
    """Make two authorities, and a certificate for ``localhost`` by the first of them."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "rsa:2048", "-nodes")
    for name in ("ca", "other"):
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # which Python 3.13 asks authorities for
        named = ("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        openssl("req", "-x509", *new, "-days", "2", *usage, *named)
    openssl("req", *new, "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n")
    authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *authority, "-days", "2", "-out", "server.pem")


@pytest.fixture(scope="module")
def tls_redis() -> Iterator[TlsRedis]:
    with TlsRedis() as server:
        yield server


async def test_redis_is_reached_by_tls_and_by_a_socket(tls_redis: TlsRedis, namespace: str) -> None:
    ca = f"cafile={tls_redis.folder}/ca.pem"
    await RedisDiscoveryStrategy(f"rediss://localhost:{tls_redis.tls_port}/0?{ca}", namespace=namespace).ping(
        "orders", A
    )
    socket = RedisDiscoveryStrategy(f"unix://{tls_redis.folder}/redis.sock", namespace=namespace)
    assert await socket.locate("orders") == [A]


@pytest.mark.parametrize(("host", "authority"), [("localhost", "other"), ("127.0.0.1", "ca"), ("localhost", "")])
async def test_redis_with_a_certificate_of_somebody_else_is_refused(
    tls_redis: TlsRedis, host: str, authority: str
) -> None:
    options = f"?cafile={tls_redis.folder}/{authority}.pem" if authority else ""
    with pytest.raises(ServiceUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        await RedisDiscoveryStrategy(f"rediss://{host}:{tls_redis.tls_port}/0{options}").locate("orders")


# Registries


@asynccontextmanager
async def registry(token: str | None = None, **options: object) -> AsyncIterator[str]:
    """A registry; its URL."""
    async with ServiceRegistry(token=token, **{"port": 0, **options}) as running:  # type: ignore[arg-type]
        assert running.url is not None
        yield running.url


@asynccontextmanager
async def strategy_for(url: str, token: str | None = None) -> AsyncIterator[HttpDiscoveryStrategy]:
    strategy = HttpDiscoveryStrategy(url, credentials=registry_key(token) if token else None)
    try:
        yield strategy
    finally:
        await strategy.close()
        await strategy.close()


@pytest.mark.parametrize("token", [None, TOKEN])
async def test_a_service_is_found_in_a_registry(token: str | None) -> None:
    async with registry(token) as url, strategy_for(url, token) as strategy:
        presence = Presence(
            service="orders.eu", instance="7", urls=(A, B), since=1.5, health="degraded", trouble=("x",)
        )
        await strategy.ping("orders.eu", A, presence=presence)
        await strategy.ping("orders.eu", B, presence=presence)
        await strategy.ping("orders.us", B)
        assert await strategy.locate("orders.eu") == [A, B]
        assert await strategy.locate("orders.*") == [A, B]
        assert await strategy.locate("nobody") == []
        assert list(await strategy.instances("orders.eu")) == [presence]
        await strategy.withdraw("orders.eu", A)
        assert await strategy.locate("orders.eu") == [B]


@pytest.mark.parametrize("token", [None, "another token of more than 16 bytes"])
async def test_without_its_token_a_registry_says_and_takes_nothing(token: str | None) -> None:
    async with registry(TOKEN) as url, strategy_for(url, TOKEN) as known, strategy_for(url, token) as stranger:
        await known.ping("orders", A)
        for attempt in (
            stranger.ping("orders", B),
            stranger.locate("orders"),
            stranger.withdraw("orders", A),
            stranger.instances("*"),
        ):
            with pytest.raises(AccessDeniedError):
                await attempt
        assert await known.locate("orders") == [A]


async def test_who_is_known_from_a_registry_has_the_time_of_his_announcement(redis_url: str, namespace: str) -> None:
    told = Presence(service="orders", instance="7", announced=5.0)
    before = time.time() - 1.0  # the clocks of the servers are this machine's
    async with registry() as url, strategy_for(url) as http:
        for strategy in (http, RedisDiscoveryStrategy(redis_url, namespace=namespace)):
            await strategy.ping("orders", A, presence=told)
            (presence,) = await strategy.instances("orders")
            assert before < presence.announced < time.time() + 1.0
    async with Orders(namespace=namespace, event_transports=[f"memory://{namespace}"]):
        (presence,) = await BrokerDiscoveryStrategy(f"memory://{namespace}", namespace).instances("*")
        assert presence.announced == 0.0


async def test_a_registration_expires_unless_it_is_prolonged() -> None:
    async with registry(time_to_live=0.2) as url, strategy_for(url) as strategy:
        await strategy.ping("orders", A)

        async def is_gone() -> bool:
            return not await strategy.locate("orders")

        await until(is_gone)


@pytest.mark.parametrize(
    "bad",
    [
        "http://169.254.169.254/latest",
        "http://ada:secret@10.0.0.1/api",
        "file:///etc/passwd",
        "http://10.0.0.1/" + "a" * 3000,
        "",
        "javascript:alert(1)",
    ],
)
async def test_a_registry_refuses_what_is_no_address_of_a_service(bad: str) -> None:
    async with registry() as url, strategy_for(url) as strategy:
        with pytest.raises(CalledServiceError, match="Address refused") as caught:
            await strategy.ping("orders", bad, presence=Presence(service="orders", instance="1"))
        assert "secret" not in str(caught.value)
        assert await strategy.locate("*") == []


async def test_a_registry_takes_only_addresses_that_it_was_told_to() -> None:
    async with registry(allow=["http://10.0.0.0/8:*"]) as url, strategy_for(url) as strategy:
        await strategy.ping("orders", FAR)
        with pytest.raises(CalledServiceError, match="not on the list"):
            await strategy.ping("orders", A)
        assert await strategy.locate("orders") == [FAR]


async def test_a_registry_is_bounded() -> None:
    async with registry(capacity=2) as url, strategy_for(url) as strategy:
        await strategy.ping("orders", A)
        await strategy.ping("orders", B)
        with pytest.raises(CalledServiceError, match="full"):
            await strategy.ping("billing", A)
        # A presence that is too long is left out, not the service.
        trouble = Presence(service="orders", instance="1", trouble=("x" * 3000,))
        await strategy.ping("orders", A, presence=trouble)
        assert all(not presence.trouble for presence in await strategy.instances("*"))


@pytest.mark.parametrize("bad", [5, None, ["http://127.0.0.1/"], {}])
async def test_a_registry_refuses_what_is_no_text(bad: object) -> None:
    async with registry() as url, strategy_for(url) as strategy:
        await strategy.ping("orders", A)
        with pytest.raises(CalledServiceError, match="Address refused"):
            await strategy.ping("orders", bad)  # type: ignore[arg-type]
        for name, location in (("orders", bad), (bad, A)):
            with pytest.raises(InvalidParamsError):
                await strategy.withdraw(name, location)  # type: ignore[arg-type]
        assert await strategy.locate("orders") == [A]


@pytest.mark.parametrize("bad", ["", "a b", "a#b", "a" * 300, "ordérs", "*"])
async def test_a_registry_refuses_what_is_no_name(bad: str) -> None:
    async with registry() as url, strategy_for(url) as strategy:
        with pytest.raises(CalledServiceError, match="Invalid params"):
            await strategy.ping(bad, A)


async def test_a_registry_beyond_loopback_does_not_start_without_a_token() -> None:
    with pytest.raises(ServiceConfigurationError, match="without a token"):
        async with ServiceRegistry(host="0.0.0.0", port=0):
            raise AssertionError
    with pytest.raises(ServiceConfigurationError, match="16"):
        ServiceRegistry(token="short")
    async with ServiceRegistry(host="0.0.0.0", port=0, token=TOKEN) as running:
        assert running.bound_port


class OldRegistry(MicroService):
    """A registry as gemstone's examples have it: two methods, and no more."""

    name = "old"
    port = 0
    event_transports = ()
    event_store = "memory:"
    answer: object = None

    @exposed_method()
    async def ping(self, name: str, url: str) -> None:
        self.answer = [url]

    @exposed_method()
    async def locate_service(self, name: str) -> object:
        return self.answer


async def test_a_registry_of_gemstone_works() -> None:
    async with OldRegistry() as old, strategy_for(str(old.url)) as strategy:
        assert await strategy.locate("orders") == []
        await strategy.ping("orders", A, presence=Presence(service="orders", instance="1"))
        assert await strategy.locate("orders") == [A]
        await strategy.withdraw("orders", A)
        assert list(await strategy.instances("*")) == []


@pytest.mark.parametrize("answer", [{"url": A}, A, 7, True])
async def test_a_registry_that_talks_nonsense_is_an_error(answer: object) -> None:
    async with OldRegistry() as old, strategy_for(str(old.url)) as strategy:
        old.answer = answer
        with pytest.raises(InvalidAnswerError):
            await strategy.locate("orders")


async def test_a_hostile_registry_cannot_send_calls_elsewhere() -> None:
    async with OldRegistry() as old, discovery(registries=[str(old.url)]) as found:
        old.answer = [
            FAR,
            "http://169.254.169.254/latest",
            "http://ada:secret@127.0.0.1/api",
            "amqp://evil.example/%2F#orders",
            "sqlite:///etc/passwd#orders",
            "http://127.0.0.1@evil.example/",
            7,
            None,
            ["http://127.0.0.1/"],
        ]
        with pytest.raises(ServiceNotLocatedError, match="may not be called") as caught:
            await found.locate("orders")
        assert "secret" not in str(caught.value)
        old.answer = [*old.answer, A]
        assert await found.locate("orders") == [A]


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://[", ""])
async def test_what_is_no_url_of_a_registry_is_refused(url: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=r"write http://(host:port|127\.0\.0\.1:8000)$"):
        HttpDiscoveryStrategy(url)


async def test_a_service_is_announced_and_signed_off_and_a_registry_started_anew_learns_of_it() -> None:
    presence = Presence(service="orders", instance="1", urls=(A,))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    async with discovery(registries=[address], registry_token=TOKEN) as served:
        served.announce(lambda: presence, interval=0.05, logger=LOGGER)
        for is_last in (False, True):
            async with registry(TOKEN, port=port), strategy_for(address, TOKEN) as strategy:
                await until(partial(strategy.locate, "orders"))
                if is_last:
                    await served.sign_off()
                    assert await strategy.locate("orders") == []


# Brokers that are asked themselves


@pytest.fixture(params=["memory", "sqlite", "amqp"])
def broker(request: pytest.FixtureRequest, tmp_path: Path, namespace: str) -> str:
    if request.param == "amqp":
        return str(request.getfixturevalue("rabbitmq_url"))
    return f"memory://{namespace}" if request.param == "memory" else f"sqlite:///{tmp_path}/bus.db"


async def test_services_are_found_on_the_broker_that_they_are_called_by(broker: str, namespace: str) -> None:
    common = {"namespace": namespace, "event_transports": [broker]}
    async with (
        Orders(**common),
        Orders(**common),
        Orders(name="orders.us", **common),
        Orders(name="billing", **common),
        discovery(brokers=[broker], namespace=namespace) as found,
    ):
        assert await found.locate("orders.eu") == [f"{broker}#orders.eu"]
        assert sorted(await found.locate("orders.*")) == [f"{broker}#orders.eu", f"{broker}#orders.us"]
        instances = await found.instances("orders.eu")
        assert len({presence.instance for presence in instances}) == 2
        assert {presence.service for presence in instances} == {"orders.eu"}
        assert all(presence.since > 0 and "guest:guest" not in str(presence) for presence in instances)
        caller, wires = Caller((await found.locate("orders.*"))[0]), WirePool(ClientSettings(namespace=namespace))
        assert (await caller.call(wires, caller.prepare(MethodCall("count")))).result == 42
        await wires.close()


async def test_who_has_stopped_is_not_found_any_more(broker: str, namespace: str) -> None:
    strategy = BrokerDiscoveryStrategy(broker, namespace)
    try:
        async with Orders(namespace=namespace, event_transports=[broker]):
            assert await strategy.locate("*") == [f"{broker}#orders.eu"]
        assert await strategy.locate("*") == []
        async with discovery(brokers=[broker], namespace=namespace) as found:
            with pytest.raises(ServiceNotFoundError, match=r"no service 'orders\.eu' was found"):
                await found.locate("orders.eu")
    finally:
        await strategy.close()


async def test_an_address_on_ones_own_broker_gets_ones_own_credentials_back(broker: str, namespace: str) -> None:
    wires = WirePool(ClientSettings(namespace=namespace))
    async with (
        Orders(namespace=namespace, event_transports=[broker]),
        discovery(brokers=[broker], namespace=namespace) as found,
    ):
        (presence,) = await found.instances("orders.eu")
        located = Locator([StrategyRunner(Known(*presence.urls))], OwnBrokers([broker], wires))
        assert await located.locate("orders") == [f"{broker}#orders.eu"]
        elsewhere = Locator([StrategyRunner(Known(*presence.urls))], OwnBrokers([], wires))
        with pytest.raises(ServiceNotLocatedError, match="not on the list"):
            await elsewhere.locate("orders")
    await wires.close()


async def test_one_bus_is_known_again_however_its_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    own = OwnBrokers(["sqlite:///bus.db"], WirePool())
    assert own.own(f"sqlite:///{tmp_path}/bus.db#orders") == "sqlite:///bus.db#orders"
    monkeypatch.chdir(tmp_path / "other")
    assert own.own(f"sqlite:///{tmp_path}/bus.db#orders") is None
    for garbage in ("sqlite:///bus.db", "sqlite:///bus.db#a b", "", "#orders", "http://[#orders", "amqp://#orders"):
        assert own.own(garbage) is None


async def test_services_are_found_and_called_on_a_broker_that_the_service_does_not_use_itself(
    broker: str, namespace: str
) -> None:
    elsewhere = BrokerDiscoveryStrategy(broker, namespace)
    async with (
        Orders(namespace=namespace, event_transports=[broker]),
        MicroService(
            name="asker",
            port=None,
            namespace=namespace,
            event_transports=[],
            rpc_transports=[f"memory://{namespace}-own"],
            event_store="memory:",
            discovery_strategies=[elsewhere],
        ) as asker,
    ):
        orders = await asker.get_service("orders.eu")
        assert await orders.methods.count() == 42


async def test_a_service_that_was_found_is_called_at_another_address_where_the_first_one_has_died(
    namespace: str,
) -> None:
    common = {"name": "orders", "port": 0, "event_transports": []}
    async with AsyncExitStack() as stack:
        dying, left = Orders(**common), Orders(**common)
        await stack.enter_async_context(left)
        async with dying:
            known = Known(str(dying.url), str(left.url))
            asker = Orders(name="asker", event_transports=[f"memory://{namespace}"], discovery_strategies=[known])
            await stack.enter_async_context(asker)
            found = [await asker.get_service("orders") for _ in range(20)]
            assert {orders.url for orders in found} == {dying.url, left.url}
        assert [await orders.methods.count() for orders in found] == [42] * 20


@pytest.mark.parametrize("timeout", [None, "5", 0])
async def test_a_timeout_that_cannot_be_is_told_as_that(timeout: object, namespace: str) -> None:
    async with Orders(namespace=namespace, event_transports=[f"memory://{namespace}"]) as orders:
        with pytest.raises(ValueError, match="a timeout is a number of seconds above 0"):
            await orders.get_service("orders.eu", timeout=timeout)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "amqp://localhost#orders", "redis://localhost", "reddis:", ""]
)
def test_what_is_no_broker_is_refused(url: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="give the URL of a broker or bus"):
        BrokerDiscoveryStrategy(url)


async def test_a_broker_that_is_away_does_not_spoil_the_other_ways(namespace: str) -> None:
    away = f"amqp://ada:secret@127.0.0.1:{free_port()}//"

    async with discovery(Known(A), brokers=[away], namespace=namespace) as found:
        assert await found.locate("orders") == [A]
        with pytest.raises(ServiceNotLocatedError, match=r"127\.0\.0\.1") as caught:
            await found.locate("billing")
        assert "secret" not in str(caught.value)


def test_what_is_no_strategy_is_refused() -> None:
    with pytest.raises(ServiceConfigurationError, match="has no methods ping and locate"):
        Discovery([object()], wires=WirePool())  # type: ignore[list-item]
