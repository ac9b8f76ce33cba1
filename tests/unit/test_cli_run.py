"""How the options of ``gemstone run`` reach the services."""

import pytest
import rich_click as click

from gemstone_events import BaseConfigurator, Configurable, MicroService, ServiceConfigurationError
from gemstone_events.cli.command import Failure
from gemstone_events.cli.loading import file_of
from gemstone_events.cli.run import check_ports, configure, read_assignments
from gemstone_events.configuration import CommandLineConfigurator


class Environment(BaseConfigurator):
    """Stands for file and environment."""

    def get(self, name: str) -> object:
        """Return what this test's environment says."""
        return {"port": "7000", "namespace": "staging"}.get(name)


class Billing(MicroService):
    name = "billing"
    configurators = (Environment(), CommandLineConfigurator(["--port", "1"]))


class Shipping(MicroService):
    name = "shop.shipping"
    configurators = ()


def test_options_go_before_the_environment_and_the_environment_before_the_class() -> None:
    service = Billing(namespace="from-the-class")
    configure([service], {"port": "8001"}, {})
    assert (service.port, service.namespace, service.host) == (8001, "staging", "127.0.0.1")


def test_the_command_line_of_the_process_is_not_read_a_second_time() -> None:
    service = Billing()
    configure([service], {}, {})
    assert service.port == 7000


def test_an_option_holds_for_all_services_and_an_assignment_for_one() -> None:
    services = [Billing(), Shipping()]
    configure(services, {"port": "9000"}, read_assignments(["shop.shipping.port=none", "billing.log-level=debug"]))
    assert [(s.port, s.log_level) for s in services] == [(9000, "debug"), (None, "info")]


def test_a_service_that_skips_configuration_still_takes_options() -> None:
    service = Billing(skip_configuration=True)
    configure([service], {"port": "8001"}, {})
    assert (service.port, service.namespace) == (8001, "gemstone")


def test_a_setting_that_the_service_does_not_take_from_outside_is_refused() -> None:
    service = Billing(configurables=[Configurable("port")])
    with pytest.raises(ServiceConfigurationError, match="billing takes no setting 'host' from outside; there are port"):
        configure([service], {"host": "::1"}, {})


def test_an_assignment_for_a_service_that_does_not_run_is_refused() -> None:
    with pytest.raises(click.UsageError, match=r"--set biling\.… is for none of the services that run: billing"):
        configure([Billing()], {}, read_assignments(["biling.port=1"]))


def test_two_services_on_one_port_are_told_apart_from_another_program_there() -> None:
    with pytest.raises(Failure, match=r"billing and shop\.shipping both want port 81: use --set shop\.shipping\.port="):
        check_ports([Billing(port=81), Shipping(port=81)])


def test_one_service_that_is_named_twice_gets_advice_that_does_not_set_both() -> None:
    with pytest.raises(
        Failure, match=r"two instances of billing want port 81: name it once, or give --port 0"
    ) as caught:
        check_ports([Billing(port=81), Billing(port=81)])
    assert "--set" not in caught.value.message


def test_services_may_have_no_port_or_any_free_one_or_one_port_on_two_addresses() -> None:
    check_ports([Billing(port=None), Shipping(port=None)])
    check_ports([Billing(port=0), Shipping(port=0)])
    check_ports([Billing(port=81), Shipping(port=81, host="127.0.0.2")])


@pytest.mark.parametrize("text", ["port=1", "billing.port", ".port=1", "billing.=1", "=1", ""])
def test_an_assignment_that_is_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match=r"SERVICE\.SETTING=VALUE"):
        read_assignments([text])


def test_an_assignment_keeps_dots_and_equals_signs_of_its_value() -> None:
    found = read_assignments(["a.b.event_store=sqlite:///x.y/z.db?a=b"])
    assert found == {"a.b": {"event_store": "sqlite:///x.y/z.db?a=b"}}


@pytest.mark.parametrize(
    ("target", "is_file"),
    [("shop", False), ("shop.billing:Billing", False), ("hello.py", True), ("a/b.py:Hello", True), ("a/b", True)],
)
def test_files_and_modules_are_told_apart(target: str, is_file: bool) -> None:
    assert (file_of(target) is not None) is is_file
