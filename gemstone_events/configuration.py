"""Settings from outside: configurables say what may be set, configurators say where values come from.

The later of two configurators wins: class attributes < file < environment < command line.
"""

import argparse
import difflib
import logging
import os
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from environs import Env

from gemstone_events.errors import ServiceConfigurationError

PREFIX = "GEMSTONE_"
DEFAULT_FILE = "gemstone.toml"

_log = logging.getLogger(__name__)


class Configurable:
    """One setting that may come from outside.

    Args:
        name: the service's attribute that it sets.
        template: makes the final value of what was found (text, or any TOML value); it may raise ValueError.
        help: one line for people.
    """

    def __init__(self, name: str, *, template: Callable[[object], object] | None = None, help: str = "") -> None:
        self.name = name
        self.help = help
        self._template = template
        self._value: object = None

    def set_value(self, value: object) -> None:
        """Take the value that was found."""
        self._value = value

    def get_final_value(self) -> object:
        """Return the value as the service gets it.

        Raises:
            ServiceConfigurationError: the template refuses it.
        """
        if self._template is None:
            return self._value
        try:
            return self._template(self._value)
        except (TypeError, ValueError) as error:
            raise ServiceConfigurationError(f"setting {self.name!r} cannot be {self._value!r}: {error}") from None


class BaseConfigurator:
    """Finds values for the configurables that were registered with it."""

    def __init__(self) -> None:
        self.configurables: list[Configurable] = []
        self.service_name = ""

    def register_configurable(self, configurable: Configurable) -> None:
        """Look for this setting too."""
        self.configurables.append(configurable)

    def get_configurable_by_name(self, name: str) -> Configurable | None:
        """Return the registered configurable of that name, or None."""
        return next((c for c in self.configurables if c.name == name), None)

    def load(self) -> None:
        """Read the source; called once, after all configurables are registered."""

    def get(self, name: str) -> object:
        """Return the value found for a setting, or None where there is none."""
        raise NotImplementedError


class CommandLineConfigurator(BaseConfigurator):
    """Takes ``--name value`` for each configurable from the command line; ``--help`` lists them.

    Args:
        arguments: what to read instead of the process's own command line.
    """

    def __init__(self, arguments: Sequence[str] | None = None) -> None:
        super().__init__()
        self._arguments = arguments
        self._found: Mapping[str, object] = {}

    def load(self) -> None:
        """Parse the command line; a mistake in it ends the process with a usage message and status 2."""
        parser = argparse.ArgumentParser(description=f"Run the service {self.service_name}.")
        for configurable in self.configurables:
            option, help = configurable.name.replace("_", "-"), configurable.help.replace("%", "%%")
            parser.add_argument(f"--{option}", dest=configurable.name, help=help, metavar="VALUE")
        arguments = sys.argv[1:] if self._arguments is None else self._arguments
        self._found = vars(parser.parse_args([_with_dashes(argument) for argument in arguments]))

    def get(self, name: str) -> object:
        """Return what the command line says, or None."""
        return self._found.get(name)


class EnvironmentConfigurator(BaseConfigurator):
    """Takes ``GEMSTONE_<NAME>`` from the environment, or ``GEMSTONE_<SERVICE>_<NAME>``, which goes before it."""

    def load(self) -> None:
        """Warn of variables that look like a misspelled setting; others may belong to another service."""
        known = {configurable.name for configurable in self.configurables} | {"config"}
        for variable in os.environ:
            name = variable.removeprefix(PREFIX).removeprefix(f"{self._service}_").lower()
            if variable.startswith(PREFIX) and name not in known and (suggestion := _did_you_mean(name, known)):
                _log.warning("the environment sets %s, which is no setting%s", variable, suggestion)

    def get(self, name: str) -> object:
        """Return what the environment says, or None."""
        env = Env(prefix=PREFIX)
        general: object = env.str(name.upper(), None)
        return env.str(f"{self._service}_{name.upper()}", None) or general

    @property
    def _service(self) -> str:
        return self.service_name.upper().replace(".", "_").replace("-", "_")


