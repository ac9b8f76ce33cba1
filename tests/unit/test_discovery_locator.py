"""From a service's name to addresses that may be called."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.call_errors import ServiceNotFoundError, ServiceNotLocatedError, ServiceUnreachableError
from gemstone_events.rpc.discovery.cache import DummyCache, ServiceDiscoveryCache
from gemstone_events.rpc.discovery.locator import Locator, merged
from gemstone_events.rpc.discovery.own_brokers import OwnBrokers
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.discovery.strategy_runner import StrategyRunner
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire_pool import WirePool

A, B, FAR = "http://127.0.0.1:1/api", "http://127.0.0.1:2/api", "http://10.0.0.1:3/api"


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Known(BaseDiscoveryStrategy):
    """Knows what it was given."""

    def __init__(self, *urls: str, is_local: bool = True) -> None:
        self.urls = list(urls)
        self.is_local = is_local
        self.asked: list[str] = []

    async def locate(self, name: str) -> list[str]:
        self.asked.append(name)
        await asyncio.sleep(0)
        return self.urls

    def instances(self, pattern: str) -> Sequence[Presence]:
        return [Presence(service=pattern, instance="1", urls=(url,)) for url in self.urls]


class OfGemstone:
    """As gemstone has them: plain functions, and no class of ours above them."""

    def __init__(self) -> None:
        self.thread = 0

    def ping(self, name: str, location: str) -> None:
        """Do nothing."""

    def locate(self, name: str) -> list[str] | None:
        self.thread = threading.get_ident()
        return [A] if name == "orders" else None


class Failing(BaseDiscoveryStrategy):
    """Fails in one of many ways."""

    def __init__(self, failure: BaseException | object) -> None:
        self.failure = failure

    def locate(self, name: str) -> list[str]:
        if isinstance(self.failure, BaseException):
            raise self.failure
        return self.failure  # type: ignore[return-value]


class Hanging(BaseDiscoveryStrategy):
    """Never answers, until it is released."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()

    def locate(self, name: str) -> list[str]:
        self.asked.set()
        self.released.wait(60)
        return [B]


def locator(
    *strategies: object,
    allow: Sequence[str] | None = None,
    cache: ServiceDiscoveryCache | None = None,
    clock: Clock | None = None,
    brokers: Sequence[str] = (),
    timeout: float = 5.0,
) -> Locator:
    return Locator(
        [StrategyRunner(strategy, timeout) for strategy in strategies],  # type: ignore[arg-type]
        OwnBrokers(brokers, WirePool()),
        allow=None if allow is None else AllowList(allow),
        cache=cache,
        clock=clock or Clock(),
    )


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def until_async(located: Locator, urls: Sequence[str]) -> None:
    async with asyncio.timeout(10):
        while await located.locate("orders") != urls:
            await asyncio.sleep(0.005)


async def test_all_strategies_together_say_where_a_service_is() -> None:
    assert sorted(await locator(Known(A), Known(B, A)).locate("orders")) == [A, B]


async def test_addresses_come_in_random_order() -> None:
    located = locator(Known(*(f"http://127.0.0.1:{port}/api" for port in range(1, 100))), cache=DummyCache())
    assert await located.locate("orders") != await located.locate("orders")


async def test_a_strategy_of_gemstone_works_and_runs_in_a_thread() -> None:
    strategy = OfGemstone()
    located = locator(strategy)
    assert await located.locate("orders") == [A]
    assert strategy.thread not in (0, threading.get_ident())
    with pytest.raises(ServiceNotLocatedError):
        await located.locate("billing")


@pytest.mark.parametrize(
    "failure", [ValueError("broken"), StopIteration(), A, 7, [7, None], {}, TimeoutError(), asyncio.CancelledError()]
)
async def test_a_strategy_that_fails_does_not_spoil_the_others(failure: object) -> None:
    assert await locator(Failing(failure), Known(A)).locate("orders") == [A]


async def test_an_asynchronous_strategy_that_was_cancelled_within_does_not_spoil_the_others() -> None:
    class Cancelled(BaseDiscoveryStrategy):
        async def locate(self, name: str) -> list[str]:
            raise asyncio.CancelledError

    assert await locator(Cancelled(), Known(A)).locate("orders") == [A]


