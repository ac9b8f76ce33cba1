"""Which addresses may be called when somebody else names them: discovery must not become a way into the network.

Whoever can write into a registry can name any address, and have services send requests there (server-side request
forgery). So an address that comes from discovery is called only if an operator has listed it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.schemes import mask, scheme_of
from gemstone_events.urls import check_visible

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpNetwork: TypeAlias = IPv4Network | IPv6Network

MAX_URL = 2048
LOOPBACK_HTTP = tuple(
    f"{scheme}://{host}:*" for scheme in ("http", "https") for host in ("127.0.0.0/8", "[::1]", "localhost")
)
"""What is allowed where nothing is said: services on this machine."""

_SHAPE = "scheme://host:port, as http://10.1.0.0/16:*, http://[fd00::/8]:8000 or amqp://broker.example:5672"
_HTTP = ("http", "https")
_PORTS = {"http": 80, "https": 443, "amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])?(?::(?P<port>\d{1,5}))?"
    r"(?P<path>/[^\s?#\\]*)?(?:#(?P<fragment>[A-Za-z0-9._-]+))?",
    re.ASCII,
)
_PATTERN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<path>/\S+)"
    r"|(?P<host>\*|\[[0-9A-Fa-f:.]+(?:/\d{1,3})?\]|\d+\.\d+\.\d+\.\d+(?:/\d{1,2})?|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}|\*))?)",
    re.ASCII,
)
_NUMERIC_WORD = re.compile(r"\d+|0[xX][0-9A-Fa-f]*")
_ANY_PORT = -1
_NAT64 = IPv6Network("64:ff9b::/96")
# Link-local, metadata of clouds, "this host", multicast and broadcast: nothing that a service is found at.
_RESERVED: tuple[IpNetwork, ...] = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        "100.100.100.200/32",
        "0.0.0.0/8",
        "::/128",
        "224.0.0.0/4",
        "ff00::/8",
        "255.255.255.255/32",
    )
)


@dataclass(frozen=True, slots=True)
class Address:
    """A URL that somebody else named, taken apart.

    Attributes:
        host: in lower case, empty where the URL has none.
        ip: the host as an address; where IPv6 only wraps IPv4, the latter. None for a name.
        port: the default of the scheme where none is given; 0 where there is no such thing.
    """

    scheme: str
    host: str
    ip: IpAddress | None
    port: int
    path: str


def is_on_this_machine(url: str) -> bool:
    """Tell whether a URL means the machine of whoever calls it: loopback, a file, or the process itself."""
    host = (urlsplit(url).hostname or "").removesuffix(".")
    ip = _ip(host)
    return ip.is_loopback if ip is not None else host in ("", "localhost") or scheme_of(url) == "memory"


def parse_address(url: str) -> Address:
    """Take a URL apart, strictly: what two parsers could read differently is refused.

    Raises:
        ValueError: it is no plain URL of a service; the message says why.
    """
    if not isinstance(url, str):
        raise ValueError("it is no text")  # noqa: TRY004 - as of any other that is no URL
    if len(url) > MAX_URL:
        raise ValueError(f"it is longer than {MAX_URL} characters")
    check_visible(url)
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("it holds credentials")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ValueError("it is no plain URL of a service")
    if ".." in unquote(parts["path"] or "").split("/"):
        raise ValueError("its path leads upwards")
    scheme, host = parts["scheme"], (parts["host"] or "").strip("[]").lower().removesuffix(".")
    if scheme in _HTTP and (not host or parts["fragment"]):
        raise ValueError("an HTTP URL has a host and no fragment")
    ip = _ip(host)
    if ip is None and _NUMERIC_WORD.fullmatch(host.rpartition(".")[2]):
        raise ValueError("its host is neither a name nor an IP address")
    port = int(parts["port"]) if parts["port"] else _PORTS.get(scheme, 0)
    if parts["port"] and not 0 < port < 65536:
        raise ValueError("its port is none")
    return Address(scheme, host, ip, port, parts["path"] or "")


@dataclass(frozen=True, slots=True)
class _Entry:
    scheme: str
    port: int
    host: str | None = None
    network: IpNetwork | None = None
    path: str | None = None

    def allows(self, address: Address) -> bool:
        if address.scheme != self.scheme:
            return False
        if self.path is not None:
            is_prefix = self.path.endswith("*") and address.path.startswith(self.path[:-1])
            return not address.host and (address.path == self.path or is_prefix)
        return self.port in (_ANY_PORT, address.port) and self._allows_host(address)

    def _allows_host(self, address: Address) -> bool:
        ip = address.ip
        if ip is None:
            return self.host == address.host or (self.host == "*" and bool(address.host))
        reserved = next((network for network in _RESERVED if ip in network), None)
        if reserved is not None:
            return self.network is not None and ip in self.network and _is_inside(self.network, reserved)
        return self.host == "*" or (self.network is not None and ip in self.network)


class AllowList:
    """The addresses that an operator lets discovery name.

    An IP address is allowed by a network that it lies in, a name only where it is listed literally: what a name
    resolves to is up to others. Link-local addresses, those of the clouds' metadata services among them, are allowed
    only by a network that lies within theirs.

    Args:
        patterns: ``scheme://host-or-network:port``; the port may be ``*``, or left out for the scheme's own. ``*`` as
            host allows every name and address. What has no host, ``sqlite:///folder/bus.db``, is compared literally, up
            to a ``*`` at its end.

    Raises:
        ServiceConfigurationError: a pattern cannot be read; the message says how to write one.
    """

    def __init__(self, patterns: Iterable[str] = LOOPBACK_HTTP) -> None:
        self.patterns = tuple(patterns)
        self._entries = tuple(_read(pattern) for pattern in self.patterns)

    def refusal(self, url: str) -> str:
        """Return why a URL may not be called; empty where it may."""
        try:
            address = parse_address(url)
        except ValueError as error:
            return str(error)
        if any(entry.allows(address) for entry in self._entries):
            return ""
        return "it is not on the list of allowed addresses"

    def allows(self, url: str) -> bool:
        """Tell whether a URL may be called."""
        return not self.refusal(url)


def _read(pattern: str) -> _Entry:
    parts = _PATTERN.fullmatch(pattern) if isinstance(pattern, str) else None
    if parts is None:
        raise _unfit(pattern)
    scheme = parts["scheme"]
    if parts["path"]:
        return _Entry(scheme, _ANY_PORT, path=parts["path"])
    port = _ANY_PORT if parts["port"] == "*" else int(parts["port"] or _PORTS.get(scheme, 0))
    if port > 65535:
        raise _unfit(pattern)
    host = parts["host"].strip("[]").lower().removesuffix(".")
    if host == "*":
        return _Entry(scheme, port, host=host)
    if "/" not in host and _ip(host) is None and not parts["host"].startswith("["):
        return _Entry(scheme, port, host=host)
    try:
        return _Entry(scheme, port, network=ip_network(host))
    except ValueError as error:
        raise _unfit(pattern, f": {error}") from None


def _unfit(pattern: object, why: str = "") -> ServiceConfigurationError:
    return ServiceConfigurationError(f"{mask(str(pattern))!r} is no pattern of addresses{why}: write {_SHAPE}")


def _ip(host: str) -> IpAddress | None:
    try:
        ip = ip_address(host)
    except ValueError:
        return None
    if not isinstance(ip, IPv6Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    # What is reached through a gateway: loopback would be the gateway's own.
    beyond = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.sixtofour
    return ip if beyond is None or beyond.is_loopback else beyond


def _is_inside(network: IpNetwork, other: IpNetwork) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)
