"""URLs: which adapter answers, and what may be shown of them."""

from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path

import pytest

from gemstone_events import schemes as schemes_module
from gemstone_events.adapters import STORES, TRANSPORTS, make_store, make_transport
from gemstone_events.errors import ServiceConfigurationError, UnknownSchemeError
from gemstone_events.schemes import mask, schemes
from gemstone_events.transport import TransportSettings


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:secret@host:5672//", "amqp://user:***@host:5672//"),
        ("amqp://:secret@host", "amqp://:***@host"),
        ("amqp://user@host//", "amqp://user@host//"),
        ("amqp://user:@host", "amqp://user:***@host"),
        ("amqp://us%3Aer:se%40cret@host/v", "amqp://us%3Aer:***@host/v"),
        ("redis://:pass:word@[::1]:6379/0", "redis://:***@[::1]:6379/0"),
        ("sqlite:///.gemstone/bus.db", "sqlite:///.gemstone/bus.db"),
        ("memory://", "memory://"),
        ("memory:", "memory:"),
        ("http://host:80/path", "http://host:80/path"),
        ("cannot reach amqp://host:5672 for a@b", "cannot reach amqp://host:5672 for a@b"),
        ("amqp://a:secret1@h1, amqp://b:secret2@h2", "amqp://a:***@h1, amqp://b:***@h2"),
        ("", ""),
    ],
)
def test_a_shown_url_has_no_password(url: str, shown: str) -> None:
    assert mask(url) == shown


@pytest.mark.parametrize("password", ["p@ss", "a/b", "a#b?c", "a:b", "@", "[1]", "%"])
def test_a_password_that_should_have_been_escaped_is_not_shown_either(password: str) -> None:
    assert mask(f"amqp://user:{password}@host:5672//") == "amqp://user:***@host:5672//"


def test_our_own_schemes_are_installed() -> None:
    assert {"amqp", "amqps", "memory", "sqlite"} <= set(schemes(TRANSPORTS))
    assert {"memory", "sqlite"} <= set(schemes(STORES))
    assert list(schemes(TRANSPORTS)) == sorted(schemes(TRANSPORTS))


@pytest.mark.parametrize("url", ["", "kafka://host", "sqlite", "AMQP//host", "://", "nats://user:secret@host"])
def test_an_unknown_scheme_names_what_is_installed_and_no_password(url: str) -> None:
    with pytest.raises(UnknownSchemeError, match=r"no transport answers to .*amqp:.*memory:.*sqlite:") as caught:
        make_transport(url, TransportSettings())
    assert "secret" not in str(caught.value)
    with pytest.raises(UnknownSchemeError, match=r"no store answers to .*memory:.*sqlite:"):
        make_store(url)


def test_making_an_adapter_opens_nothing() -> None:
    transport = make_transport("amqp://nobody:secret@127.0.0.1:1//", TransportSettings())
    assert "secret" not in transport.address
    assert make_store("memory:").durable is False


def test_a_third_partys_adapter_is_found_like_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = schemes(TRANSPORTS)["memory"]
    theirs = EntryPoint("carrier-pigeon", ours.value, TRANSPORTS)
    monkeypatch.setattr(schemes_module, "_installed", lambda path: EntryPoints([theirs]).select)
    assert list(schemes(TRANSPORTS)) == ["carrier-pigeon"]
    with pytest.raises(UnknownSchemeError, match="installed are carrier-pigeon:"):
        make_transport("amqp://host", TransportSettings())


def test_what_is_installed_is_searched_once_for_each_path_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = []

    def search() -> EntryPoints:
        searches.append(1)
        return entry_points()

    monkeypatch.setattr(schemes_module, "entry_points", search)
    schemes_module._installed.cache_clear()
    before = [schemes(TRANSPORTS), schemes(STORES), schemes(TRANSPORTS)]
    assert (len(searches), before[0]) == (1, before[2])
    pigeons = tmp_path / "pigeons-1.0.dist-info"
    pigeons.mkdir()
    (pigeons / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (pigeons / "entry_points.txt").write_text("[gemstone_events.transports]\ncarrier-pigeon = pigeons:open_url\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert schemes(TRANSPORTS).keys() - before[0].keys() == {"carrier-pigeon"}
    assert len(searches) == 2


@pytest.mark.parametrize("broken", ["no_such_module:open_url", "gemstone_events.errors:open_url"])
def test_an_adapter_that_cannot_be_loaded_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    theirs = EntryPoints(EntryPoint("pigeon", broken, group) for group in (TRANSPORTS, STORES))
    monkeypatch.setattr(schemes_module, "_installed", lambda path: theirs.select)
    with pytest.raises(ServiceConfigurationError, match=r"the transport for pigeon: .* cannot be loaded"):
        make_transport("pigeon://loft", TransportSettings())
    with pytest.raises(ServiceConfigurationError, match=r"the store for pigeon: .* cannot be loaded"):
        make_store("pigeon://loft")
