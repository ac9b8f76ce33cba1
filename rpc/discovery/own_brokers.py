"""A caller's own brokers: addresses on them travel without credentials, and get them back here."""

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, urlsplit

from gemstone_events.errors import GemstoneError
from gemstone_events.names import check_name
from gemstone_events.rpc.allow_list import is_on_this_machine
from gemstone_events.rpc.wire import service_url
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import scheme_of

_RELATIVE = "sqlite:///"
_ANY_ADDRESS = ("0.0.0.0", "::")


class OwnBrokers:
    """Recognizes services on brokers and buses that the caller uses himself.

    Args:
        urls: of the brokers, with credentials.
        wires: know what is the same address.
    """

    def __init__(self, urls: Iterable[str], wires: WirePool) -> None:
        self._urls = tuple(dict.fromkeys(urls))
        self._wires = wires

    def own(self, url: str) -> str | None:
        """Return how the caller himself reaches a service: his own broker's URL, where ``url`` is on that broker.

        Returns:
            None where it is on none of them. Credentials in ``url`` count for nothing.
        """
        try:
            service = check_name("service name", url.partition("#")[2])
            for broker in self._urls:
                own = service_url(broker, service)
                if scheme_of(broker) == scheme_of(url) and self._address(own) == self._address(url):
                    return own
        except (GemstoneError, ValueError):
            return None  # no URL, or no service on a broker
        return None

    def _address(self, url: str) -> str:
        return absolute(self._wires.wire_for(url).address(url))


def announceable(urls: Iterable[str], *, is_local: bool) -> list[str]:
    """Return those of a service's URLs by which others can call it, such that they mean the same to all.

    Args:
        urls: under which the service is called, without credentials.
        is_local: everybody who reads them is on this machine.
    """
    return [
        absolute(url)
        for url in urls
        if scheme_of(url) != "memory"
        and urlsplit(url).hostname not in _ANY_ADDRESS  # where one listens, and nobody calls
        and (is_local or not is_on_this_machine(url))
    ]


def absolute(url: str) -> str:
    """Return a URL that means the same in every folder of this machine: that of a bus with the whole path."""
    path = url.removeprefix(_RELATIVE)
    if path == url or path.startswith("/"):
        return url
    return f"{_RELATIVE}{quote(str(Path.cwd()))}/{path}"
