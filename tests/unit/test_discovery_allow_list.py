"""Which addresses that others name may be called."""

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.allow_list import AllowList, is_on_this_machine, parse_address

EVERYWHERE = ("http://*:*", "http://0.0.0.0/0:*", "http://[::/0]:*", "amqp://*:*")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/api",
        "http://127.8.8.8:1/api",
        "https://127.0.0.1/api",
        "http://[::1]:8000/api",
        "http://[::ffff:127.0.0.1]:8000/api",
        "http://localhost:8000/api",
        "http://LOCALHOST.:8000/api",
    ],
)
def test_services_on_this_machine_are_allowed_by_default(url: str) -> None:
    assert AllowList().refusal(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:8000/api",
        "http://example.org/api",
        "http://localhost.example.org/api",
        "http://[64:ff9b::7f00:1]/api",
        "http://[2002:7f00:1::1]/api",
        "http://[::2]/api",
        "amqp://127.0.0.1:5672/%2F#orders",
        "sqlite:///etc/passwd#orders",
        "memory://bus#orders",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
    ],
)
def test_everything_else_is_refused_by_default(url: str) -> None:
    assert AllowList().refusal(url)


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("http://10.1.0.0/16:*", "http://10.1.2.3:9/api", "http://10.2.0.1:9/api"),
        ("http://10.1.0.0/16:8000", "http://10.1.2.3:8000/api", "http://10.1.2.3:8001/api"),
        ("http://10.1.0.7", "http://10.1.0.7/api", "http://10.1.0.7:8000/api"),
        ("https://10.1.0.7", "https://10.1.0.7:443/api", "http://10.1.0.7:443/api"),
        ("http://[fd00::/8]:8000", "http://[fd12::1]:8000/api", "http://[fe12::1]:8000/api"),
        ("http://orders.internal:8000", "http://Orders.Internal.:8000/api", "http://a.orders.internal:8000/api"),
        ("amqp://broker.example:5672", "amqp://broker.example/shop#orders", "amqp://broker.example:5673/shop#orders"),
        ("sqlite:///srv/bus.db", "sqlite:///srv/bus.db#orders", "sqlite:///srv/bus.db2#orders"),
        ("sqlite:///srv/*", "sqlite:///srv/bus.db#orders", "sqlite:///etc/bus.db#orders"),
        ("memory://bus", "memory://bus#orders", "memory://other#orders"),
    ],
)
def test_a_pattern_allows_what_it_says_and_nothing_more(pattern: str, allowed: str, refused: str) -> None:
    patterns = AllowList([pattern])
    assert (patterns.refusal(allowed), patterns.allows(refused)) == ("", False)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/latest/meta-data",
        "http://[64:ff9b::a9fe:a9fe]/latest/meta-data",
        "http://[2002:a9fe:a9fe::1]/latest/meta-data",
        "http://[fe80::1]/api",
        "http://[fd00:ec2::254]/latest",
        "http://100.100.100.200/latest",
        "http://0.0.0.0:8000/api",
        "http://[::]:8000/api",
        "http://224.0.0.1/api",
        "http://255.255.255.255/api",
    ],
)
def test_what_is_nobodys_service_is_refused_even_where_everything_is_allowed(url: str) -> None:
    assert not AllowList(EVERYWHERE).allows(url)


def test_a_link_local_address_is_allowed_where_it_is_listed_itself() -> None:
    patterns = AllowList(["http://169.254.7.0/24:8000"])
    assert patterns.allows("http://169.254.7.9:8000/api")
    assert not patterns.allows("http://169.254.169.254:8000/api")


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/api",
        "http://0x7f000001/api",
        "http://0x7f.1/api",
        "http://127.1/api",
        "http://0177.0.0.1/api",
        "http://1.2.3.4.5/api",
        "http://2852039166/latest",
    ],
)
def test_a_number_that_only_some_parsers_take_for_an_address_is_refused(url: str) -> None:
    assert AllowList(EVERYWHERE).refusal(url) == "its host is neither a name nor an IP address"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1:8000/api",
        "http://127.0.0.1:8000@evil.example/api",
        "http://127.0.0.1:8000\\@evil.example/api",
        "http://127.0.0.1#@evil.example/api",
        "http://127.0.0.1?@evil.example/api",
        "http://127.0.0.1:8000/api?key=1",
        "http://127.0.0.1:8000/api#fragment",
        "http:///api",
        "http://127.0.0.1:0/api",
        "http://127.0.0.1:65536/api",
        "http://127.0.0.1:-1/api",
        "http://127.0.0.1:8000/a b",
        "http://127.0.0.1:8000/a\r\nHost: evil",
        "http://127.0.0.1:8000/\x00",
        "http://[::1%25eth0]:8000/api",
        "http://[::1/api",
        "http://ⓛocalhost/api",
        "http://127。0。0。1/api",
        " http://127.0.0.1/api",
        "HTTP://127.0.0.1/api",
        "//127.0.0.1/api",
        "127.0.0.1:8000",
        "amqps://127.0.0.1/vhost?cafile=/etc/shadow#orders",
        "",
        "http://127.0.0.1/" + "a" * 2048,
    ],
)
def test_what_two_parsers_may_read_differently_is_refused(url: str) -> None:
    patterns = AllowList([*EVERYWHERE, "http://127.0.0.0/8:*", "http://localhost:*", "amqps://*:*"])
    assert not patterns.allows(url)


@pytest.mark.parametrize(
    "pattern",
    ["", "127.0.0.1", "http://", "http://10.0.0.1/8:*", "http://10.0.0.0/33:*", "http://host:99999", "http://a b:1", 7],
)
def test_a_pattern_that_cannot_be_read_is_an_error_that_says_how_to_write_one(pattern: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=r"write scheme://host:port, as http://10\.1\.0\.0/16"):
        AllowList([pattern])


@pytest.mark.parametrize("path", ["/srv/bus/../../etc/x.db", "/srv/bus/%2e%2e/x.db", "/srv/bus/.%2E/x.db"])
def test_a_path_that_leads_out_of_an_allowed_folder_is_refused(path: str) -> None:
    assert AllowList(["sqlite:////srv/bus/*"]).allows("sqlite:////srv/bus/a..b.db#orders")
    assert AllowList(["sqlite:////srv/bus/*"]).refusal(f"sqlite:///{path}#orders") == "its path leads upwards"


def test_the_password_of_a_pattern_that_is_none_is_not_shown() -> None:
    with pytest.raises(ServiceConfigurationError) as caught:
        AllowList(["amqp://user:secret@host:5672"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000/api", True),
        ("http://[::ffff:127.0.0.1]:8000/api", True),
        ("http://localhost/api", True),
        ("sqlite:///bus.db#orders", True),
        ("memory://bus#orders", True),
        ("http://10.0.0.1/api", False),
        ("amqp://user:secret@broker.example/vhost", False),
    ],
)
def test_loopback_files_and_memory_are_on_this_machine(url: str, expected: bool) -> None:
    assert is_on_this_machine(url) is expected


def test_a_url_is_taken_apart_with_the_port_of_its_scheme() -> None:
    address = parse_address("amqp://Broker.example./shop#orders")
    assert (address.scheme, address.host, address.ip, address.port) == ("amqp", "broker.example", None, 5672)
