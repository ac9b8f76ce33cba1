"""What the in-process transport does beyond the contract of all transports."""

import asyncio
import gc
import uuid
from collections.abc import Sequence

import pytest

from gemstone_events.errors import ServiceConfigurationError, TransportRefusedError
from gemstone_events.message import Message
from gemstone_events.testing.transport_contract import Recorder, keep, message, messages
from gemstone_events.transport import Delivery, Outcome, Subscription, TransportSettings
from gemstone_events.transports.memory import MemoryTransport, open_url

BILLING = Subscription("billing", "order.*")


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


async def opened(name: str, max_queue: int = 100) -> MemoryTransport:
    transport = MemoryTransport(name, TransportSettings(), max_queue=max_queue)
    await transport.open()
    return transport


async def test_a_full_queue_refuses_until_there_is_room_again(name: str) -> None:
    recorder = Recorder(keep)
    transport = await opened(name, max_queue=3)
    await transport.subscribe([Subscription("billing", "order.*", prefetch=2)], recorder)
    await transport.publish(messages("order.placed", 2))
    await recorder.until_count(2)
    outcomes = await transport.publish(messages("order.placed", 5, prefix="more-"))
    assert list(outcomes) == [Outcome.CONFIRMED] * 3 + [Outcome.REFUSED] * 2
    recorder.deliveries()[0].ack()
    await recorder.until_count(3)
    assert list(await transport.publish(messages("order.placed", 1))) == [Outcome.CONFIRMED]


async def test_a_message_that_one_queue_refuses_reaches_no_other(name: str) -> None:
    shipping = Recorder()
    transport = await opened(name, max_queue=1)
    stuck = await opened(name)
    await stuck.subscribe([BILLING], Recorder())
    await stuck.stop_consuming()
    await transport.subscribe([Subscription("shipping", "order.*")], shipping)
    outcomes = await transport.publish(messages("order.placed", 2))
    await shipping.until_count(1)
    assert list(outcomes) == [Outcome.CONFIRMED, Outcome.REFUSED]
    await transport.publish([message("order.placed", "end")])
    assert shipping.ids() == ["0"]


async def test_a_message_without_a_valid_name_is_refused(name: str) -> None:
    transport = await opened(name)
    nameless = [Message({}, b""), Message({"type": "a..b"}, b""), Message({"type": ""}, b"", broadcast=False)]
    assert list(await transport.publish(nameless)) == [Outcome.REFUSED] * 3


async def test_what_one_subscriber_changes_no_other_sees(name: str) -> None:
    seen: list[str] = []

    def receive(_: Subscription, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            attributes = delivery.message.attributes
            assert isinstance(attributes, dict)
            seen.append(attributes["id"])
            attributes["id"] = "spoiled"

    transport = await opened(name)
    await transport.subscribe([BILLING, Subscription("shipping", "order.*")], receive)
    sent = message("order.placed", "1")
    await transport.publish([sent])
    await asyncio.sleep(0)
    assert seen == ["1", "1"]
    assert sent.id == "1"


async def test_a_receiver_that_raises_robs_no_other_consumer(name: str) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))

    def failing(_: Subscription, __: Sequence[Delivery]) -> None:
        raise ValueError("a fault in the receiver")

    recorder = Recorder()
    first, second = await opened(name), await opened(name)
    await first.subscribe([Subscription("billing", "order.*", prefetch=1)], failing)
    await second.subscribe([BILLING], recorder)
    await second.publish(messages("order.placed", 4))
    await recorder.until_count(3)
    assert [type(complaint) for complaint in complaints] == [ValueError]


async def test_the_queues_of_a_name_live_as_long_as_one_of_its_transports(name: str) -> None:
    consumer, keeper = await opened(name), await opened(name)
    await consumer.subscribe([BILLING], Recorder())
    await consumer.close()
    await keeper.publish(messages("order.placed", 2))
    recorder = Recorder()
    again = await opened(name)
    await again.subscribe([BILLING], recorder)
    await recorder.until_count(2)
    await again.close()
    await keeper.close()
    gc.collect()
    fresh = await opened(name)
    await fresh.publish(messages("order.placed", 1))
    after = Recorder()
    await fresh.subscribe([BILLING], after)
    await fresh.publish([message("order.placed", "end")])
    await after.until_id("end")
    assert after.ids() == ["end"]


async def test_different_names_do_not_meet(name: str) -> None:
    here, there = await opened(name), await opened(f"{name}-2")
    recorder = Recorder()
    await here.subscribe([BILLING], recorder)
    await there.publish(messages("order.placed", 1))
    await here.publish([message("order.placed", "end")])
    await recorder.until_id("end")
    assert recorder.ids() == ["end"]


async def test_another_event_loop_is_refused(name: str) -> None:
    transport = await opened(name)

    def open_elsewhere() -> None:
        asyncio.run(opened(name))

    with pytest.raises(TransportRefusedError, match="another event loop"):
        await asyncio.to_thread(open_elsewhere)

    def publish_elsewhere() -> None:
        asyncio.run(transport.publish(messages("order.placed", 1)))

    with pytest.raises(RuntimeError, match="belongs to the event loop"):
        await asyncio.to_thread(publish_elsewhere)


def test_a_name_is_free_again_when_its_event_loop_was_closed(name: str) -> None:
    kept = [asyncio.run(opened(name)) for _ in range(2)]
    assert all(transport.status().publishing for transport in kept)


async def test_using_it_unopened_or_opening_it_twice_is_an_error(name: str) -> None:
    transport = MemoryTransport(name, TransportSettings())
    with pytest.raises(RuntimeError, match="not open"):
        await transport.subscribe([BILLING], Recorder())
    assert list(await transport.publish(messages("order.placed", 1))) == [Outcome.REFUSED]
    await transport.open()
    with pytest.raises(RuntimeError, match="open already"):
        await transport.open()


def test_the_address_is_the_url_without_options() -> None:
    assert open_url("memory://shop?max_queue=5", TransportSettings()).address == "memory://shop"
    assert open_url("memory://", TransportSettings()).address == "memory://"


@pytest.mark.parametrize(
    "url",
    [
        "memory://shop/path",
        "memory://shop?size=3",
        "memory://shop?max_queue=0",
        "memory://shop?max_queue=many",
        "memory://shop?max_queue=",
        "memory://user@shop",
        "memory://shop:99",
        "memory://shop#part",
    ],
)
def test_a_url_with_anything_unknown_is_an_error(url: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="memory"):
        open_url(url, TransportSettings())
