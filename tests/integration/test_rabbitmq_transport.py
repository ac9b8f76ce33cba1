"""The RabbitMQ transport and a real node: what the contract suite, which knows no broker, cannot ask."""

import asyncio
import random
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import amqp
import pytest

from gemstone_events import codec, names
from gemstone_events.amqp_url import parse_url
from gemstone_events.errors import DecodeError, TransportRefusedError
from gemstone_events.testing.transport_contract_harness import (
    Recorder,
    Transports,
    eventually,
    ids,
    keep,
    message,
    messages,
    publish,
)
from gemstone_events.transport import Outcome, Subscription, TransportSettings
from gemstone_events.transports.rabbitmq import RabbitMQTransport, open_url

LONG = 3600.0
"""Seconds that no test lives to see."""


@pytest.fixture
async def transports(rabbitmq_url: str, namespace: str) -> AsyncIterator[Transports]:
    given = Transports(lambda settings: open_url(rabbitmq_url, settings), namespace)
    yield given
    await given.close()


@pytest.fixture
def plain(rabbitmq_url: str) -> Iterator[amqp.Channel]:
    """A channel of a plain client that knows nothing of us."""
    with plain_connection(rabbitmq_url) as connection:
        yield connection.channel()


def plain_connection(url: str) -> amqp.Connection:
    parts = urlsplit(url)
    return amqp.Connection(f"{parts.hostname}:{parts.port}", parts.username, parts.password, login_method="PLAIN")


async def test_a_wrong_password_is_refused_and_not_shown(rabbitmq_url: str) -> None:
    parts = urlsplit(rabbitmq_url)
    url = f"amqp://{parts.username}:s3cret@{parts.hostname}:{parts.port}//"
    transport = open_url(url, TransportSettings())
    with pytest.raises(TransportRefusedError, match=r"ACCESS_REFUSED|refused") as caught:
        await transport.open()
    assert "s3cret" not in str(caught.value) + transport.status().detail + transport.address
    assert not transport.status().publishing
    await transport.close()


async def test_a_virtual_host_that_does_not_exist_is_refused(rabbitmq_url: str) -> None:
    transport = open_url(rabbitmq_url.removesuffix("//") + "/nowhere", TransportSettings())
    with pytest.raises(TransportRefusedError, match="vhost"):
        await transport.open()
    await transport.close()


async def test_tls_at_a_port_that_speaks_none_is_refused(rabbitmq_url: str) -> None:
    transport = open_url(rabbitmq_url.replace("amqp:", "amqps:"), TransportSettings())
    with pytest.raises(TransportRefusedError, match="no TLS"):
        await transport.open()
    await transport.close()


async def test_a_port_where_nobody_listens_is_no_error_but_shows_in_the_status(free_address: str) -> None:
    transport = open_url(f"amqp://guest:guest@{free_address}//", TransportSettings())
    await transport.open()
    await transport.subscribe([Subscription("billing", "order.*")], Recorder())
    status = transport.status()
    assert (status.publishing, status.consuming) == (False, False)
    assert free_address in status.detail
    assert await transport.publish([message("order.placed", "1")]) == [Outcome.REFUSED]
    await transport.close()


async def test_a_server_that_speaks_no_amqp_is_no_reason_to_hang() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport = open_url(f"amqp://127.0.0.1:{port}//", TransportSettings())
        await transport.open()
        assert not transport.status().publishing
        await transport.close()


async def test_a_queue_declared_otherwise_is_refused_by_name_with_a_remedy(
    transports: Transports, plain: amqp.Channel, namespace: str
) -> None:
    name = f"{namespace}.group.billing:order.*"
    plain.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "classic"})
    transport = await transports.open()
    with pytest.raises(TransportRefusedError) as caught:
        await transport.subscribe([Subscription("billing", "order.*")], Recorder())
    assert name in str(caught.value)
    assert "delete_queue" in str(caught.value)
    plain.queue_delete(name)


async def test_an_exchange_declared_otherwise_is_refused_by_name(
    transports: Transports, plain: amqp.Channel, namespace: str
) -> None:
    plain.exchange_declare(f"{namespace}.events", "fanout", durable=True, auto_delete=False)
    with pytest.raises(TransportRefusedError, match=rf"{namespace}\.events"):
        await transports.make().open()
    plain.exchange_delete(f"{namespace}.events")