class TomlConfigurator(BaseConfigurator):
    """Takes values from a TOML file: the table of the service's name goes before the top level.

    Args:
        file_name: the file; by default ``$GEMSTONE_CONFIG``, or ``gemstone.toml`` in the working directory if it is
            there.
    """

    def __init__(self, file_name: str | Path | None = None) -> None:
        super().__init__()
        self._file_name = file_name
        self._found: Mapping[str, object] = {}

    def load(self) -> None:
        """Read the file.

        Raises:
            ServiceConfigurationError: the file that was asked for is not there, is not TOML, or sets what is no setting.
        """
        asked_for = self._file_name or os.environ.get(f"{PREFIX}CONFIG")
        path = Path(asked_for or DEFAULT_FILE)
        if not asked_for and not path.exists():
            return
        try:
            content = tomllib.loads(path.read_text())
        except OSError as error:
            raise ServiceConfigurationError(f"the configuration file {path} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ServiceConfigurationError(f"the configuration file {path} is not TOML: {error}") from None
        table: object = content
        for word in self.service_name.split("."):
            table = table.get(word) if isinstance(table, dict) else None
        own = table if isinstance(table, dict) else {}
        known = {configurable.name for configurable in self.configurables}
        for name, value in [*content.items(), *own.items()]:
            # A table may hold the settings of another service, or of a service whose name begins like this one's.
            if name not in known and not isinstance(value, dict):
                raise ServiceConfigurationError(
                    f"{path} sets {name!r}, which is no setting{_did_you_mean(name, known)}"
                )
        self._found = {**content, **own}

    def get(self, name: str) -> object:
        """Return what the file says, or None."""
        return self._found.get(name)


def _with_dashes(argument: str) -> str:
    # gemstone spelled options as the settings are spelled, --accessible_at.
    option, equals, value = argument.partition("=")
    return option.replace("_", "-") + equals + value if option.startswith("--") else argument


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    return "".join(f"; did you mean {close}?" for close in difflib.get_close_matches(name, list(known), 1, cutoff=0.7))


def to_port(value: object) -> int | None:
    """Read a port: a number from 0 (any free one) to 65535, ``random`` for any free one, ``none`` for no HTTP."""
    text = str(value).strip().lower()
    if text == "none":
        return None
    if text == "random":
        return 0
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError("a port is a number from 0 to 65535, random or none")
    return int(text)


def to_list(value: object) -> list[str]:
    """Read a list: of TOML, or text with commas between the items."""
    items = value if isinstance(value, list) else str(value).split(",")
    return [str(item).strip() for item in items if str(item).strip()]


def to_bool(value: object) -> bool:
    """Read a switch: true/false, yes/no, on/off, 1/0."""
    text = str(value).strip().lower()
    if text in ("true", "yes", "on", "1"):
        return True
    if text in ("false", "no", "off", "0"):
        return False
    raise ValueError("say true or false")


def to_float(value: object) -> float:
    """Read a number."""
    return float(str(value))


def to_int(value: object) -> int:
    """Read a whole number."""
    return int(str(value))


def default_configurables() -> list[Configurable]:
    """Return the settings that every service takes from outside."""
    return [
        Configurable("host", help="address to listen on (127.0.0.1)"),
        Configurable(
            "port", template=to_port, help="port of HTTP: a number, 0 or random for any free one, none for no HTTP"
        ),
        Configurable("endpoint", help="path of JSON-RPC (/api)"),
        Configurable("accessible_at", help="URL under which others reach the service"),
        Configurable("event_transports", template=to_list, help="URLs of event transports, with commas between them"),
        Configurable(
            "rpc_transports", template=to_list, help="URLs of brokers and buses by which the service is called"
        ),
        Configurable("event_store", help="URL of the event store"),
        Configurable("data_dir", help="folder of the embedded bus and store (.gemstone)"),
        Configurable("namespace", help="prefix of every name on the broker (gemstone)"),
        Configurable("max_parallel_blocking_tasks", template=to_int, help="threads for def handlers and methods"),
        Configurable("shutdown_timeout", template=to_float, help="seconds to finish what runs when told to stop"),
        Configurable("allow_unauthenticated", template=to_bool, help="listen beyond loopback without authentication"),
        Configurable("require_authentication", template=to_bool, help="all methods are private"),
        Configurable("service_registry_urls", template=to_list, help="URLs of registries, with commas between them"),
        Configurable("service_registry_token", help="what the registries demand of those who announce themselves"),
        Configurable("discovery_allow", template=to_list, help="addresses found that may be called, besides our own"),
        Configurable("log_level", help="debug, info, warning or error (info)"),
    ]


def default_configurators() -> list[BaseConfigurator]:
    """Return file, environment and command line, in the order of their precedence."""
    return [TomlConfigurator(), EnvironmentConfigurator(), CommandLineConfigurator()]
