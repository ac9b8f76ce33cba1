"""AMQP URLs."""

import pytest

from gemstone_events.amqp_url import parse_url
from gemstone_events.errors import ServiceConfigurationError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://host", ("host", 5672, "guest", "guest", "/", False)),
        ("amqp://host/", ("host", 5672, "guest", "guest", "/", False)),
        ("amqp://u:p@host:1234//", ("host", 1234, "u", "p", "/", False)),
        ("amqp://u:p@host/%2F", ("host", 5672, "u", "p", "/", False)),
        ("amqp://u:p@host/orders", ("host", 5672, "u", "p", "orders", False)),
        ("amqp://u:@host/a%2Fb", ("host", 5672, "u", "", "a/b", False)),
        ("amqp://a%40b:p%3A%2F%3F%23@host", ("host", 5672, "a@b", "p:/?#", "/", False)),
        ("amqps://host", ("host", 5671, "guest", "guest", "/", True)),
        ("amqp://[::1]:99/x", ("::1", 99, "guest", "guest", "x", False)),
    ],
)
def test_a_url_is_read(url: str, expected: tuple[object, ...]) -> None:
    broker = parse_url(url)
    found = (broker.host, broker.port, broker.user, broker.password, broker.virtual_host, broker.tls)
    assert found == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://host", "neither amqp nor amqps"),
        ("amqp://", "names no host"),
        ("amqp://host:port", "cannot be read"),
        ("amqp://ho\nst", "cannot be seen"),
        ("amqp://host:70000", "cannot be read"),
        ("amqp://host/a/b", "virtual host"),
        ("amqp://host#x", "fragment"),
        ("amqp://host?heartbeat=3", "takes no options"),
        ("amqps://host?verify=verify_none", "'verify' is unknown"),
        ("amqps://host?ssl_cert_reqs=none", "'ssl_cert_reqs' is unknown"),
        ("amqps://host?cafile=", "empty or given twice"),
        ("amqps://host?cafile=a&cafile=b", "empty or given twice"),
        ("amqps://host?keyfile=k", "needs 'certfile'"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_its_reason(url: str, reason: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=reason):
        parse_url(url)


@pytest.mark.parametrize("url", ["amqp://user:se/cret@host", "amqp://user:se#cret@host", "amqp://user:cret@host:se"])
def test_an_error_never_shows_the_password(url: str) -> None:
    with pytest.raises(ServiceConfigurationError) as caught:
        parse_url(url)
    assert "cret" not in str(caught.value)
    assert "%2F" in str(caught.value)


def test_the_address_holds_no_credentials_and_no_options() -> None:
    broker = parse_url("amqps://user:secret@host/a%2Fb?cafile=/ca.pem&certfile=/c.pem&keyfile=/k.pem")
    assert broker.address == "amqps://host:5671/a%2Fb"
    assert "secret" not in repr(broker)
    assert (broker.cafile, broker.certfile, broker.keyfile) == ("/ca.pem", "/c.pem", "/k.pem")
    assert parse_url("amqp://[::1]//").address == "amqp://[::1]:5672/%2F"