async def test_a_work_queue_declared_otherwise_refuses_its_own_messages_alone(
    transports: Transports, plain: amqp.Channel, namespace: str
) -> None:
    name = f"{namespace}.work.invoice.print"
    plain.queue_declare(name, durable=True, auto_delete=False, arguments={"x-max-length": 3})
    transport = await transports.open()
    sent = [message("invoice.print", "1", broadcast=False), message("a", "2", broadcast=False), message("a", "3")]
    assert await transport.publish(sent) == [Outcome.REFUSED, Outcome.CONFIRMED, Outcome.CONFIRMED]
    assert name in transport.status().detail
    plain.queue_delete(name)
    await publish(transport, sent)
    assert transport.status().detail == ""


async def test_work_that_comes_back_is_refused_and_its_queue_declared_again(
    transports: Transports, plain: amqp.Channel, namespace: str
) -> None:
    transport = await transports.open()
    await publish(transport, messages("print", 3, broadcast=False))
    plain.queue_delete(f"{namespace}.work.print")
    sent = [message("print", "a", broadcast=False), message("other", "b"), message("print", "c", broadcast=False)]
    assert await transport.publish(sent) == [Outcome.REFUSED, Outcome.CONFIRMED, Outcome.REFUSED]
    assert await transport.publish(sent) == [Outcome.CONFIRMED] * 3
    assert plain.queue_declare(f"{namespace}.work.print", passive=True).message_count == 2


async def test_an_exchange_deleted_under_the_publisher_is_declared_again(
    transports: Transports, plain: amqp.Channel, namespace: str
) -> None:
    recorder, subscription = Recorder(), Subscription("billing", "a")
    await transports.consume(recorder, subscription)
    publisher = await transports.open()
    plain.exchange_delete(f"{namespace}.events")
    assert await publisher.publish([message("a", "1")]) == [Outcome.UNKNOWN]
    await eventually(lambda: publisher.status().publishing, "the publisher to come back")
    assert await publisher.publish([message("a", "2")]) == [Outcome.CONFIRMED]


async def test_a_queue_deleted_under_its_consumer_is_declared_and_consumed_again(
    transports: Transports, plain: amqp.Channel, namespace: str
) -> None:
    recorder, subscription = Recorder(), Subscription("billing", "order.*")
    consumer = await transports.consume(recorder, subscription)
    publisher = await transports.open()
    await publish(publisher, [message("order.placed", "before")])
    await recorder.until_id("before")
    consumer.changed.clear()
    plain.queue_delete(f"{namespace}.group.billing:order.*")
    await asyncio.wait_for(consumer.changed.wait(), 30)
    await eventually(lambda: consumer.status().consuming, "the consumer to come back")
    await publish(publisher, [message("order.placed", "after")])
    await recorder.until_id("after")


async def test_a_consumer_that_the_broker_lost_is_found_by_asking(rabbitmq_url: str, namespace: str) -> None:
    transport = RabbitMQTransport(parse_url(rabbitmq_url), TransportSettings(namespace=namespace), watch_interval=0.2)
    recorder = Recorder()
    await transport.open()
    await transport.subscribe([Subscription("billing", "a")], recorder)
    assert transport._consuming is not None
    assert transport._consuming.session is not None
    lost = transport._consuming.session
    lost.stop()
    await asyncio.wait_for(lost.ended, 30)
    assert "no consumer" in await lost.ended
    await eventually(lambda: transport.status().consuming, "the consumer to come back")
    await publish(transport, [message("a", "1")])
    await recorder.until_id("1")
    await transport.close()


async def test_a_lost_consumer_is_found_though_another_process_consumes_from_the_queue(
    transports: Transports, rabbitmq_url: str, namespace: str
) -> None:
    settings = TransportSettings(namespace=namespace)
    subscription = Subscription("billing", "a", prefetch=1)
    transport = RabbitMQTransport(parse_url(rabbitmq_url), settings, watch_interval=0.2)
    recorder, other = Recorder(), Recorder(keep)
    await transport.open()
    await transport.subscribe([subscription], recorder)
    assert transport._consuming is not None
    assert transport._consuming.session is not None
    lost = transport._consuming.session
    lost.stop()
    await transports.consume(other, subscription)
    await publish(transport, messages("a", 3))
    await asyncio.wait_for(lost.ended, 30)
    assert "wait in the queue" in await lost.ended
    await recorder.until_count(2)
    assert len(other.arrived) == 1
    await transport.close()