@pytest.mark.parametrize("failure", [asyncio.CancelledError(), SystemExit(), StopIteration()])
async def test_a_strategy_is_asked_again_after_whatever_its_thread_raised(failure: BaseException) -> None:
    strategy = Failing(failure)
    located = locator(strategy, timeout=60.0)
    with pytest.raises(ServiceNotLocatedError, match=f"it raised {type(failure).__name__}"):
        await located.locate("orders")
    strategy.failure = [A]
    assert await asyncio.wait_for(located.locate("orders"), 10) == [A]


async def test_a_strategy_that_is_a_generator_does_its_work_in_the_thread_and_fails_alone() -> None:
    threads: list[int] = []

    class Lazy(BaseDiscoveryStrategy):
        def locate(self, name: str) -> Iterator[str]:  # type: ignore[override]
            threads.append(threading.get_ident())
            yield B
            if name == "broken":
                raise OSError("gone")

    located = locator(Lazy(), Known(A))
    assert sorted(await located.locate("orders")) == [A, B]
    assert await located.locate("broken") == [A]
    assert threading.get_ident() not in threads


async def test_a_timeout_of_the_strategys_own_is_told_as_that() -> None:
    with pytest.raises(ServiceNotLocatedError, match="Failing: TimeoutError: the pool is empty"):
        await locator(Failing(TimeoutError("the pool is empty"))).locate("orders")


async def test_a_strategy_that_hangs_does_not_spoil_the_others_nor_hold_the_loop() -> None:
    hanging = Hanging()
    located = locator(hanging, Known(A), cache=DummyCache(), timeout=0.05)
    try:
        assert await located.locate("orders") == [A]
        threads = threading.active_count()
        assert await located.locate("orders") == [A]
        assert threading.active_count() == threads, "a second thread waits for the hanging strategy"
    finally:
        hanging.released.set()


async def test_nothing_found_is_a_value_error_that_says_who_was_asked_and_what_failed() -> None:
    with pytest.raises(
        ValueError, match=r"no service 'orders' was found by Known, Failing; Failing: OSError: gone"
    ) as e:
        await locator(Known(), Failing(OSError("gone"))).locate("orders")
    assert isinstance(e.value, ServiceNotFoundError)


async def test_the_password_in_a_strategys_failure_is_not_shown() -> None:
    with pytest.raises(ServiceNotLocatedError) as caught:
        await locator(Failing(OSError("redis://ada:secret@host is gone"))).locate("orders")
    assert "secret" not in str(caught.value)


async def test_without_a_strategy_there_is_nobody_to_ask() -> None:
    with pytest.raises(ServiceConfigurationError, match="discovery_strategies"):
        await locator().locate("orders")


@pytest.mark.parametrize("pattern", ["", "a\nb", "a" * 201, None, 7])
async def test_what_is_no_pattern_is_refused(pattern: object) -> None:
    with pytest.raises(ServiceConfigurationError, match="name or a glob pattern"):
        await locator(Known(A)).locate(pattern)  # type: ignore[arg-type]


async def test_an_address_that_is_not_allowed_is_left_out_and_named_where_there_is_no_other() -> None:
    assert await locator(Known(FAR, A)).locate("orders") == [A]
    assert await locator(Known(FAR), allow=["http://10.0.0.0/8:*"]).locate("orders") == [FAR]
    with pytest.raises(
        ServiceNotLocatedError, match=rf"{FAR} may not be called: .*; addresses are allowed by discovery_"
    ):
        await locator(Known(FAR)).locate("orders")


async def test_addresses_with_credentials_are_refused_and_not_shown() -> None:
    with pytest.raises(ServiceNotLocatedError, match="credentials") as caught:
        await locator(Known("http://ada:secret@127.0.0.1:1/api")).locate("orders")
    assert "secret" not in str(caught.value)


async def test_loopback_addresses_of_a_place_on_another_machine_are_refused() -> None:
    with pytest.raises(ServiceNotLocatedError, match="on another machine"):
        await locator(Known(A, is_local=False)).locate("orders")
    assert await locator(Known(FAR, A, is_local=False), allow=["http://10.0.0.0/8:*"]).locate("orders") == [FAR]


@pytest.mark.parametrize("broker", ["memory://bus", "sqlite:////srv/bus.db", "amqp://localhost"])
async def test_a_broker_on_another_machine_is_not_ones_own_though_it_has_the_same_address(broker: str) -> None:
    url = f"{broker}#orders"
    assert await locator(Known(url), brokers=[broker]).locate("orders") == [url]
    with pytest.raises(ServiceNotLocatedError, match="on another machine"):
        await locator(Known(url, is_local=False), brokers=[broker]).locate("orders")


