"""Where a call over HTTP goes."""

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.schemes import mask
from gemstone_events.urls import check_visible

DEFAULT_PATH = "/api"


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """A service's place.

    Attributes:
        url: what to send to, without user and password.
        address: the same without query, fit to be shown.
        headers: ``authorization`` where the URL named a user.
    """

    url: URL
    address: str
    headers: Mapping[str, str]


def read_target(url: str) -> HttpTarget:
    """Read a service's URL.

    Raises:
        ServiceConfigurationError: it is no URL of HTTP; the message says how to write one.
    """
    try:
        check_visible(url)
        parts = URL(url)
        is_fit = parts.scheme in ("http", "https") and bool(parts.host) and parts.port != 0 and not parts.raw_fragment
        (parts.host or "").encode("idna")  # whoever looks the host up does the same
    except ValueError:
        is_fit = False
    if not is_fit:
        named = bool(url.partition("#")[2])
        mend = "over HTTP the address says which, so leave out the '#' and the name"
        raise ServiceConfigurationError(
            f"{mask(url)!r} is no URL of a service: {mend if named else 'write http://host:port/api, or https:'}"
        )
    headers = {}
    if parts.user is not None:
        pair = f"{parts.user}:{parts.password or ''}".encode()
        headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    bare = parts.with_user(None)
    if bare.path in ("", "/"):
        bare = bare.with_path(DEFAULT_PATH, keep_query=True)
    return HttpTarget(bare, str(bare.with_query(None)), headers)


def failure_of(error: Exception, target: HttpTarget) -> str:
    """Return why there is no connection, for people."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate does not hold: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"there is no host {target.url.host!r}: {_said(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionRefusedError):
            return "the connection was refused; does it run there?"
        if isinstance(error.os_error, ssl.SSLError | ConnectionResetError | ConnectionAbortedError):
            return f"no secure connection ({_said(error.os_error)}); is it https:// to a port that speaks http?"
        return _said(error.os_error)
    return str(error) or type(error).__name__


def _said(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
