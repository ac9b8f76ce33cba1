"""``gemstone run``: services in one process."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import rich_click as click

from gemstone_events import runner
from gemstone_events.cli.command import Command, Failure, is_debugging
from gemstone_events.cli.loading import file_of, load_service
from gemstone_events.cli.reloading import Reloader
from gemstone_events.configuration import (
    BaseConfigurator,
    CommandLineConfigurator,
    default_configurables,
    default_configurators,
)
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.logs import level_number, setup_logging
from gemstone_events.service import MicroService

Overrides = Mapping[str, Mapping[str, str]]


class OptionsConfigurator(BaseConfigurator):
    """Takes the values that the options of ``gemstone run`` give a service."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__()
        self._values = values

    def load(self) -> None:
        """Check that the service takes what it is given.

        Raises:
            ServiceConfigurationError: it does not.
        """
        known = [configurable.name for configurable in self.configurables]
        for name in self._values:
            if name not in known:
                raise ServiceConfigurationError(
                    f"{self.service_name} takes no setting {name!r} from outside; there are {', '.join(known)}"
                )

    def get(self, name: str) -> object:
        """Return what the options say, or None."""
        return self._values.get(name)


def _setting_options() -> list[click.Parameter]:
    return [
        click.Option([f"--{configurable.name.replace('_', '-')}"], metavar="VALUE", help=configurable.help)
        for configurable in default_configurables()
    ]


@click.command(
    cls=Command,
    params=_setting_options(),
    # MicroService.start() takes --event_store and --event-store; so does this.
    context_settings={"token_normalize_func": lambda name: name.replace("_", "-")},
)
@click.argument("targets", nargs=-1, required=True, metavar="MODULE:SERVICE ...")
@click.option(
    "--set", "assignments", multiple=True, metavar="SERVICE.SETTING=VALUE", help="Set it for one service only."
)
@click.option("--reload", is_flag=True, help="Start again whenever a Python file below this folder changes.")
@click.pass_context
def run(
    ctx: click.RichContext,
    /,
    targets: Sequence[str],
    assignments: Sequence[str],
    reload: bool,
    **settings: str | None,
) -> int:
    """Run services in one process.

    They run until Ctrl-C or SIGTERM, and then finish what they have begun.

    A service is a class in a module or a file; where there is only one, its name may be left out. A setting is taken
    from the configuration file (gemstone.toml), from the environment (GEMSTONE_PORT, or GEMSTONE_BILLING_PORT for the
    service billing) or from an option, and the last of these wins. With several services, options hold for all.

    \b
    Examples:
      gemstone run hello.py
      gemstone run shop.billing:Billing --port 8001 --log-level debug
      gemstone run billing.py mail.py --port none --set billing.port=8001
    """
    general = {name: value for name, value in settings.items() if value is not None}
    special = read_assignments(assignments)
    if reload:
        options = [f"--{name}={value}" for name, value in general.items()]
        options += [f"--set={assignment}" for assignment in assignments]
        options += ["--debug"] if is_debugging(ctx) else []
        reloader = Reloader(["run", *options, "--", *targets], _folders(targets))
        return asyncio.run(reloader.run())
    services = [load_service(target) for target in targets]
    configure(services, general, special)
    check_ports(services)
    setup_logging(min((service.log_level for service in services), key=level_number))
    runner.run(services)
    return 0


def read_assignments(texts: Sequence[str]) -> Overrides:
    """Return the values of ``SERVICE.SETTING=VALUE`` by service and setting; a service's name may hold dots.

    Raises:
        click.UsageError: one of them is written otherwise.
    """
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        service, dot, setting = key.rpartition(".")
        if not (equals and dot and service and setting):
            raise click.UsageError(f"--set takes SERVICE.SETTING=VALUE, as billing.port=8002, not {text!r}")
        found.setdefault(service, {})[setting.replace("-", "_")] = value
    return found


def configure(services: Sequence[MicroService], general: Mapping[str, str], special: Overrides) -> None:
    """Configure services from file, environment and options, the last before the others.

    Args:
        services: what to configure.
        general: settings of all of them.
        special: settings by the name of a service, which go before ``general``.

    Raises:
        click.UsageError: ``special`` names a service that is not among them.
        ServiceConfigurationError: a value cannot be used.
    """
    names = [service.service_name for service in services]
    for name in special:
        if name not in names:
            raise click.UsageError(f"--set {name}.… is for none of the services that run: {', '.join(names)}")
    for service in services:
        chosen = default_configurators() if service.configurators is None else service.configurators
        kept = [] if service.skip_configuration else [c for c in chosen if not isinstance(c, CommandLineConfigurator)]
        options = OptionsConfigurator({**general, **special.get(service.service_name, {})})
        service.configurators = [*kept, options]
        service.configure()


def check_ports(services: Sequence[MicroService]) -> None:
    """Check that no two services want the same port.

    Raises:
        Failure: two do.
    """
    wanted: dict[tuple[str, int], str] = {}
    for service in services:
        if not service.port:  # no HTTP, or any free port
            continue
        address = (service.host, service.port)
        if address in wanted:
            raise Failure(_same_port(wanted[address], service))
        wanted[address] = service.service_name


def _same_port(other: str, service: MicroService) -> str:
    name = service.service_name
    if other == name:
        return (
            f"two instances of {name} want port {service.port}: name it once, or give --port 0 (any free port for each), or "
            "run the other by a command of its own with another --port"
        )
    return f"{other} and {name} both want port {service.port}: use --set {name}.port=NUMBER"


def _folders(targets: Sequence[str]) -> list[Path]:
    files = [file for target in targets if (file := file_of(target)) is not None]
    return [Path.cwd(), *(file.resolve().parent for file in files)]
