"""A service as it is declared and configured, without starting it."""

import socket
from collections.abc import Iterator

import rich_click as click

from gemstone_events.cli.findings import Finding, ok, problem, warning
from gemstone_events.cli.loading import load_service
from gemstone_events.cli.run import configure
from gemstone_events.errors import GemstoneError
from gemstone_events.service import MicroService


def examine_service(target: str) -> tuple[MicroService | None, list[Finding]]:
    """Import and configure a service, collect what it declares, and see whether it could listen.

    Returns:
        The service, or None where it cannot be made, and what was found.
    """
    try:
        service = load_service(target)
        configure([service], {}, {})
        plans = service.check_declarations()
        service.make_tornado_app()
        specs = service.get_service_specs()
    except (click.ClickException, GemstoneError) as error:
        return None, [problem(target, str(error), "mend it; with --debug, 'gemstone run' shows a traceback")]
    handlers = sum(len(plan.handlers) for plan in plans if not plan.subscription.work_queue)
    methods = specs["methods"]
    assert isinstance(methods, dict)
    found = [ok(service.service_name, f"declared well: {handlers} event handlers, {len(methods)} methods")]
    return service, [*found, *_check_address(service)]


def _check_address(service: MicroService) -> Iterator[Finding]:
    if service.port is None:
        yield ok("HTTP", "switched off (port is None)")
        return
    where = f"{service.host}:{service.port or 'any free port'}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(service.host, service.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except socket.gaierror as error:
        yield problem("HTTP", f"{service.host!r} is no address: {error.strerror}", "set host to one of this machine")
    except OSError as error:
        remedy = "all is well if it is the service itself that runs there; otherwise choose another port"
        yield warning("HTTP", f"{where} cannot be listened on: {error.strerror}", remedy)
    else:
        yield ok("HTTP", f"{where} can be listened on")
