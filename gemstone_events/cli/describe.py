"""``gemstone describe``: what a service offers, as OpenRPC or AsyncAPI."""

from typing import Unpack

import rich_click as click

from gemstone_events.cli.command import Command
from gemstone_events.cli.descriptions import Source, SourceOptions, as_text, source_options, write_output


@click.command(cls=Command)
@click.argument("target", metavar="MODULE:SERVICE|URL|NAME")
@click.option("--openrpc", is_flag=True, help="Describe the methods (the default).")
@click.option("--asyncapi", is_flag=True, help="Describe the events.")
@click.option("--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write to a file.")
@source_options
def describe(
    target: str,
    openrpc: bool,
    asyncapi: bool,
    output: str | None,
    **options: Unpack[SourceOptions],
) -> None:
    """Print the OpenRPC document of a service's methods, or the AsyncAPI document of its events.

    MODULE:SERVICE is imported and not started; its private methods are described too. URL is that of a service that
    runs, on any wire, and NAME is looked up as by 'gemstone call'; it describes private methods only to callers that it
    knows (--header). Events are asked for over HTTP.

    \b
    Examples:
      gemstone describe shop.py --output openrpc.json
      gemstone describe shop.billing:Billing --asyncapi
      gemstone describe amqp://localhost#billing
      gemstone describe billing
    """
    if openrpc and asyncapi:
        raise click.UsageError("give --openrpc or --asyncapi, not both: one document is printed")
    source = Source.of(target, **options)
    write_output(as_text(source.load("asyncapi" if asyncapi else "openrpc").document), output)
