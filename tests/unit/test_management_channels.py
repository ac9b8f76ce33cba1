"""Which address is called, and which one after it failed."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management import (
    DEFAULT_CHANNELS,
    Channel,
    ChannelFactory,
    ChannelInstances,
    ChannelManager,
    FirstURLSelector,
    LeastPendingURLSelector,
    RoundRobinURLSelector,
    URLSelector,
    channel,
)
from gemstone_events.management.addresses import ChannelAddress, TrustedAddresses, addresses_of, by_channel
from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.call_errors import (
    CalledServiceError,
    CallTimeoutError,
    InterruptedCallError,
    OutcomeUnknownError,
    OverloadedError,
    RemoteServiceError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.caller import Wires
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.strict_json import JsonValue

WIRES = WirePool()


@channel("scripted")
class ScriptedChannel(Channel):
    """Answers with the URL, or fails as it is told."""

    def customize(self) -> None:
        self.select_first_url()
        self.failures: dict[str, RemoteServiceError] = {}
        self.called: list[str] = []

    async def call(self, url: str, call: MethodCall, wires: Wires) -> JsonValue:
        self.called.append(url)
        if url in self.failures:
            raise self.failures[url]
        return url


def scripted(*urls: str) -> ScriptedChannel:
    """A channel to some addresses."""
    made = ChannelManager([ScriptedChannel]).make(ChannelInstances("shop", "scripted", urls))
    assert isinstance(made, ScriptedChannel)
    return made


def shared(*urls: str) -> ScriptedChannel:
    """A channel to addresses of brokers."""
    made = scripted(*urls)
    made.has_shared_addresses = True
    return made


def test_the_first_selector_always_takes_the_first() -> None:
    selector = FirstURLSelector()
    assert [selector.get(["a", "b"]) for _ in range(3)] == ["a", "a", "a"]


def test_the_round_robin_selector_takes_turns_though_the_list_shrinks_and_grows() -> None:
    selector = RoundRobinURLSelector()
    assert [selector.get(["a", "b", "c"]) for _ in range(4)] == ["a", "b", "c", "a"]
    assert [selector.get(["a"]) for _ in range(2)] == ["a", "a"]
    assert {selector.get(["a", "b", "c", "d"]) for _ in range(4)} == {"a", "b", "c", "d"}


@pytest.mark.parametrize("kind", [RoundRobinURLSelector, LeastPendingURLSelector])
def test_turns_are_fair_among_threads(kind: Callable[[], URLSelector]) -> None:
    selector, taken = kind(), list[str]()

    def take() -> None:
        for _ in range(300):
            taken.append(selector.get(["a", "b", "c"]))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {url: taken.count(url) for url in "abc"} == {"a": 400, "b": 400, "c": 400}


def test_the_least_pending_selector_takes_the_idle_one() -> None:
    selector = LeastPendingURLSelector()
    for url in ("a", "a", "b"):
        selector.begin(url)
    assert {selector.get(["a", "b"]) for _ in range(3)} == {"b"}
    selector.end("a")
    selector.end("a")
    assert {selector.get(["a", "b"]) for _ in range(3)} == {"a"}


async def test_the_next_address_is_called_where_one_was_not_reached() -> None:
    channel = scripted("a", "b", "c")
    channel.failures = {"a": ServiceUnreachableError("gone"), "b": OverloadedError("busy")}

    assert await channel.invoke(MethodCall("m"), WIRES) == "c"
    assert channel.called == ["a", "b", "c"]


async def test_an_address_that_failed_is_set_aside_for_a_while() -> None:
    channel = scripted("a", "b")
    channel.failures = {"a": ServiceUnreachableError("gone")}
    await channel.invoke(MethodCall("m"), WIRES)
    del channel.failures["a"]

    assert [channel.get_url() for _ in range(3)] == ["b", "b", "b"]
    channel.set_address(ChannelInstances("shop", "scripted", ["b"]))
    channel.set_address(ChannelInstances("shop", "scripted", ["a", "b"]))
    assert channel.get_url() == "a"  # whoever registers anew is there anew


async def test_an_address_that_is_set_aside_is_called_where_there_is_no_other() -> None:
    channel = scripted("a")
    channel.failures = {"a": ServiceUnreachableError("gone")}
    with pytest.raises(ServiceUnreachableError):
        await channel.invoke(MethodCall("m"), WIRES)
    del channel.failures["a"]

    assert await channel.invoke(MethodCall("m"), WIRES) == "a"


@pytest.mark.parametrize("error", [OutcomeUnknownError("lost"), CallTimeoutError("slow"), InterruptedCallError("died")])
@pytest.mark.parametrize(("is_idempotent", "called"), [(False, ["a"]), (True, ["a", "b"])])
async def test_a_call_of_unknown_outcome_goes_on_only_if_it_may_be_repeated(
    error: RemoteServiceError, is_idempotent: bool, called: Sequence[str]
) -> None:
    channel = scripted("a", "b")
    channel.failures = {"a": error}
    outcome = (
        await asyncio.gather(channel.invoke(MethodCall("m", idempotent=is_idempotent), WIRES), return_exceptions=True)
    )[0]

    assert outcome == ("b" if is_idempotent else error)
    assert channel.called == called


@pytest.mark.parametrize(
    ("error", "is_idempotent", "times"),
    [
        (OutcomeUnknownError("lost"), True, 2),
        (InterruptedCallError("died"), True, 2),
        (OverloadedError("busy"), False, 2),
        (OutcomeUnknownError("lost"), False, 1),
        (ServiceNotFoundError("nobody"), True, 1),
        (ServiceUnreachableError("no broker"), True, 1),
        (CalledServiceError("sold out", code=1001), True, 1),
    ],
)
async def test_an_address_that_instances_share_is_tried_once_more_where_one_of_them_failed(
    error: RemoteServiceError, is_idempotent: bool, times: int
) -> None:
    channel = shared("a")
    channel.failures = {"a": error}
    with pytest.raises(type(error)) as raised:
        await channel.invoke(MethodCall("m", idempotent=is_idempotent), WIRES)

    assert raised.value is error
    assert channel.called == ["a"] * times


async def test_addresses_that_were_not_called_yet_come_before_a_second_attempt() -> None:
    channel = shared("a", "b")
    channel.failures = {"a": OutcomeUnknownError("lost"), "b": ServiceUnreachableError("no broker")}
    with pytest.raises(OutcomeUnknownError, match="lost"):
        await channel.invoke(MethodCall("m", idempotent=True), WIRES)

    assert channel.called == ["a", "b", "a"]


async def test_a_call_that_may_have_been_carried_out_is_not_told_of_as_one_that_was_not() -> None:
    channel = scripted("a", "b")
    channel.failures = {"a": OutcomeUnknownError("lost"), "b": ServiceUnreachableError("no b")}
    with pytest.raises(OutcomeUnknownError, match=r"not carried out \(no b\), but an earlier one may be: lost"):
        await channel.invoke(MethodCall("m", idempotent=True), WIRES)


async def test_an_error_of_the_service_is_its_answer() -> None:
    channel = scripted("a", "b")
    channel.failures = {"a": CalledServiceError("Out of stock", code=1001, data={"left": 0})}

    with pytest.raises(CalledServiceError) as raised:
        await channel.invoke(MethodCall("m", idempotent=True), WIRES)

    assert (raised.value.code, raised.value.message, raised.value.data) == (1001, "Out of stock", {"left": 0})
    assert channel.called == ["a"]


async def test_the_last_failure_is_raised_and_says_what_was_called() -> None:
    channel = scripted("http://user:secret@a", "http://b")
    channel.failures = {url: ServiceUnreachableError(f"no {url[-1]}") for url in channel.urls}

    with pytest.raises(ServiceUnreachableError) as raised:
        await channel.invoke(MethodCall("m"), WIRES)

    assert len(channel.called) == 2
    assert raised.value.__notes__ == ["it was tried 2 times, at http://b, http://user:***@a"]


async def test_a_component_without_addresses_is_not_found() -> None:
    with pytest.raises(ServiceNotFoundError, match="'shop' has no address on the channel 'scripted'"):
        await scripted().invoke(MethodCall("m"), WIRES)


def test_channels_are_made_by_name() -> None:
    manager = ChannelManager([*DEFAULT_CHANNELS, ScriptedChannel])

    assert manager.names == ("http", "amqp", "bus", "scripted")
    assert ChannelFactory is ChannelManager
    with pytest.raises(ServiceConfigurationError, match="there is no channel 'smoke': there are http, amqp"):
        manager.make(ChannelInstances("shop", "smoke"))


def test_what_is_no_channel_is_refused() -> None:
    class Unnamed(ScriptedChannel): ...

    assert ChannelManager([Unnamed]).names == ("scripted",)
    with pytest.raises(ServiceConfigurationError, match="there is a channel 'scripted' already"):
        ChannelManager([ScriptedChannel, Unnamed])
    with pytest.raises(ServiceConfigurationError, match="there is a channel 'local' already"):
        ChannelManager([channel("local")(Unnamed)])
    with pytest.raises(ServiceConfigurationError, match="derive it from Channel"):
        channel("x")(str)  # type: ignore[type-var]
    with pytest.raises(ServiceConfigurationError, match="needs a name"):
        channel("")


def test_addresses_are_put_together_by_channel_and_sorted() -> None:
    urls = ["http://b/api", "amqp://h/v#s", "http://a/api", "sqlite:///bus.db#s", "memory://x#s", "pigeon://roof"]

    assert by_channel("shop", addresses_of(urls)) == [
        ChannelInstances("shop", "http", ("http://a/api", "http://b/api")),
        ChannelInstances("shop", "amqp", ("amqp://h/v#s",)),
        ChannelInstances("shop", "bus", ("memory://x#s", "sqlite:///bus.db#s")),
        ChannelInstances("shop", "pigeon", ("pigeon://roof",)),
    ]


def test_only_allowed_addresses_are_called_and_those_on_own_brokers_get_credentials() -> None:
    trusted = TrustedAddresses(["amqp://me:secret@broker/shop"], AllowList(["http://10.0.0.0/8:*"]))
    urls = [
        "http://10.1.2.3:80/api",
        "http://169.254.169.254/",
        "amqp://broker/shop#orders",
        "amqp://other/shop#orders",
    ]

    chosen = trusted.choose(addresses_of(urls))

    assert chosen == [
        ChannelAddress("http", "http://10.1.2.3:80/api"),
        ChannelAddress("amqp", "amqp://me:secret@broker/shop#orders"),
    ]


def test_loopback_of_another_machine_is_not_called() -> None:
    address = [ChannelAddress("http", "http://127.0.0.1:80/api")]
    assert TrustedAddresses().choose(address) == address
    assert TrustedAddresses().choose(address, is_local=False) == []
