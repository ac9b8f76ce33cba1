"""Addresses within a process: ``memory://bus#service``, or ``memory://service`` on the bus without a name."""

from typing import NamedTuple, Self
from urllib.parse import parse_qs

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.names import check_name
from gemstone_events.rpc.wire import service_url
from gemstone_events.rpc.wires.urls import split_url

_TRANSPORTS_OPTION = "max_queue"  # of events; the URL is shared with them


class Place(NamedTuple):
    """Where a service is called."""

    bus: str
    namespace: str
    service: str

    @classmethod
    def checked(cls, bus: str, namespace: str, service: str) -> Self:
        """Return the place of these names.

        Raises:
            InvalidNameError: one of them breaks the rules.
        """
        return cls(bus, check_name("namespace", namespace), check_name("service", service))

    @property
    def url(self) -> str:
        """The service's URL."""
        return service_url(f"memory://{self.bus}", self.service) if self.bus else f"memory://{self.service}"


def read_place(url: str, namespace: str) -> Place:
    """Return the place of the service that a URL names.

    Raises:
        ServiceConfigurationError: it names none.
    """
    bus, service = read_url(url)
    if not service:
        bus, service = "", bus
    if not service:
        raise ServiceConfigurationError(f"{url!r} names no service: write memory://bus#service or memory://service")
    return Place.checked(bus, namespace, service)


def read_url(url: str) -> tuple[str, str]:
    """Return the bus and the service that a URL names, or empty text.

    Raises:
        ServiceConfigurationError: it is written otherwise.
    """
    parts = split_url(url)
    options = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme != "memory" or parts.path.strip("/") or any(mark in parts.netloc for mark in "@:"):
        raise ServiceConfigurationError(f"{url!r}: write memory://bus#service, or memory://service")
    if options.keys() - {_TRANSPORTS_OPTION}:
        raise ServiceConfigurationError(f"{url!r}: calls know no options: remove {parts.query!r}")
    return parts.netloc, parts.fragment
