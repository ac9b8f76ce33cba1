"""``gemstone new-token``: a secret for a caller, and what the service knows it by."""

import rich_click as click

from gemstone_events.cli.command import Command
from gemstone_events.cli.output import print_json
from gemstone_events.rpc.authentication.token_table import hash_token, new_token


@click.command("new-token", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new_token_command(as_json: bool) -> None:
    """Make a token of 256 random bits, and print it with its hash.

    The token is for the caller, the hash for the service's TokenTable. As the secret of an HmacKey, or as the token of a
    registry, it will do as well. It is kept nowhere.

    \b
    Example:
      gemstone new-token
    """
    token = new_token()
    if as_json:
        print_json({"token": token, "hash": hash_token(token)})
    else:
        print(f"token: {token}\nhash:  {hash_token(token)}")
