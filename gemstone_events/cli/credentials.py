"""How a command shows who calls: headers, keys to sign with, and files that hold secrets, which nobody sees in ``ps``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import rich_click as click

from gemstone_events.cli.command import Failure
from gemstone_events.rpc.authentication.credentials import HmacKey
from gemstone_events.rpc.client.requests import check_headers
from gemstone_events.rpc.presence import is_pattern
from gemstone_events.schemes import mask

_Function = TypeVar("_Function", bound=Callable[..., object])


def header_options(function: _Function) -> _Function:
    """Add ``--header`` and ``--header-file`` to a command; they make the arguments of ``read_headers``."""
    header = click.option(
        "--header", "headers", multiple=True, metavar="KEY:VALUE", help="Send this header too; may be repeated."
    )
    file = click.option(
        "--header-file",
        "header_files",
        multiple=True,
        metavar="FILE",
        help="Send the headers in this file too, one KEY:VALUE on each line: nobody sees them in a list of processes.",
    )
    return header(file(function))


def hmac_options(function: _Function) -> _Function:
    """Add ``--hmac-key`` and ``--audience`` to a command; they make the arguments of ``read_hmac_key``."""
    key = click.option(
        "--hmac-key", metavar="ID:FILE", help="Sign the call with the secret in this file, as the key of this id."
    )
    audience = click.option(
        "--audience",
        metavar="NAME",
        help="With --hmac-key: the service that the signature is good for; by default the name that is called.",
    )
    return key(audience(function))


def read_headers(texts: Sequence[str], files: Sequence[str] = ()) -> dict[str, str]:
    """Return headers, each KEY:VALUE; of those with one name the last, and one of the command line before a file's.

    Args:
        texts: headers of the command line.
        files: names of files with one header on each line; empty lines count for nothing.

    Raises:
        click.UsageError: one of the command line is written otherwise.
        Failure: a file cannot be read, or one in it is written otherwise; its text is not told.
    """
    found: dict[str, str] = {}
    for name in files:
        for number, line in enumerate(read_file(name, "header file").splitlines(), 1):
            header = _header(line) if line.strip() else {}
            if header is None:
                raise Failure(f"line {number} of the header file {name} is no header: write KEY:VALUE on each line")
            found.update(header)
    for text in texts:
        header = _header(text)
        if header is None:
            raise click.UsageError("--header takes KEY:VALUE, for example --header 'X-Api-Token: ...'")
        found.update(header)
    return found


def read_hmac_key(text: str | None, audience: str | None, target: str) -> HmacKey | None:
    """Return the key that calls are signed with, if any.

    Args:
        text: ID:FILE, as on the command line.
        audience: the service that signatures are good for; None for the one that ``target`` names.
        target: the service's name or URL.

    Raises:
        click.UsageError: it is written otherwise, or the target does not name its service.
        Failure: the file cannot be read, or is empty.
        ServiceConfigurationError: the id or the secret cannot be used.
    """
    if text is None:
        if audience is not None:
            raise click.UsageError("--audience goes with --hmac-key")
        return None
    key_id, _, file = text.partition(":")
    if not (key_id and file):
        raise click.UsageError("--hmac-key takes ID:FILE, for example --hmac-key shop:/run/secrets/shop")
    if audience is None:
        audience = target.partition("#")[2] if "://" in target else target
        if not audience or is_pattern(audience):
            raise click.UsageError(
                f"{mask(target)!r} does not say which service is called, so say for which the signature is good: --audience "
                "NAME, or --audience '' where its HmacKeys have no audience"
            )
    return HmacKey(key_id, read_secret(file, "key file"), audience)


def read_file(name: str, what: str) -> str:
    """Return the text of a small file.

    Raises:
        Failure: it cannot be read; ``what`` says what it is.
    """
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Failure(f"the {what} {name} cannot be read: {why}") from error


def read_secret(name: str, what: str) -> str:
    """Return the secret that is all that a file holds.

    Raises:
        Failure: it cannot be read, or is empty; ``what`` says what it is.
    """
    secret = read_file(name, what).strip()
    if not secret:
        raise Failure(f"the {what} {name} is empty: write a secret of 16 characters or more into it")
    return secret


def _header(text: str) -> dict[str, str] | None:
    name, colon, value = text.partition(":")
    try:
        return check_headers({name.strip(): value.strip()}) if colon else None
    except ValueError:
        return None
