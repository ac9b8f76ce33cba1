"""Services by their interfaces: local ones, proxies, life cycle, injection."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from gemstone_events.call_scope import CallScope, call_scope
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management import (
    AbstractComponent,
    Channel,
    ChannelAddress,
    ChannelInstances,
    ChannelManager,
    CheckReport,
    Component,
    ComponentDescriptor,
    ComponentRegistry,
    ComponentStatus,
    HealthStatus,
    LocalComponentRegistry,
    LocalServiceException,
    PresenceComponentRegistry,
    Service,
    ServiceInstanceProvider,
    ServiceManager,
    channel,
    component,
    health_check,
    health_checks,
    idempotent,
    implementation,
    inject_service,
    service,
)
from gemstone_events.management.descriptors import component_descriptor
from gemstone_events.management.registry import PollingRegistry
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    InvalidAnswerError,
    OutcomeUnknownError,
    OverloadedError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.caller import Wires
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.discovery.broker_strategy import BrokerDiscoveryStrategy
from gemstone_events.rpc.errors import InvalidParams
from gemstone_events.rpc.presence import Presence
from gemstone_events.strict_json import JsonValue

PATIENCE = 30.0


@dataclass(frozen=True)
class Money:
    cents: int


@service()
class Prices(Service, ABC):
    """What things cost."""

    @idempotent
    @abstractmethod
    async def price(self, article: str, count: int = 1) -> Money: ...

    @abstractmethod
    def total(self, amounts: list[Money]) -> Money: ...


@service()
class Stock(Service, ABC):
    @abstractmethod
    async def count(self, article: str) -> int: ...


@component(services=[Prices, Stock])
class ShopComponent(Component, ABC):
    """A shop."""


@implementation()
class LocalPrices(Prices):
    async def price(self, article: str, count: int = 1) -> Money:
        return Money(100 * count)

    def total(self, amounts: list[Money]) -> Money:
        return Money(sum(each.cents for each in amounts))


@health_checks()
@implementation()
class LocalStock(Stock):
    prices = ServiceInstanceProvider(Prices)

    async def count(self, article: str) -> int:
        return (await self.prices.price(article)).cents

    @inject_service()
    def set_prices(self, prices: Prices) -> None:
        self.same = prices

    @health_check("stock is counted")
    def counted(self, result: CheckReport) -> None:
        result.set_status(HealthStatus.WARNING, "soon")


@implementation()
class Shop(AbstractComponent, ShopComponent):
    events: list[str]

    async def startup(self) -> None:
        self.events = ["startup"]
        super().startup()

    def shutdown(self) -> None:
        self.events.append("shutdown")
        super().shutdown()

    @health_check()
    async def open(self) -> None: ...


@channel("fake")
class FakeChannel(Channel):
    """Answers without a network."""

    answers: Callable[[str, MethodCall], JsonValue]

    async def call(self, url: str, call: MethodCall, wires: Wires) -> JsonValue:
        answer = type(self).answers(url, call)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


def manager_of(
    answers: Callable[[str, MethodCall], object],
    *urls: str,
    registry: ComponentRegistry | None = None,
    timeout: float = 30.0,
) -> ServiceManager:
    """A manager that reaches the shop by a fake channel."""

    @channel("other")
    class Other(FakeChannel):
        pass

    Other.answers = staticmethod(answers)  # type: ignore[assignment]
    kind = channel("fake")(type("Mine", (Other,), {}))
    known = LocalComponentRegistry() if registry is None else registry
    if isinstance(known, LocalComponentRegistry):
        channels = [ChannelInstances("shop_component", "fake", urls)] if urls else []
        known._components["shop_component"] = channels
    return ServiceManager(known, ChannelManager([kind, Other], timeout=timeout))


async def test_a_proxy_is_called_like_the_interface_and_speaks_json() -> None:
    calls: list[tuple[str, str, object, bool]] = []

    def answer(url: str, call: MethodCall) -> object:
        calls.append((url, call.method_name, call.params, call.idempotent))
        return {"cents": 5}

    async with manager_of(answer, "fake://a") as manager:
        prices = manager.get_service(Prices)
        assert await prices.price("pen", count=2) == Money(5)
        assert await asyncio.to_thread(prices.total, [Money(1)]) == Money(5)

        assert isinstance(prices, Prices)
        assert repr(prices) == "<proxy of the service 'prices'>"
        assert manager.get_service(Prices) is prices
    assert calls == [
        ("fake://a", "prices.price", {"article": "pen", "count": 2}, True),
        ("fake://a", "prices.total", {"amounts": [{"cents": 1}]}, False),
    ]


def test_a_proxy_works_in_a_script_without_an_event_loop() -> None:
    with manager_of(lambda url, call: {"cents": 5}, "fake://a") as manager:
        assert manager.get_service(Prices).total([]) == Money(5)


async def test_a_blocking_method_is_refused_on_an_event_loop() -> None:
    async with manager_of(lambda url, call: {"cents": 5}, "fake://a") as manager:
        with pytest.raises(LocalServiceException, match=r"prices\.total would block the event loop"):
            manager.get_service(Prices).total([])
        with pytest.raises(LocalServiceException, match="await aclose"):
            manager.close()


async def test_wrong_arguments_are_refused_before_anything_is_called() -> None:
    def answer(url: str, call: MethodCall) -> object:
        raise AssertionError

    async with manager_of(answer, "fake://a") as manager:
        prices = manager.get_service(Prices)
        with pytest.raises(TypeError, match=r"prices.price\(\): missing a required argument: 'article'"):
            await prices.price()  # type: ignore[call-arg]
        with pytest.raises(LocalServiceException) as refused:
            await prices.price(5)  # type: ignore[arg-type]
    assert refused.value.data == {"article": ["Not a valid string."]}


@pytest.mark.parametrize("value", [2**70, "\ud800"], ids=["integer", "text"])
async def test_what_json_cannot_carry_is_the_callers_mistake(value: object) -> None:
    registry = LocalComponentRegistry()
    await registry.register(component_descriptor(ShopComponent), [ChannelAddress("http", "http://127.0.0.1:1/api")])
    async with ServiceManager(registry) as manager:
        arguments: dict[str, Any] = {"count": value} if isinstance(value, int) else {"article": value}
        with pytest.raises(LocalServiceException, match="cannot be sent"):
            await manager.get_service(Prices).price(**{"article": "pen", **arguments})


async def test_a_wrong_answer_is_an_invalid_one() -> None:
    async with manager_of(lambda url, call: {"cents": "5"}, "fake://a") as manager:
        with pytest.raises(InvalidAnswerError) as refused:
            await manager.get_service(Prices).price("pen")
    assert refused.value.data == {"cents": ["Not a valid integer."]}


async def test_the_preferred_channel_comes_first_and_another_where_it_fails() -> None:
    urls: list[str] = []

    def answer(url: str, call: MethodCall) -> object:
        urls.append(url)
        return ServiceUnreachableError("gone") if url == "other://b" else {"cents": 1}

    async with manager_of(answer, "fake://a") as manager:
        known = manager.registry
        assert isinstance(known, LocalComponentRegistry)
        known._components["shop_component"] += [ChannelInstances("shop_component", "other", ["other://b"])]
        await manager.get_service(Prices).price("pen")
        await manager.get_service(Prices, preferred_channel="other").price("pen")

        assert urls == ["fake://a", "other://b", "fake://a"]
        assert manager.report()["remote"] == {"shop_component": {"fake": ["fake://a"], "other": ["other://b"]}}
        with pytest.raises(ServiceConfigurationError, match="no channel 'smoke': there are fake, other, local"):
            manager.get_service(Prices, "smoke")


@pytest.mark.parametrize(
    ("error", "article", "is_passed_on"),
    [
        (OverloadedError("busy"), None, True),
        (OutcomeUnknownError("lost"), "pen", True),
        (OutcomeUnknownError("lost"), None, False),
    ],
)
async def test_the_next_channel_is_tried_whenever_the_call_may_be_repeated(
    error: Exception, article: str | None, is_passed_on: bool
) -> None:
    def answer(url: str, call: MethodCall) -> object:
        return error if url == "fake://a" else {"cents": 1}

    async with manager_of(answer, "fake://a") as manager:
        known = manager.registry
        assert isinstance(known, LocalComponentRegistry)
        known._components["shop_component"] += [ChannelInstances("shop_component", "other", ["other://b"])]
        prices = manager.get_service(Prices)
        calling = (
            prices.price(article) if article else asyncio.to_thread(prices.total, [])
        )  # that one is not idempotent
        (outcome,) = await asyncio.gather(calling, return_exceptions=True)
    assert outcome == (Money(1) if is_passed_on else error)


@pytest.mark.parametrize("registry_is_away", [False, True])
async def test_a_call_that_may_have_been_carried_out_by_one_channel_is_told_of_as_that(registry_is_away: bool) -> None:
    def answer(url: str, call: MethodCall) -> object:
        known = manager.registry
        if registry_is_away:
            known.get_addresses = away  # type: ignore[method-assign]
        return OutcomeUnknownError("lost") if url == "fake://a" else ServiceUnreachableError("no b")

    async def away(descriptor: ComponentDescriptor[object]) -> list[ChannelInstances]:
        raise ServiceUnreachableError("no registry")

    async with manager_of(answer, "fake://a") as manager:
        known = manager.registry
        assert isinstance(known, LocalComponentRegistry)
        known._components["shop_component"] += [ChannelInstances("shop_component", "other", ["other://b"])]
        with pytest.raises(OutcomeUnknownError, match=r"not carried out \(no b\), but an earlier one may be: lost"):
            await manager.get_service(Prices).price("pen")


async def test_an_idempotent_call_that_takes_too_long_is_told_of_as_that() -> None:
    def answer(url: str, call: MethodCall) -> object:
        time.sleep(call.timeout or 0)
        return CallTimeoutError("slow")

    async with manager_of(answer, "fake://a", timeout=0.05) as manager:
        with pytest.raises(CallTimeoutError, match="slow"):
            await manager.get_service(Prices).price("pen")


async def test_the_channel_of_the_registry_comes_first_unless_another_is_preferred() -> None:
    urls: list[str] = []

    def answer(url: str, call: MethodCall) -> object:
        urls.append(url)
        return {"cents": 1}

    async with manager_of(answer, "fake://a") as manager:
        known = manager.registry
        assert isinstance(known, LocalComponentRegistry)
        known._components["shop_component"] += [ChannelInstances("shop_component", "other", ["other://b"])]
        known.own_channel = "other"
        await manager.get_service(Prices).price("pen")
        await manager.get_service(Prices, preferred_channel="fake").price("pen")
    assert urls == ["other://b", "fake://a"]
    brokers = ("amqp://localhost", "sqlite:///bus.db", "memory://bus")
    assert [PresenceComponentRegistry(url).own_channel for url in brokers] == ["amqp", "bus", "bus"]


async def test_the_known_health_is_what_was_found_last_and_is_looked_at_anew_only_where_somebody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Counting:
        ran = 0

        @health_check()
        async def count(self) -> HealthStatus:
            self.ran += 1
            return HealthStatus.ERROR

    counting = Counting()
    manager = ServiceManager(LocalComponentRegistry())
    manager.add_health_checks(counting)

    assert [manager.host.known_health().status for _ in range(3)] == [HealthStatus.OK] * 3  # nobody waits
    await until(lambda: manager.host.known_health().status is HealthStatus.ERROR)
    assert counting.ran == 1  # it is fresh
    await manager.host.get_health()
    assert counting.ran == 2
    monkeypatch.setattr("gemstone_events.management.hosting._FRESH_SECONDS", 0.0)
    assert manager.host.known_health().status is HealthStatus.ERROR
    await until(lambda: counting.ran == 3)


async def test_checks_that_run_in_the_background_end_with_the_host() -> None:
    class Hanging:
        @health_check()
        async def hang(self) -> None:
            await asyncio.Event().wait()

    manager = ServiceManager(LocalComponentRegistry())
    manager.add_health_checks(Hanging())
    manager.host.known_health()
    (checking,) = asyncio.all_tasks() - {asyncio.current_task()}
    await manager.host.stop()
    assert checking.cancelled()


async def test_a_check_that_hangs_ends_with_the_host_whether_it_is_the_hosts_or_a_components() -> None:
    began = 0

    class Hanging:
        @health_check()
        async def hang(self) -> None:
            nonlocal began
            began += 1
            await asyncio.Event().wait()

    @implementation()
    class HangingShop(Hanging, Shop): ...

    before = asyncio.all_tasks()
    manager = ServiceManager(LocalComponentRegistry())
    manager.register(HangingShop(LocalPrices(), LocalStock()))
    manager.add_health_checks(Hanging())
    await manager.host.start()
    manager.host.known_health()
    await until(lambda: began == 2)
    await manager.host.stop()
    await until(lambda: asyncio.all_tasks() == before)


async def test_the_registry_is_asked_again_where_all_addresses_fail() -> None:
    class Moving(ComponentRegistry):
        asked = 0

        async def register(
            self, descriptor: ComponentDescriptor[object], addresses: Sequence[ChannelAddress]
        ) -> None: ...

        async def deregister(self, descriptor: ComponentDescriptor[object]) -> None: ...

        async def get_addresses(self, descriptor: ComponentDescriptor[object]) -> list[ChannelInstances]:
            self.asked += 1
            return [ChannelInstances(descriptor.name, "fake", [f"fake://{self.asked}"])]

    def answer(url: str, call: MethodCall) -> object:
        return ServiceUnreachableError("gone") if url == "fake://1" else {"cents": 1}

    registry = Moving()
    async with manager_of(answer, registry=registry) as manager:
        prices = manager.get_service(Prices)
        await asyncio.gather(*(prices.price("pen") for _ in range(8)))
    assert registry.asked == 2


async def test_a_registry_is_closed_though_a_library_swallows_that() -> None:
    waiting = asyncio.Event()

    class Deaf(PollingRegistry):
        async def register(
            self, descriptor: ComponentDescriptor[object], addresses: Sequence[ChannelAddress]
        ) -> None: ...

        async def deregister(self, descriptor: ComponentDescriptor[object]) -> None: ...

        async def _find(self, components: Sequence[str]) -> list[ChannelInstances]:
            return []

        async def _wait(self) -> None:
            try:
                waiting.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not heard:
                    heard.append(True)
                    return
                raise

    heard: list[bool] = []
    registry = Deaf(5.0)
    registry.watch(ChannelManager().make(ChannelInstances("shop", "http")))
    await waiting.wait()
    await asyncio.wait_for(registry.close(), PATIENCE)
    assert heard == [True]


async def test_a_registry_pushes_changes_to_channels() -> None:
    urls: list[str] = []

    def answer(url: str, call: MethodCall) -> object:
        urls.append(url)
        return {"cents": 1}

    async with manager_of(answer, "fake://a") as manager:
        descriptor = component_descriptor(ShopComponent)
        prices = manager.get_service(Prices)
        await prices.price("pen")
        await manager.registry.register(descriptor, [ChannelAddress("fake", "fake://b")])
        await prices.price("pen")
        await manager.registry.deregister(descriptor)
        with pytest.raises(
            ServiceNotFoundError, match="no instance of the component 'shop_component' is known to the registry of"
        ):
            await prices.price("pen")
    assert urls == ["fake://a", "fake://b"]


async def test_what_is_implemented_here_is_not_called_from_afar() -> None:
    manager = ServiceManager(LocalComponentRegistry())
    prices, stock = LocalPrices(), LocalStock()
    manager.register(Shop(prices, stock))

    assert manager.get_service(Prices) is prices
    assert manager.get_service(Prices, "local") is prices
    assert stock.same is prices
    assert await manager.get_service(Stock).count("pen") == 100


def test_a_service_that_shall_be_local_and_is_not_says_so() -> None:
    with pytest.raises(LocalServiceException, match="'prices' is not implemented in this process"):
        ServiceManager(LocalComponentRegistry()).get_service(Prices, "local")


async def test_a_component_is_started_registered_and_stopped() -> None:
    registry, shop = LocalComponentRegistry(), Shop(LocalPrices(), LocalStock())
    manager = ServiceManager(registry)
    manager.register(shop)
    descriptor = component_descriptor(ShopComponent)
    assert (shop.get_status(), manager.host.component_names) == (ComponentStatus.VIRGIN, ("shop_component",))

    await manager.startup(["http://h:1/api", "amqp://h/v#shop"])
    assert shop.get_status() is ComponentStatus.RUNNING
    assert await registry.get_addresses(descriptor) == [
        ChannelInstances("shop_component", "http", ["http://h:1/api"]),
        ChannelInstances("shop_component", "amqp", ["amqp://h/v#shop"]),
    ]
    with pytest.raises(ServiceConfigurationError, match="'shop_component' runs already"):
        await manager.startup()
    await manager.shutdown()
    await manager.shutdown()

    assert shop.get_status() is ComponentStatus.STOPPED
    assert shop.events == ["startup", "shutdown"]
    assert await registry.get_addresses(descriptor) == []


def test_without_a_host_a_component_is_called_by_http_on_this_machine() -> None:
    assert Shop().get_addresses(8001) == [ChannelAddress("http", "http://127.0.0.1:8001/api")]
    assert Shop().get_addresses(None) == []


async def test_components_that_were_started_are_stopped_where_another_fails(caplog: pytest.LogCaptureFixture) -> None:
    @service()
    class Other:
        async def go(self) -> None: ...

    @component("other", services=[Other])
    class OtherInterface(Component, ABC): ...

    @implementation()
    class Broken(AbstractComponent, OtherInterface, Other):
        def startup(self) -> None:
            raise OSError("no disk")

        def shutdown(self) -> None:
            raise OSError("still no disk")

        async def go(self) -> None: ...

    shop = Shop(LocalPrices(), LocalStock())
    manager = ServiceManager(LocalComponentRegistry())
    manager.register(shop, Broken())

    with pytest.raises(OSError, match="no disk"), caplog.at_level(logging.CRITICAL):
        await manager.startup()
    assert shop.get_status() is ComponentStatus.STOPPED


async def test_a_registry_that_is_away_keeps_nothing_from_starting(caplog: pytest.LogCaptureFixture) -> None:
    class Away(LocalComponentRegistry):
        async def register(self, descriptor: ComponentDescriptor[object], addresses: Sequence[ChannelAddress]) -> None:
            raise ServiceUnreachableError("no Redis")

    shop = Shop(LocalPrices(), LocalStock())
    manager = ServiceManager(Away())
    manager.register(shop)
    async with manager:
        assert shop.get_status() is ComponentStatus.RUNNING
    assert "the registry of components cannot be used: no Redis" in caplog.text


async def test_health_is_that_of_components_and_services() -> None:
    shop = Shop(LocalPrices(), LocalStock())
    manager = ServiceManager(LocalComponentRegistry())
    manager.register(shop)

    report = await manager.host.health()
    assert not report.ok  # it is not started
    async with manager:
        report = await manager.host.health()
        health = await manager.host.get_health()
    assert report.ok
    assert health.status is HealthStatus.WARNING
    assert [(r.name, r.status.name, r.details) for r in health.results] == [
        ("open", "OK", ""),
        ("stock is counted", "WARNING", "soon"),
    ]


async def test_the_methods_of_a_component_are_exposed_with_the_types_of_the_interface() -> None:
    @implementation()
    class Untyped(Prices):
        async def price(self, article, count=1):  # type: ignore[no-untyped-def]
            return Money(count)

        def total(self, amounts):  # type: ignore[no-untyped-def]
            return {"cents": 5}

    manager = ServiceManager(LocalComponentRegistry())
    manager.register(Shop(Untyped(), LocalStock()))
    methods = {method.name: method for method in manager.host.methods()}

    assert list(methods) == ["prices.price", "prices.total", "stock.count"]
    price = methods["prices.price"]
    assert (price.idempotent, price.is_coroutine, methods["prices.total"].is_coroutine) == (True, True, False)
    args, kwargs = price.bind(["pen", 5])
    assert await price.function(*args, **kwargs) == {"cents": 5}  # type: ignore[misc]
    with pytest.raises(InvalidParams):
        price.bind(["pen", "5"])
    with pytest.raises(TypeError, match=r"the result of prices\.total does not fit"):
        methods["prices.total"].function([])


def test_what_cannot_be_registered_is_refused() -> None:
    manager = ServiceManager(LocalComponentRegistry())
    with pytest.raises(ServiceConfigurationError, match=r"int is no implementation: decorate it with @implementation"):
        manager.register(5)
    manager.register(Shop(LocalPrices()))
    with pytest.raises(ServiceConfigurationError, match="'shop_component' has no implementation of Stock"):
        manager.host.methods()
    with pytest.raises(ServiceConfigurationError, match=r"\('prices'\) is implemented twice"):
        manager.register(LocalPrices())


def test_what_cannot_be_injected_is_refused() -> None:
    class Two:
        @inject_service()
        def take(self, one: Prices, two: Stock) -> None: ...

    class Untyped:
        @inject_service()
        def take(self, one):  # type: ignore[no-untyped-def]
            ...

    class NoService:
        numbers = ServiceInstanceProvider(int)

    manager = ServiceManager(LocalComponentRegistry())
    with pytest.raises(ServiceConfigurationError, match="takes one parameter besides self"):
        manager.inject(Two())
    with pytest.raises(ServiceConfigurationError, match="object is no interface of a service"):
        manager.inject(Untyped())
    with pytest.raises(ServiceConfigurationError, match="int is no interface of a service"):
        manager.inject(NoService())
    with pytest.raises(LocalServiceException, match=r"LocalStock\.prices is not there yet"):
        _ = LocalStock().prices
    with pytest.raises(ServiceConfigurationError, match="needs parentheses"):
        inject_service(LocalStock.count)  # type: ignore[arg-type]


async def test_a_component_that_nobody_hosts_is_told_with_the_broker_that_was_asked() -> None:
    async with ServiceManager(PresenceComponentRegistry("memory://empty", "test", patience=0.01)) as manager:
        with pytest.raises(ServiceNotFoundError, match=r"is known to broker memory://empty \(namespace 'test'\)"):
            await manager.get_service(Prices).price("pen")


class SlowRegistry(LocalComponentRegistry):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.released = asyncio.Event()
        self.watched: list[Channel] = []

    async def get_addresses(self, descriptor: ComponentDescriptor[object]) -> list[ChannelInstances]:
        self.asked.set()
        await self.released.wait()
        return []

    def watch(self, channel: Channel) -> None:
        self.watched.append(channel)


async def test_a_lookup_ends_with_what_is_left_to_the_call_that_is_served() -> None:
    async with manager_of(lambda url, call: None, registry=SlowRegistry()) as manager:
        with call_scope(CallScope(time.monotonic() + 0.05)), pytest.raises(ServiceUnreachableError, match="in time"):
            await asyncio.wait_for(manager.get_service(Prices).price("pen"), 10)


async def test_closing_ends_a_lookup_and_watches_nothing_more() -> None:
    registry = SlowRegistry()
    manager = manager_of(lambda url, call: None, registry=registry)
    waiting = asyncio.ensure_future(manager.get_service(Prices).price("pen"))
    await registry.asked.wait()
    await manager.aclose()
    with pytest.raises(ServiceUnreachableError, match="not called"):
        await asyncio.wait_for(waiting, 10)
    registry.released.set()
    assert registry.watched == []


async def test_connections_are_closed_though_the_registry_does_not_close_well() -> None:
    class Stubborn(LocalComponentRegistry):
        async def close(self) -> None:
            raise OSError("gone")

    manager = manager_of(lambda url, call: {"cents": 1}, "fake://a", registry=Stubborn())
    known = manager.registry
    assert isinstance(known, LocalComponentRegistry)
    known._components["shop_component"] = [ChannelInstances("shop_component", "fake", ["fake://a"])]
    await manager.get_service(Prices).price("pen")
    place = manager.channels.home._place
    assert place is not None
    with pytest.raises(OSError, match="gone"):
        await manager.aclose()
    assert manager.channels.home._place is None
    assert place._is_closed


class Polled(PollingRegistry):
    """Finds, or fails, as it is told."""

    def __init__(self) -> None:
        super().__init__(0.01)
        self.found: list[ChannelInstances] | Exception = []
        self.asked: list[list[str]] = []

    async def register(self, descriptor: ComponentDescriptor[object], addresses: Sequence[ChannelAddress]) -> None: ...

    async def deregister(self, descriptor: ComponentDescriptor[object]) -> None: ...

    async def _find(self, components: Sequence[str]) -> list[ChannelInstances]:
        self.asked.append(sorted(components))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


async def test_a_registry_is_asked_once_for_all_and_again_whatever_it_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    registry = Polled()
    registry.found = RecursionError("amqp://ada:secret@host")
    instances = [ChannelInstances(name, "fake", [f"fake://{name}"]) for name in ("a", "b")]
    manager = manager_of(lambda url, call: None)
    channels = [manager.channels.make(ChannelInstances(each.component, "fake")) for each in instances]
    for each in channels:
        registry.watch(each)
    async with asyncio.timeout(10):
        while len(registry.asked) < 3:
            await asyncio.sleep(0.005)
        registry.found = instances
        while [list(each.urls) for each in channels] != [["fake://a"], ["fake://b"]]:
            await asyncio.sleep(0.005)
    await registry.close()
    assert registry.asked[0] == ["a", "b"]
    assert [record.message for record in caplog.records] == [
        "the registry of components cannot be used: RecursionError: amqp://ada:***@host",
        "the registry of components can be used again",
    ]


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ("amqp://rabbit.example", [("amqp", "amqp://rabbit.example#shop")]),
        ("amqp://localhost", [("amqp", "amqp://localhost#shop"), ("http", "http://127.0.0.1:8000/api")]),
    ],
)
async def test_loopback_of_a_service_on_another_machine_is_not_called(
    broker: str, expected: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = ("http://127.0.0.1:8000/api", f"{broker}:5672/%2F#shop", "sqlite:///bus.db#shop")

    async def instances(self: object, pattern: str) -> list[Presence]:
        return [Presence(service="shop", instance="1", urls=urls, components=("shop_component",))]

    monkeypatch.setattr(BrokerDiscoveryStrategy, "instances", instances)
    registry = PresenceComponentRegistry(broker, brokers=["sqlite:///bus.db"])
    found = await registry.get_addresses(component_descriptor(Shop))
    assert sorted((each.channel, url) for each in found for url in each.urls) == expected
