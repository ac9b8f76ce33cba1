"""Which requests may come in by their ``Host`` and ``Origin``: the guard against foreign web pages.

A page of another site can make a browser send requests to a service on the visitor's machine, directly or after its
own name was pointed there (DNS rebinding). The first names its ``Origin``, the second a ``Host`` that is not ours.
"""

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.loopback import is_loopback

ANY_HOST = "*"

_HOST = re.compile(r"\*|[^\s:/*@]+")
# Browsers leave out the port that a scheme has anyway.
_ORIGIN = re.compile(r"(?!http:.*:80/?$|https:.*:443/?$)[a-z][a-z0-9+.-]*://[^\s/@*]+/?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HttpGuard:
    """What ``Host`` and ``Origin`` may say.

    Attributes:
        hosts: names and addresses, in lower case and without port, under which the service is called.
        any_address: a ``Host`` that is an IP address is let in whatever it is, for rebinding needs a name.
        origins: ``scheme://host[:port]`` of the sites whose pages may call the service, besides its own.
    """

    hosts: frozenset[str]
    any_address: bool = False
    origins: frozenset[str] = frozenset()

    @classmethod
    def for_service(
        cls,
        host: str,
        accessible_at: str | None = None,
        allowed_hosts: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
    ) -> "HttpGuard":
        """Return the guard of a service that listens on ``host``.

        It lets in ``localhost``, the loopback addresses, the machine's own name, ``host`` itself, the host of the URL
        ``accessible_at`` and ``allowed_hosts`` (``"*"``: every host). A service that listens elsewhere than on
        loopback is also called by any IP address.

        Raises:
            ServiceConfigurationError: an allowed host or origin is written so that no request could match it.
        """
        hosts = _checked("allowed_hosts", allowed_hosts, _is_host, "a name or an address alone, as shop.example")
        origins = _checked(
            "allowed_origins", allowed_origins, _ORIGIN.fullmatch, "scheme and host, as https://shop.example"
        )
        names = {"localhost", "127.0.0.1", "::1", socket.gethostname(), host, *hosts}
        if accessible_at is not None:
            names.add(urlsplit(accessible_at).hostname or "")
        return cls(
            hosts=frozenset(_bare(name.lower()) for name in names if name),
            any_address=not is_loopback(host),
            origins=frozenset(origin.lower().rstrip("/") for origin in origins),
        )

    def allows_host(self, name: str) -> bool:
        """Tell whether the ``Host`` header, in lower case and without port, is one of the service's."""
        return name in self.hosts or ANY_HOST in self.hosts or self._allows_bare(_bare(name))

    def allows_origin(self, origin: str, host: str) -> bool:
        """Tell whether pages of ``origin`` may call: the service's own, by the ``Host`` header, and those listed."""
        return origin.lower().partition("://")[2] == host.lower() or self.lists_origin(origin)

    def lists_origin(self, origin: str) -> bool:
        """Tell whether ``origin`` is one of those listed."""
        return origin.lower() in self.origins

    def _allows_bare(self, name: str) -> bool:
        return name in self.hosts or (self.any_address and _is_address(name))


def _checked(setting: str, texts: Iterable[str], fits: Callable[[str], object], mend: str) -> Sequence[str]:
    checked = tuple(texts)
    for text in checked:
        if not fits(text):
            raise ServiceConfigurationError(f"{setting} holds {text!r}, which no request can match: write {mend}")
    return checked


def _is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None or _is_address(_bare(text))


def _bare(host: str) -> str:
    return host.strip("[]").removesuffix(".")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
