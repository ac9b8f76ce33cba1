"""Class attributes of services: those that were meant to be settings are told, those of the author's own are let be."""

import pytest

from gemstone_events import MicroService, ServiceConfigurationError
from gemstone_events.configuration import Configurable, default_configurables


def service_with(**attributes: object) -> type[MicroService]:
    return type("Shop", (MicroService,), {"name": "shop", **attributes})


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("prot", "port"),
        ("naem", "name"),
        ("max_bodi", "max_body"),
        ("maxbody", "max_body"),
        ("event_transport", "event_transports"),
        ("rpc_transport", "rpc_transports"),
        ("plugin", "plugins"),
        ("discovery_strategy", "discovery_strategies"),
        ("service_registries_urls", "service_registry_urls"),
        ("require_authentification", "require_authentication"),
        ("call_timeout_s", "call_timeout"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_one_that_was_meant(misspelt: str, meant: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=rf"Shop\.{misspelt} is no setting; did you mean {meant}\?"):
        service_with(**{misspelt: 8000})()


@pytest.mark.parametrize(
    "own",
    [
        *("hosts", "ports", "versions", "endpoints"),
        *("part", "cost", "mean", "timeout", "hostname", "event_stream", "event_name", "allowed_users", "api_version"),
        *("configuration", "max_body_bytes", "data_directory"),
        *("poll_timeout", "index_retention", "max_concurrent_polls"),
        *("_prot", "__prot__"),
    ],
)
def test_a_constant_of_the_author_s_own_is_let_be(own: str) -> None:
    assert getattr(service_with(**{own: 8000})(), own) == 8000


def test_a_base_of_the_service_is_looked_at_too() -> None:
    class Special(service_with(prot=8000)):  # type: ignore[misc]
        name = "special"

    with pytest.raises(ServiceConfigurationError, match=r"Shop\.prot is no setting"):
        Special()


def test_methods_and_descriptors_may_have_any_name() -> None:
    class Shop(MicroService):
        name = "shop"

        def plugin(self) -> int:
            return 1

        @property
        def module(self) -> int:
            return 2

    assert (Shop().plugin(), Shop().module) == (1, 2)


def test_what_a_base_declares_that_is_no_service_is_not_taken_for_a_setting() -> None:
    class Loaded:
        plugin = "none"

    class Shop(Loaded, MicroService):
        name = "shop"
        plugin = "own"

    assert Shop().plugin == "own"


def test_a_setting_of_the_author_s_own_may_be_like_another() -> None:
    configurables = [*default_configurables(), Configurable("event_stores")]
    assert service_with(event_stores=2, max_bodi=1, configurables=[*configurables, Configurable("max_bodi")])().name


@pytest.mark.parametrize("name", ["store", "url", "unit_of_work", "start"])
def test_a_value_that_hides_what_every_service_has_is_refused(name: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=rf"Shop\.{name} hides what every service has"):
        service_with(**{name: "sqlite:///shop.db"})()


def test_a_private_helper_that_hides_a_part_of_every_service_is_refused() -> None:
    with pytest.raises(ServiceConfigurationError, match=r"Shop\._host hides what every service has by that name"):
        service_with(_host=lambda self: "127.0.0.1")()


def test_a_helper_named_check_keeps_no_setting_from_being_checked() -> None:
    with pytest.raises(ServiceConfigurationError, match="endpoint 'api' must begin with '/'"):
        service_with(_check=lambda self, order: True, endpoint="api")()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("_remote_service_cache", "setting remote_service_cache"),
        ("service_registry_cache", "setting remote_service_cache"),
        ("before_method_call", "on_method_call of a plugin"),
        ("after_method_call", "on_method_call of a plugin"),
        ("on_failed_method_call", "on_internal_error of a plugin"),
    ],
)
def test_what_gemstone_had_by_another_name_is_refused_with_the_name_of_today(old: str, new: str) -> None:
    with pytest.raises(ServiceConfigurationError, match=rf"Shop\.{old} is of gemstone, and has no effect: use .*{new}"):
        service_with(**{old: lambda self, request: None})()
