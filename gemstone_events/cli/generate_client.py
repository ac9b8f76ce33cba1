"""``gemstone generate-client``: a typed Python client for a service."""

import keyword
from typing import Unpack

import rich_click as click

from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.descriptions import Source, SourceOptions, source_options, write_output
from gemstone_events.rpc.description.client_writer import write_client
from gemstone_events.rpc.description.references import DescriptionError


@click.command("generate-client", cls=Command)
@click.argument("target", metavar="MODULE:SERVICE|URL|NAME|FILE")
@click.option("--class-name", metavar="NAME", help="Name of the client's class (the service's name).")
@click.option("--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write to a file.")
@source_options
def generate_client(
    target: str,
    class_name: str | None,
    output: str | None,
    **options: Unpack[SourceOptions],
) -> None:
    """Write one Python module with a typed client for a service: NAME, which blocks, and AsyncNAME.

    It has a method for each method of the service, with type hints, dataclasses and docstrings from its OpenRPC
    document, which FILE (.json) holds, or the service itself gives. Dots in names become underscores. The same document
    makes the same module every time.

    \b
    Examples:
      gemstone generate-client shop.py --output shop_client.py
      gemstone generate-client http://127.0.0.1:8001/api --class-name Billing
      gemstone generate-client billing --output billing_client.py
      gemstone generate-client openrpc.json
    """
    if class_name is not None and (
        not class_name.isascii()
        or not class_name.isidentifier()
        or keyword.iskeyword(class_name)
        or class_name.startswith("_")
    ):
        raise click.UsageError(f"--class-name {class_name!r} is no name of a class: write Billing, for example")
    source = Source.of(target, **options)
    document = source.load("openrpc").document
    try:
        text = write_client(document, source.shown, class_name)
    except DescriptionError as error:
        raise Failure(f"{source.shown}: {error}") from error
    write_output(text, output)
