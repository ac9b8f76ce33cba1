"""What was located is remembered for a while."""

from gemstone_events.rpc.discovery.cache import DummyCache, ServiceDiscoveryCache


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_entry_is_good_for_its_lifetime() -> None:
    clock = Clock()
    cache = ServiceDiscoveryCache(10, clock=clock)
    cache.add_entry("orders", ["http://a", "http://b"])
    clock.now = 9.9
    assert cache.get_entry("orders") == ("http://a", "http://b")
    clock.now = 10.0
    assert cache.get_entry("orders") is None


def test_an_entry_is_replaced_and_begins_anew() -> None:
    clock = Clock()
    cache = ServiceDiscoveryCache(10, clock=clock)
    cache.add_entry("orders", ["http://a"])
    clock.now = 9.0
    cache.add_entry("orders", ["http://b"])
    clock.now = 18.0
    assert cache.get_entry("orders") == ("http://b",)


def test_expired_entries_are_dropped_and_others_stay() -> None:
    clock = Clock()
    cache = ServiceDiscoveryCache(10, clock=clock)
    cache.add_entry("orders", ["http://a"])
    clock.now = 5.0
    cache.add_entry("billing", ["http://b"])
    clock.now = 12.0
    cache.expire_entries()
    assert (cache.get_entry("orders"), cache.get_entry("billing")) == (None, ("http://b",))


def test_nothing_found_is_not_remembered() -> None:
    cache = ServiceDiscoveryCache(10)
    cache.add_entry("orders", [])
    assert cache.get_entry("orders") is None


def test_the_number_of_entries_is_bounded_and_the_oldest_go_first() -> None:
    cache = ServiceDiscoveryCache(10, clock=Clock())
    for number in range(10_001):
        cache.add_entry(f"orders.{number}", ["http://a"])
    assert cache.get_entry("orders.0") is None
    assert cache.get_entry("orders.1") == ("http://a",)
    assert cache.get_entry("orders.10000") == ("http://a",)


def test_the_dummy_remembers_nothing() -> None:
    cache = DummyCache()
    cache.add_entry("orders", ["http://a"])
    assert cache.get_entry("orders") is None
