"""Where settings come from, and which of them wins."""

import pytest

from gemstone_events import Configurable, MicroService, ServiceConfigurationError
from gemstone_events.configuration import (
    CommandLineConfigurator,
    EnvironmentConfigurator,
    TomlConfigurator,
    to_bool,
    to_list,
    to_port,
)


class Billing(MicroService):
    name = "billing"


def configured(*configurators, **settings):
    service = Billing(configurators=configurators, **settings)
    service.configure()
    return service


def test_the_later_configurator_wins(tmp_path, monkeypatch):
    file = tmp_path / "settings.toml"
    file.write_text('host = "a"\nport = 1\nnamespace = "from_file"\n')
    monkeypatch.setenv("GEMSTONE_HOST", "b")
    monkeypatch.setenv("GEMSTONE_PORT", "2")
    service = configured(TomlConfigurator(file), EnvironmentConfigurator(), CommandLineConfigurator(["--port", "3"]))
    assert (service.host, service.port, service.namespace) == ("b", 3, "from_file")


def test_what_is_said_of_one_service_goes_before_what_is_said_of_all(tmp_path, monkeypatch):
    file = tmp_path / "settings.toml"
    file.write_text('port = 1\nhost = "all"\n[billing]\nhost = "mine"\n')
    monkeypatch.setenv("GEMSTONE_PORT", "2")
    monkeypatch.setenv("GEMSTONE_BILLING_PORT", "3")
    service = configured(TomlConfigurator(file), EnvironmentConfigurator())
    assert (service.host, service.port) == ("mine", 3)


def test_the_file_in_the_working_directory_is_taken_and_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configured(TomlConfigurator()).port == 8000
    (tmp_path / "gemstone.toml").write_text("port = 7\n")
    assert configured(TomlConfigurator()).port == 7


def test_a_file_that_was_asked_for_must_be_there_and_be_toml(tmp_path):
    with pytest.raises(ServiceConfigurationError, match="cannot be read"):
        configured(TomlConfigurator(tmp_path / "missing.toml"))
    (tmp_path / "broken.toml").write_text("port = = 3")
    with pytest.raises(ServiceConfigurationError, match="is not TOML"):
        configured(TomlConfigurator(tmp_path / "broken.toml"))


def test_a_misspelled_setting_in_the_file_is_refused_and_the_right_one_suggested(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('event_transprots = ["memory://x"]\n')
    with pytest.raises(ServiceConfigurationError, match=r"'event_transprots'.*did you mean event_transports"):
        configured(TomlConfigurator(file))
    file.write_text("[billing]\nprot = 1\n")
    with pytest.raises(ServiceConfigurationError, match=r"'prot'.*did you mean port"):
        configured(TomlConfigurator(file))
    file.write_text("[another_service]\nwhatever = 1\n")
    assert configured(TomlConfigurator(file)).port == 8000


def test_a_misspelled_variable_is_warned_of(monkeypatch, caplog):
    monkeypatch.setenv("GEMSTONE_PROT", "1")
    monkeypatch.setenv("GEMSTONE_SOMETHING_QUITE_DIFFERENT", "1")
    configured(EnvironmentConfigurator())
    assert [record.getMessage() for record in caplog.records] == [
        "the environment sets GEMSTONE_PROT, which is no setting; did you mean port?"
    ]


@pytest.mark.parametrize("value", ["http", "-1", "65536", "8000.5"])
def test_a_port_that_is_none_is_refused_with_the_setting_named(value):
    with pytest.raises(ServiceConfigurationError, match="'port'"):
        configured(CommandLineConfigurator([f"--port={value}"]))


def test_ports_may_be_random_or_absent():
    assert to_port("random") == 0
    assert to_port("none") is None
    assert to_port(8001) == 8001


def test_a_falsy_value_from_outside_counts(monkeypatch):
    monkeypatch.setenv("GEMSTONE_PORT", "0")
    assert configured(EnvironmentConfigurator()).port == 0


def test_lists_and_switches_are_read_from_text_and_from_toml():
    assert to_list("a, b,,c") == ["a", "b", "c"]
    assert to_list(["a", "b"]) == ["a", "b"]
    assert to_bool("yes")
    assert not to_bool("off")
    with pytest.raises(ValueError, match="true or false"):
        to_bool("perhaps")


def test_options_may_be_spelled_with_dashes_or_underscores():
    assert configured(CommandLineConfigurator(["--data-dir=x"])).data_dir == "x"
    assert configured(CommandLineConfigurator(["--data_dir=y"])).data_dir == "y"


def test_an_unknown_option_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        configured(CommandLineConfigurator(["--prot=1"]))
    assert ended.value.code == 2
    assert "--prot" in capsys.readouterr().err


def test_a_template_makes_the_final_value():
    configurable = Configurable("ints", template=lambda text: [int(item) for item in str(text).split(",")])
    configurable.set_value("1,2,3")
    assert configurable.get_final_value() == [1, 2, 3]


def test_a_service_may_narrow_what_is_configurable():
    service = Billing(configurables=[Configurable("host")], configurators=[CommandLineConfigurator(["--host=h"])])
    service.configure()
    assert service.get_current_configuration() == {"host": "h"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prot": 1}, "no setting 'prot'"),
        ({"max_parallel_blocking_tasks": 0}, "max_parallel_blocking_tasks"),
        ({"endpoint": "api"}, "must begin with '/'"),
        ({"event_transports": "memory://x"}, "is a list"),
        ({"shutdown_timeout": 0}, "shutdown_timeout"),
        ({"port": "80a"}, "port cannot be '80a'"),
        ({"periodic_tasks": [(1, print)]}, "pairs of a function and seconds"),
        ({"periodic_tasks": [(lambda needed: None, 1)]}, "without arguments.*needed"),
        ({"name": "two words"}, "service name"),
        ({"namespace": "a/b"}, "namespace"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_when_the_service_is_made(settings, message):
    with pytest.raises(ServiceConfigurationError, match=message):
        Billing(**settings)


def test_a_service_needs_a_name():
    class Nameless(MicroService):
        pass

    with pytest.raises(ServiceConfigurationError, match="No name defined for the microservice"):
        Nameless()
