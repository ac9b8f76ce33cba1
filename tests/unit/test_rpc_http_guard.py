"""Which Host and Origin may call."""

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.loopback import is_loopback
from gemstone_events.rpc.wires.http.guard import HttpGuard


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_loopback_addresses_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com", "127.0.0.1.nip.io"]
)
def test_other_addresses_and_names_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "[::1]", "localhost."])
def test_a_service_on_loopback_is_called_by_its_loopback_names(name: str) -> None:
    assert HttpGuard.for_service("127.0.0.1").allows_host(name)


@pytest.mark.parametrize("name", ["evil.example", "10.0.0.1", "", "127.0.0.1.nip.io", "localhost.evil.example"])
def test_a_service_on_loopback_is_called_by_no_other_name(name: str) -> None:
    assert not HttpGuard.for_service("127.0.0.1").allows_host(name)


def test_the_host_of_accessible_at_and_the_allowed_hosts_may_be_called() -> None:
    guard = HttpGuard.for_service("127.0.0.1", "https://Shop.example:8443/api", ["Internal.example"])

    assert [guard.allows_host(name) for name in ("shop.example", "internal.example", "example")] == [True, True, False]


def test_the_machines_own_name_may_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Node7")

    assert HttpGuard.for_service("127.0.0.1").allows_host("node7")


def test_a_service_that_listens_elsewhere_is_called_by_any_address_but_not_by_any_name() -> None:
    guard = HttpGuard.for_service("0.0.0.0")

    assert [guard.allows_host(name) for name in ("10.1.2.3", "[fe80::1]", "evil.example")] == [True, True, False]


def test_every_host_is_allowed_where_the_author_says_so() -> None:
    assert HttpGuard.for_service("0.0.0.0", allowed_hosts=["*"]).allows_host("anything.example")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:8000", True),
        ("HTTP://LOCALHOST:8000", True),
        ("https://app.example", True),
        ("http://app.example", False),
        ("https://app.example.evil.example", False),
        ("http://localhost:9000", False),
        ("null", False),
        ("", False),
    ],
)
def test_pages_of_the_service_itself_and_of_allowed_origins_may_call(origin: str, allowed: bool) -> None:
    guard = HttpGuard.for_service("127.0.0.1", allowed_origins=["https://App.example/"])

    assert guard.allows_origin(origin, "localhost:8000") is allowed


@pytest.mark.parametrize("host", ["shop.example:8000", "https://shop.example", "*.shop.example", "", "a b"])
def test_an_allowed_host_that_no_request_could_name_is_refused(host: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=r"allowed_hosts holds .* write a name or an address"):
        HttpGuard.for_service("127.0.0.1", allowed_hosts=[host])


@pytest.mark.parametrize(
    "origin",
    [
        *("shop.example", "*", "https://shop.example/page", "https://*.example", "null", ""),
        *("127.0.0.1", "[::1]", "https://shop.example:443", "HTTP://shop.example:80/"),
    ],
)
def test_an_allowed_origin_that_no_page_has_is_refused(origin: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=r"allowed_origins holds .* write scheme and host"):
        HttpGuard.for_service("127.0.0.1", allowed_origins=[origin])


@pytest.mark.parametrize("host", ["::1", "[2001:db8::7]", "10.0.0.1", "under_score", "shop.example."])
def test_addresses_and_names_are_allowed_as_they_are_written(host: str) -> None:
    assert HttpGuard.for_service("127.0.0.1", allowed_hosts=[host]).allows_host(host)
