"""Where a service is called through RabbitMQ."""

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.wires.amqp.address import call_queue, parse_any_url, parse_service_url, presence_exchange


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://u:p@host:1234/vhost#orders", "amqp://host:1234/vhost#orders"),
        ("amqp://host//#orders", "amqp://host:5672/%2F#orders"),
        ("amqp://host#orders", "amqp://host:5672/%2F#orders"),
        ("amqp://host/#orders", "amqp://host:5672/%2F#orders"),
        ("amqp://host/orders", "amqp://host:5672/%2F#orders"),
        ("amqp://host//orders", "amqp://host:5672/%2F#orders"),
        ("amqp://host/%2F/orders", "amqp://host:5672/%2F#orders"),
        ("amqp://host/vhost/orders.archive", "amqp://host:5672/vhost#orders.archive"),
        ("amqp://host/a%2Fb/orders", "amqp://host:5672/a%2Fb#orders"),
        ("amqps://u:p@host/vhost/orders?cafile=/x", "amqps://host:5671/vhost#orders"),
        ("amqps://u:p@[::1]/vhost?cafile=/x#orders", "amqps://[::1]:5671/vhost#orders"),
    ],
)
def test_a_service_has_one_address_however_it_is_written(url: str, shown: str) -> None:
    assert parse_service_url(url).shown == shown
    assert parse_service_url(shown).shown == shown


@pytest.mark.parametrize(
    "url",
    [
        "amqp://u:s3cret@host",
        "amqp://u:s3cret@host/",
        "amqp://u:s3cret@host//",
        "amqp://u:s3cret@host/vhost#",
        "amqp://u:s3cret@host/vhost/",
        "amqp://u:s3cret@host/vhost#two words",
        "amqp://u:s3cret@ho\nst/vhost#orders",
        "amqp://u:s3cret@ho\nst/vhost/orders",
        "amqp://u:s3cret@ho\nst/vhost?confirms=all#orders",
        "amqp://u:s3cret@[::1/vhost#orders",
        "amqp://u:s3cret@[::1/vhost/orders",
        "amqp://u:s3cret@host/vhost#a#b",
        "amqp://u:s3cret@host/a/b/orders",
        "amqp://u:s3cret@host/a/b#orders",
        "amqp://u:s3cret@host:port/vhost#orders",
        "amqp:///vhost#orders",
        "http://u:s3cret@host/orders",
    ],
)
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="Write amqp") as raised:
        parse_service_url(url)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "confirms_calls"),
    [
        ("amqp://u:p@host/vhost?confirms=all#orders", True),
        ("amqp://u:p@host/vhost?confirms=notifications#orders", False),
        ("amqp://u:p@host/vhost#orders", False),
        ("amqp://u:p@host/vhost/orders?confirms=all", True),
        ("amqps://u:p@host/vhost?cafile=/a%20b&confirms=all#orders", True),
    ],
)
def test_what_the_broker_confirms_is_an_option(url: str, confirms_calls: bool) -> None:
    address = parse_service_url(url)
    assert address.confirms_calls is confirms_calls
    assert address.shown.partition("/vhost")[1:] == ("/vhost", "#orders")
    assert address.broker.cafile == ("/a b" if address.broker.tls else "")


@pytest.mark.parametrize("options", ["confirms=some", "confirms=", "confirms=all&confirms=all", "confirms=all&x=1"])
def test_other_options_are_refused(options: str) -> None:
    with pytest.raises(ServiceConfigurationError):
        parse_service_url(f"amqp://u:s3cret@host/vhost?{options}#orders")


@pytest.mark.parametrize(
    ("url", "virtual_host"),
    [
        ("amqp://host", "/"),
        ("amqp://host//", "/"),
        ("amqp://host/vhost", "vhost"),
        ("amqp://host/vhost?confirms=all", "vhost"),
        ("amqp://host?confirms=all", "/"),
        ("amqp://host/vhost#orders", "vhost"),
        ("amqp://host/vhost/orders", "vhost"),
        ("amqp://host//orders", "/"),
    ],
)
def test_a_brokers_url_stands_for_itself_where_any_will_do(url: str, virtual_host: str) -> None:
    assert parse_any_url(url).virtual_host == virtual_host


def test_a_brokers_url_with_a_line_break_is_refused() -> None:
    with pytest.raises(ServiceConfigurationError, match="cannot be seen"):
        parse_any_url("amqp://ho\nst/vhost?confirms=all")


def test_names_on_the_broker_begin_with_the_namespace() -> None:
    assert call_queue("shop", "orders") == "shop.rpc.orders"
    assert presence_exchange("shop") == "shop.rpc.presence"