async def test_a_consumer_that_is_busy_is_not_taken_for_lost(
    transports: Transports, rabbitmq_url: str, namespace: str
) -> None:
    settings = TransportSettings(namespace=namespace)
    transport = RabbitMQTransport(parse_url(rabbitmq_url), settings, watch_interval=LONG)
    recorder = Recorder(keep)
    await transport.open()
    await transport.subscribe([Subscription("billing", "a", prefetch=2)], recorder)
    await publish(transport, messages("a", 5))
    await recorder.until_count(2)
    assert transport._consuming is not None
    assert transport._consuming.session is not None
    session = transport._consuming.session
    for _ in range(3):
        await session.check()
    assert not session.ended.done()
    await transport.close()


async def test_strangers_messages_are_delivered_whatever_they_are(
    transports: Transports, plain: amqp.Channel, namespace: str
) -> None:
    recorder, subscription = Recorder(), Subscription("billing", "#")
    await transports.consume(recorder, subscription)
    strange = [
        amqp.Message(b'{"plain": true}', content_type="application/json", message_id="plain", type="a"),
        amqp.Message(b"\x80\x04\x95", content_type="application/x-python-serialize"),
        amqp.Message(b"BZh9", content_type="application/json", application_headers={"compression": "bzip2"}),
        amqp.Message(b"\x1f\x8b", content_type="application/json", content_encoding="gzip"),
        amqp.Message(b"", application_headers={"cloudEvents:nested": {"a": [1, None, 1.5]}, "x": "y" * 70_000}),
    ]
    for one in strange:
        plain.basic_publish(one, f"{namespace}.events", "a")
    whole = {f"cloudEvents:{name}": value for name, value in message("a", "whole").attributes.items()}
    whole.pop("cloudEvents:datacontenttype")
    plain.basic_publish(
        amqp.Message(b'{"x": 1}', content_type="application/json", application_headers=whole),
        f"{namespace}.events",
        "a",
    )
    await recorder.until_count(6)
    arrived = [delivery.message for delivery in recorder.deliveries()]
    assert [one.body for one in arrived[:5]] == [
        one.body.encode("latin-1") if isinstance(one.body, str) else one.body for one in strange
    ]
    assert (arrived[0].id, arrived[0].type) == ("plain", "a")
    for one in arrived[:5]:
        with pytest.raises(DecodeError):
            codec.decode(one)
    assert codec.decode(arrived[5]).data == {"x": 1}


async def test_a_plain_client_reads_our_messages(transports: Transports, plain: amqp.Channel, namespace: str) -> None:
    transport = await transports.open()
    queue = plain.queue_declare("", exclusive=True).queue
    plain.queue_bind(queue, f"{namespace}.events", "order.*")
    sent = message("order.placed", "event-1", body=b'{"total": 3}')
    await publish(transport, [sent])
    got: list[amqp.Message] = []
    await eventually(lambda: bool(got.append(plain.basic_get(queue, no_ack=True)) or got[-1]), "the message")
    read = got[-1]
    assert read.body in (sent.body, sent.body.decode())
    expected = {f"cloudEvents:{name}": value for name, value in sent.attributes.items()}
    assert read.properties["content_type"] == expected.pop("cloudEvents:datacontenttype")
    assert read.properties["application_headers"] == expected
    assert read.properties["message_id"] == "event-1"
    assert read.properties["type"] == "order.placed"
    assert read.properties["delivery_mode"] == 2


async def test_bodies_of_every_size_arrive_whole(transports: Transports) -> None:
    recorder, subscription = Recorder(), Subscription("billing", "a")
    await transports.consume(recorder, subscription)
    publisher = await transports.open()
    draw = random.Random(7)
    sizes = [0, 1, 65_535, 131_063, 131_064, 131_065, 262_128, 1_048_576, 5_000_001]
    sent = [message("a", str(size), body=draw.randbytes(size)) for size in sizes]
    await publish(publisher, sent)
    await recorder.until_count(len(sizes))
    assert {delivery.message.id: delivery.message.body for delivery in recorder.deliveries()} == {
        one.id: one.body for one in sent
    }


async def test_more_messages_than_may_be_unconfirmed_at_once_are_published_in_order(transports: Transports) -> None:
    recorder, subscription = Recorder(), Subscription("billing", "a", prefetch=1000)
    await transports.consume(recorder, subscription)
    publisher = await transports.open()
    sent = messages("a", 10_000)
    assert set(await publisher.publish(sent)) == {Outcome.CONFIRMED}
    await recorder.until_count(len(sent))
    assert recorder.ids() == ids(sent)