async def test_what_was_found_is_remembered_until_it_expires() -> None:
    clock, strategy = Clock(), Known(A)
    located = locator(strategy, cache=ServiceDiscoveryCache(10, clock=clock), clock=clock)
    for _ in range(3):
        await located.locate("orders")
    assert strategy.asked == ["orders"]
    clock.now = 10.0
    await located.locate("orders")
    assert strategy.asked == ["orders", "orders"]


async def test_what_is_remembered_is_looked_up_anew_in_the_background_and_nobody_waits_for_it() -> None:
    clock, strategy = Clock(), Known(A)
    located = locator(strategy, clock=clock)
    await located.locate("orders")
    strategy.urls = [B]
    clock.now = 10.0
    assert (await located.locate("orders"), len(strategy.asked)) == ([A], 1)
    clock.now = 10.1
    assert await located.locate("orders") == [A]
    await until(lambda: len(strategy.asked) == 2)
    await until_async(located, [B])
    assert len(strategy.asked) == 2


async def test_a_service_that_is_known_to_be_gone_is_forgotten_but_not_where_nobody_could_be_asked() -> None:
    clock, strategy = Clock(), Known(A)
    failing = Failing(None)
    located = locator(strategy, failing, clock=clock)
    await located.locate("orders")
    strategy.urls, failing.failure, clock.now = [], OSError("gone"), 11.0
    await located.locate("orders")
    await until(lambda: len(strategy.asked) == 2)
    assert await located.locate("orders") == [A]
    failing.failure, clock.now = None, 22.0
    await located.locate("orders")
    with pytest.raises(ServiceNotLocatedError):
        await until_async(located, [])


async def test_those_who_look_for_the_same_at_once_share_one_search() -> None:
    strategy = Known(A)
    located = locator(strategy)
    assert await asyncio.gather(*(located.locate("orders") for _ in range(20))) == [[A]] * 20
    assert strategy.asked == ["orders"]


async def test_who_gives_up_waiting_does_not_end_the_search_of_the_others() -> None:
    located = locator(Known(A))
    first = asyncio.create_task(located.locate("orders"))
    second = asyncio.create_task(located.locate("orders"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == [A]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_dead_address_is_put_aside_for_some_seconds() -> None:
    clock = Clock()
    located = locator(Known(A, B), clock=clock)
    located.forget(A)
    assert await located.locate("orders") == [B]
    clock.now = 5.1
    assert sorted(await located.locate("orders")) == [A, B]


async def test_where_all_remembered_addresses_are_dead_the_strategies_are_asked_anew() -> None:
    strategy = Known(A)
    located = locator(strategy)
    await located.locate("orders")
    located.forget(A)
    strategy.urls = [A, B]
    assert await located.locate("orders") == [B]


async def test_a_service_all_of_whose_addresses_are_dead_is_not_found() -> None:
    located = locator(Known(A))
    located.forget(A)
    with pytest.raises(ServiceNotLocatedError, match="could not be reached a moment ago"):
        await located.locate("orders")


async def test_instances_of_all_strategies_are_put_together() -> None:
    (presence,) = await locator(Known(A), Known(B), OfGemstone()).instances("orders")
    assert (presence.service, presence.urls) == ("orders", (A, B))


def test_instances_that_do_not_tell_their_id_are_told_apart_by_their_address() -> None:
    nameless = [Presence(service="orders", instance="", urls=(url,)) for url in (A, B, A)]
    assert [presence.urls for presence in merged(nameless)] == [(A,), (B,)]


def test_of_an_instance_that_several_know_what_it_said_last_is_told() -> None:
    old, new, now = (
        Presence(service="orders", instance="1", urls=(url,), health=health, announced=announced)
        for url, health, announced in ((A, "ok", 100.0), (B, "degraded", 160.0), (FAR, "warning", 0.0))
    )
    for known, health in (
        ([old, new], "degraded"),
        ([new, old], "degraded"),
        ([now, new], "warning"),
        ([new, now], "warning"),
    ):
        (presence,) = merged(known)
        assert (presence.health, len(presence.urls)) == (health, 2)


async def test_closing_ends_a_search() -> None:
    hanging = Hanging()
    located = locator(hanging)
    waiting = asyncio.create_task(located.locate("orders"))
    await until(hanging.asked.is_set)
    try:
        await located.close()
        await located.close()
        with pytest.raises(ServiceUnreachableError, match="not called"):
            await waiting
    finally:
        hanging.released.set()
