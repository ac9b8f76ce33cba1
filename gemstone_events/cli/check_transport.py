"""A transport: its URL, whether it can be reached, and whether it lets us in."""

import time
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit

from gemstone_events.adapters import make_transport
from gemstone_events.cli.command import Failure
from gemstone_events.cli.connections import CLIENT, file_exists, opened_transport, sqlite_file
from gemstone_events.cli.findings import Finding, ok, problem, warning
from gemstone_events.errors import GemstoneError, TransportRefusedError, TransportUnavailableError
from gemstone_events.event import new_id
from gemstone_events.loopback import is_loopback
from gemstone_events.schemes import mask
from gemstone_events.transport import Delivery, Subscription, Transport, TransportSettings

# What goes over the network as it is, and how to write the same with TLS.
_PLAIN = {
    "amqp": "amqps://",
    "kombu+amqp": "amqps://",
    "redis": "rediss://",
    "kombu+redis": "rediss://",
    "postgresql": "?sslmode=verify-full",
}


async def check_transport(transport: str | Transport, namespace: str) -> list[Finding]:
    """Examine a transport: open it, subscribe for a moment to a name that nobody uses, and close it.

    Args:
        transport: its URL, or an unopened transport.
        namespace: the prefix of names on the broker.
    """
    url = transport if isinstance(transport, str) else transport.address
    shown = mask(url)
    file = sqlite_file(url)
    try:
        if file is not None and not file_exists(file):
            return [ok(shown, "does not exist yet: the first service makes it")]
    except Failure as error:
        return [problem(shown, str(error))]
    try:
        opened = make_transport(url, TransportSettings(namespace, CLIENT)) if isinstance(transport, str) else transport
    except GemstoneError as error:
        return [problem(shown, str(error), "mend event_transports or --transport")]
    return [await _check_access(opened), *check_encryption(url, opened.address)]


def check_encryption(url: str, shown: str = "") -> list[Finding]:
    """Examine whether passwords and events of ``url`` can be read on the network. URLs that fit nothing are left out.

    Args:
        url: of a broker or database.
        shown: how findings name it; by default the URL without its password.
    """
    parts = urlsplit(url)
    with_tls = _PLAIN.get(parts.scheme)
    if with_tls is None or not parts.hostname or is_loopback(parts.hostname):
        return []
    if dict(parse_qsl(parts.query)).get("sslmode") in ("require", "verify-ca", "verify-full"):
        return []
    return [warning(shown or mask(url), "password and events go over the network unencrypted", f"use TLS: {with_tls}")]


async def _check_access(transport: Transport) -> Finding:
    shown = transport.address

    def give_back(_: Subscription, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            delivery.release()

    began = time.perf_counter()
    try:
        async with opened_transport(transport):
            connected = time.perf_counter() - began
            await transport.subscribe(
                [Subscription(f"doctor.{new_id()}", "gemstone.doctor", per_instance=True)], give_back
            )
            status = transport.status()
    except GemstoneError as error:
        return problem(shown, str(error), _remedy(error, transport))
    if not status.ready:
        remedy = "see the broker's log" if sqlite_file(transport.address) is None else ""
        return warning(shown, f"connected, and yet: {status.detail}", remedy)
    return ok(shown, f"reachable in {connected * 1000:.0f} ms; publishing and subscribing are allowed")


def _remedy(error: GemstoneError, transport: Transport) -> str:
    if sqlite_file(transport.address) is not None:
        return ""  # there is no broker to see to, and the message says how to mend the file
    if isinstance(error, TransportRefusedError):
        return "check user, password, virtual host and permissions with the broker"
    if isinstance(error, TransportUnavailableError):
        return "start the broker, or correct host and port in the URL"
    return "see the message"