async def test_many_may_publish_at_once(transports: Transports) -> None:
    recorder, subscription = Recorder(), Subscription("billing", "a", work_queue=True, prefetch=100)
    await transports.consume(recorder, subscription)
    publisher = await transports.open()
    outcomes = await asyncio.gather(
        *(publisher.publish(messages("a", 5, broadcast=False, prefix=f"{caller}-")) for caller in range(200))
    )
    assert all(outcome is Outcome.CONFIRMED for answer in outcomes for outcome in answer)
    await recorder.until_count(1000)
    assert set(recorder.counts().values()) == {1}


async def test_a_stall_of_some_seconds_does_not_cost_the_connection(transports: Transports) -> None:
    transport = await transports.open()
    assert isinstance(transport, RabbitMQTransport)
    assert transport._publishing.session is not None
    sock = transport._publishing.session.connection._sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000  # py-amqp: one second


async def test_a_message_that_amqp_cannot_carry_is_refused_alone(transports: Transports) -> None:
    publisher = await transports.open()
    huge = message("a", "huge")
    huge = type(huge)({**huge.attributes, "subject": "x" * 200_000}, b"{}")
    outcomes = await publisher.publish([message("a", "1"), huge, message("a", "2")])
    assert outcomes == [Outcome.CONFIRMED, Outcome.REFUSED, Outcome.CONFIRMED]


async def test_a_publisher_that_is_cancelled_disturbs_no_other(transports: Transports) -> None:
    publisher = await transports.open()
    given_up = asyncio.create_task(publisher.publish(messages("a", 500)))
    await asyncio.sleep(0)
    given_up.cancel()
    assert set(await publisher.publish(messages("a", 500, prefix="other-"))) == {Outcome.CONFIRMED}


async def test_no_more_than_the_prefetch_is_unsettled_at_once(transports: Transports) -> None:
    recorder, subscription = Recorder(keep), Subscription("billing", "a", prefetch=3)
    await transports.consume(recorder, subscription)
    publisher = await transports.open()
    await publish(publisher, messages("a", 20))
    for settled in range(18):
        await recorder.until_count(3 + settled)
        assert len(recorder.deliveries()) == 3 + settled
        recorder.deliveries()[settled].ack()
    await recorder.until_count(20)


async def test_deliveries_on_their_way_when_consuming_stops_go_to_another(transports: Transports) -> None:
    first, second, subscription = Recorder(keep), Recorder(), Subscription("billing", "a", prefetch=50)
    consumer = await transports.consume(first, subscription)
    publisher = await transports.open()
    publishing = asyncio.create_task(publish(publisher, messages("a", 2000)))
    await first.until_count(1)
    await consumer.stop_consuming()
    handed_out = len(first.deliveries())
    await transports.consume(second, subscription)
    await publishing
    await second.until_count(2000 - handed_out)
    assert len(first.deliveries()) == handed_out
    assert not consumer.status().consuming
    for delivery in first.deliveries():
        delivery.ack()
    await consumer.close()
    assert sorted(first.ids() + second.ids()) == sorted(ids(messages("a", 2000)))


async def test_the_broker_matches_patterns_as_we_do(
    transports: Transports, plain: amqp.Channel, namespace: str
) -> None:
    draw = random.Random(20)
    patterns = sorted({_words(draw, ("a", "b", "c", "*", "#")) for _ in range(600)})
    events = sorted({_words(draw, ("a", "b", "c")) for _ in range(200)})
    transport = await transports.open()
    matched: dict[str, set[str]] = {pattern: set() for pattern in patterns}
    for pattern in patterns:
        queue = plain.queue_declare("", exclusive=True).queue
        plain.queue_bind(queue, f"{namespace}.events", pattern)
        plain.basic_consume(queue, no_ack=True, callback=_collect(matched[pattern]))
    await publish(transport, [message(event, str(uuid.uuid4())) for event in events])
    expected = {pattern: {event for event in events if names.matches(pattern, event)} for pattern in patterns}
    total = sum(map(len, expected.values()))

    def drain() -> None:
        while sum(map(len, matched.values())) < total:
            plain.connection.drain_events(timeout=10)

    await asyncio.to_thread(drain)
    assert len(patterns) > 300
    assert matched == expected


def _words(draw: random.Random, words: tuple[str, ...]) -> str:
    return ".".join(draw.choice(words) for _ in range(draw.randint(1, 5)))


def _collect(into: set[str]) -> Callable[[amqp.Message], None]:
    return lambda delivered: into.add(delivered.delivery_info["routing_key"])


@pytest.fixture
async def free_address() -> str:
    """An address of this machine where nobody listens."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"127.0.0.1:{port}"
