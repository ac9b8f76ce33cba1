"""What every URL is held to, by whomever it is read."""

from collections.abc import Callable

import pytest

from gemstone_events.adapters import make_store, make_transport
from gemstone_events.amqp_url import parse_url
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.allow_list import parse_address
from gemstone_events.rpc.discovery.redis_url import parse_redis_url
from gemstone_events.rpc.wires.amqp.address import parse_any_url, parse_service_url
from gemstone_events.rpc.wires.http.target import read_target
from gemstone_events.rpc.wires.urls import split_url
from gemstone_events.transport import TransportSettings
from gemstone_events.urls import check_visible


@pytest.mark.parametrize("letter", ["\n", "\r", "\t", "\0", "\x1b", "\u2028", "\u200b", "\u202e"])
def test_what_cannot_be_seen_is_refused_without_showing_the_url(letter: str) -> None:
    with pytest.raises(ValueError, match="cannot be seen") as refused:
        check_visible(f"amqp://user:s3cret@ho{letter}st")
    assert "s3cret" not in str(refused.value)


def test_what_can_be_seen_is_not_judged_here() -> None:
    for url in ("", "amqp://host", "http://bücher.example/ä b", "no URL at all"):
        check_visible(url)


@pytest.mark.parametrize("letter", ["\n", "\t", "\u200b"])
@pytest.mark.parametrize(
    ("read", "url", "error"),
    [
        (parse_url, "amqp://u:s3cret@ho{}st/vhost", ServiceConfigurationError),
        (parse_service_url, "amqp://u:s3cret@ho{}st/vhost#orders", ServiceConfigurationError),
        (parse_service_url, "amqp://u:s3cret@ho{}st/vhost/orders?confirms=all", ServiceConfigurationError),
        (parse_any_url, "amqp://u:s3cret@ho{}st?confirms=all", ServiceConfigurationError),
        (read_target, "http://u:s3cret@ho{}st/api", ServiceConfigurationError),
        (split_url, "memory://u:s3cret@b{}us#orders", ServiceConfigurationError),
        (parse_address, "http://ho{}st/api", ValueError),
        (parse_redis_url, "redis://u:s3cret@ho{}st/0", ServiceConfigurationError),
        (lambda url: make_transport(url, TransportSettings()), "memory://b{}us", ServiceConfigurationError),
        (lambda url: make_transport(url, TransportSettings()), "sqlite:///b{}us.db", ServiceConfigurationError),
        (make_store, "sqlite:///st{}ore.db", ServiceConfigurationError),
    ],
)
def test_nobody_drops_what_cannot_be_seen(
    read: Callable[[str], object], url: str, error: type[Exception], letter: str
) -> None:
    read(url.format(""))
    with pytest.raises(error) as refused:
        read(url.format(letter))
    assert "s3cret" not in str(refused.value)
