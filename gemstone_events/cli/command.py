"""What all commands share: the option ``--debug``, and one clear line instead of a traceback."""

import logging

import rich_click as click

from gemstone_events.errors import GemstoneError
from gemstone_events.logs import setup_logging

_DEBUG = "gemstone_events.debug"
# Commands on events have the one, commands on calls the other.
_COUNTERPARTS = {"--transport": "--broker", "--broker": "--transport"}


class Failure(click.ClickException):
    """A command failed for a reason that its user can understand; shown in one line, with exit status 1."""


class Command(click.RichCommand):
    """A command whose expected errors are shown without a traceback, unless ``--debug`` asks for it."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Add ``--debug`` to the command's own options, before ``--help``."""
        own = super().get_params(ctx)
        return [*own[:-1], _DEBUG_OPTION, *own[-1:]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; who gives another command's option for the same is told this one's."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            meant = _COUNTERPARTS.get(error.option_name)
            if not any(meant in param.opts for param in self.params):
                raise
            raise click.UsageError(f"there is no {error.option_name} here: give {meant} URL", ctx) from None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        if is_debugging(ctx):
            setup_logging("debug")
        else:
            # Whatever goes wrong is said in the error; without a handler, logging would print its warnings as well.
            for library in ("gemstone_events", "aio_pika", "aiormq"):
                logging.getLogger(library).addHandler(logging.NullHandler())
        try:
            return super().invoke(ctx)
        except GemstoneError as error:
            if is_debugging(ctx):
                raise
            raise Failure(str(error)) from error
        except BrokenPipeError:
            raise  # whoever read the output has enough; click ends quietly
        except OSError as error:
            if is_debugging(ctx):
                raise
            raise Failure(f"{error} (--debug shows where)") from error
        except Failure as error:
            if is_debugging(ctx) and error.__cause__ is not None:
                raise error.__cause__ from None
            raise


def is_debugging(ctx: click.Context) -> bool:
    """Tell whether a command was given ``--debug``."""
    return bool(ctx.meta.get(_DEBUG, False))


def _remember(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    ctx.meta[_DEBUG] = value


_DEBUG_OPTION = click.Option(
    ["--debug"],
    is_flag=True,
    expose_value=False,
    callback=_remember,
    help="Show tracebacks, and log everything.",
)
