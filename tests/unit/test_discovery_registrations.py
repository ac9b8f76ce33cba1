"""What a registry knows, and for how long."""

from dataclasses import replace

import pytest

from gemstone_events.rpc.discovery.registrations import Registrations, RegistryFullError
from gemstone_events.rpc.presence import Presence


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def orders(url: str, service: str = "orders") -> Presence:
    return Presence(service=service, instance="1", urls=(url,))


def test_a_registration_lives_as_long_as_it_is_prolonged() -> None:
    clock = Clock()
    known = Registrations(10, clock=clock)
    known.add("http://a", orders("http://a"))
    known.add("http://b", orders("http://b"))
    clock.now = 9.0
    known.add("http://a", orders("http://a"))
    clock.now = 18.0
    assert [presence.urls for presence in known.find("orders")] == [("http://a",)]
    clock.now = 19.0
    assert (known.find("*"), len(known)) == ([], 0)


def test_a_registration_tells_when_it_was_made_or_prolonged() -> None:
    time_of_day = Clock()
    known = Registrations(10, time_of_day=time_of_day)
    for time_of_day.now in (100.0, 107.0):
        known.add("http://a", replace(orders("http://a"), announced=1.0))
        assert [presence.announced for presence in known.find("orders")] == [time_of_day.now]


def test_names_are_found_by_glob_patterns() -> None:
    known = Registrations(10)
    for service in ("orders.eu", "orders.us", "billing"):
        known.add("http://a", orders("http://a", service))
    assert [presence.service for presence in known.find("orders.*")] == ["orders.eu", "orders.us"]
    assert [presence.service for presence in known.find("b?lling")] == ["billing"]
    assert known.find("orders") == []


def test_a_withdrawn_address_is_gone_at_once() -> None:
    known = Registrations(10)
    known.add("http://a", orders("http://a"))
    assert known.remove("orders", "http://a")
    assert not known.remove("orders", "http://a")
    assert known.find("orders") == []


def test_a_full_registry_refuses_new_addresses_and_prolongs_those_it_has() -> None:
    clock = Clock()
    known = Registrations(10, capacity=1, clock=clock)
    known.add("http://a", orders("http://a"))
    known.add("http://a", orders("http://a"))
    with pytest.raises(RegistryFullError, match="holds 1 addresses"):
        known.add("http://b", orders("http://b"))
    clock.now = 10.0
    known.add("http://b", orders("http://b"))
    assert [presence.urls for presence in known.find("*")] == [("http://b",)]
