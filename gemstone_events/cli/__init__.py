"""The ``gemstone`` command: run services, and look at and mend what goes on between them.

Nothing of the library imports this package.
"""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

import rich_click as click

from gemstone_events.cli.call import call, call_raw
from gemstone_events.cli.compat import compat
from gemstone_events.cli.dead_letters import dead_letters
from gemstone_events.cli.describe import describe
from gemstone_events.cli.doctor import doctor
from gemstone_events.cli.emit import emit
from gemstone_events.cli.generate_client import generate_client
from gemstone_events.cli.new_token import new_token_command
from gemstone_events.cli.registry import registry
from gemstone_events.cli.run import run
from gemstone_events.cli.services import services
from gemstone_events.cli.tail import tail
from gemstone_events.cli.transports import transports
from gemstone_events.schemes import mask

FAILED, USAGE, INTERRUPTED = 1, 2, 130


_SETTINGS = {"help_option_names": ["-h", "--help"], "rich_help_config": {"text_paragraph_linebreaks": "\n\n"}}


@click.group(context_settings=_SETTINGS)
@click.version_option(version("gemstone_events"), prog_name="gemstone_events")
def gemstone() -> None:
    """Event-sourced, pub/sub-centric messaging for Python services.

    Commands find transport and store as services do: in the configuration file (gemstone.toml), the environment
    (GEMSTONE_*) and their options, the last of which wins.

    \b
    Start a service:          gemstone run hello.py
    Watch the events:         gemstone tail
    Emit one by hand:         gemstone emit order.placed id=42
    See who is there:         gemstone services
    Call a method:            gemstone call hello greet who=world
    Call it at its URL:       gemstone call http://127.0.0.1:8000 greet who=world
    Describe a service:       gemstone describe hello.py
    Find out what is wrong:   gemstone doctor hello.py
    """


for _command in (
    run,
    emit,
    tail,
    call,
    call_raw,
    services,
    registry,
    new_token_command,
    describe,
    generate_client,
    compat,
    dead_letters,
    transports,
    doctor,
):
    gemstone.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process: 0 only when it worked, 1 when it failed, 2 when it was wrong.

    Args:
        arguments: what to read instead of the process's own command line.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, and Python has put nothing in its place
            setattr(sys, name, open(os.open(os.devnull, os.O_WRONLY), "w", closefd=False))  # noqa: SIM115
    try:
        status = gemstone.main(arguments, prog_name="gemstone", standalone_mode=False)
    except click.UsageError as error:
        _complain(error.format_message())
        if error.ctx is not None:
            print(f"Try '{error.ctx.command_path} --help'.", file=sys.stderr)
        _end(USAGE)
    except click.ClickException as error:
        _complain(error.format_message())
        _end(error.exit_code)
    except click.Abort:
        print("aborted", file=sys.stderr)
        _end(INTERRUPTED)
    _end(status if isinstance(status, int) else 0)


def _end(status: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        # What is left can never be written; the interpreter would try once more and end with a status of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = status or 1
    sys.exit(status)


def _complain(message: str) -> None:
    print(f"error: {mask(message)}", file=sys.stderr)
