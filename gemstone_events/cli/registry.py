"""``gemstone registry``: the registry of services, ready to run."""

import os
from collections.abc import Sequence

import rich_click as click

from gemstone_events import runner
from gemstone_events.cli.arguments import Seconds
from gemstone_events.cli.command import Command
from gemstone_events.cli.directory import TOKEN_VARIABLE, read_token
from gemstone_events.cli.run import configure
from gemstone_events.logs import setup_logging
from gemstone_events.registry import ANYWHERE, ServiceRegistry


@click.command(cls=Command)
@click.option("--host", metavar="ADDRESS", help="Address to listen on (127.0.0.1).")
@click.option("--port", metavar="PORT", help="Port to listen on (8700); 0 for any free one.")
@click.option(
    "--token-file", metavar="FILE", help=f"Demand the token in this file of all callers; also ${TOKEN_VARIABLE}."
)
@click.option(
    "--time-to-live",
    type=Seconds(0, min_open=True),
    metavar="SECONDS",
    default=180.0,
    show_default=True,
    help="For how long an announcement is good.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="PATTERN",
    help="Take only addresses such as http://10.1.0.0/16:*; may be repeated. By default all but link-local ones.",
)
@click.option(
    "--capacity",
    type=click.IntRange(min=1),
    metavar="N",
    default=10_000,
    show_default=True,
    help="How many addresses it holds.",
)
@click.option("--accessible-at", metavar="URL", help="URL under which others reach it.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error (info).")
def registry(
    host: str | None,
    port: str | None,
    token_file: str | None,
    time_to_live: float,
    allow: Sequence[str],
    capacity: int,
    accessible_at: str | None,
    log_level: str | None,
) -> int:
    """Run a registry, where services announce themselves and find each other.

    What it knows is kept in memory, and services announce themselves again and again: one that was started anew knows
    them all within half a minute. It is needed only where services share no broker, bus or Redis. Beyond this machine
    it does not start without a token, which services and callers have to know.

    \b
    Examples:
      gemstone registry
      gemstone registry --host 0.0.0.0 --token-file /run/secrets/registry --allow 'http://10.1.0.0/16:*'
    """
    service = ServiceRegistry(
        token=read_token(token_file, os.environ),
        time_to_live=time_to_live,
        allow=allow or ANYWHERE,
        capacity=capacity,
    )
    options = {"host": host, "port": port, "accessible_at": accessible_at, "log_level": log_level}
    configure([service], {name: value for name, value in options.items() if value is not None}, {})
    setup_logging(service.log_level)
    runner.run([service])
    return 0
