"""``amqp://`` and ``amqps://`` URLs (RabbitMQ URI Specification), and the TLS context that goes with them."""

import ssl
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.url_options import TLS_OPTIONS, read_options
from gemstone_events.urls import check_visible

_PORTS = {"amqp": 5672, "amqps": 5671}
_SHAPE = "amqp[s]://user:password@host:port/virtual_host"


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a RabbitMQ broker is, and how to log in.

    Attributes:
        tls: the connection is encrypted; the broker's certificate chain and host name are then always checked.
        cafile: PEM file of the authorities to trust; empty for the system's.
        certfile: PEM file of the client's own certificate; empty for none.
        keyfile: PEM file of its key; empty where ``certfile`` holds it.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    virtual_host: str
    tls: bool = False
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""

    @property
    def address(self) -> str:
        """The URL without credentials and options."""
        scheme = "amqps" if self.tls else "amqp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/{quote(self.virtual_host, safe='')}"

    def tls_context(self) -> ssl.SSLContext:
        """Return a context that checks chain and host name; it reads the files, so that renewed ones are seen.

        Raises:
            OSError: a file cannot be read (``ssl.SSLError`` where it holds something else).
        """
        context = ssl.create_default_context(cafile=self.cafile or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certfile:
            context.load_cert_chain(self.certfile, self.keyfile or None)
        return context


def parse_url(url: str) -> Broker:
    """Read a broker's URL.

    Defaults: user and password ``guest``, port 5672 (5671 with TLS), virtual host ``/``, which may also be written
    ``//`` or ``/%2F``. ``amqps`` takes the options ``cafile``, ``certfile`` and ``keyfile``; there is none to check
    less.

    Raises:
        ServiceConfigurationError: it is no such URL. The error never quotes it, for the password's sake.
    """
    try:
        check_visible(url)
    except ValueError as error:
        raise _unfit(str(error)) from None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unfit("its host or port cannot be read") from None
    if parts.scheme not in _PORTS:
        raise _unfit("its scheme is neither amqp nor amqps")
    if not parts.hostname:
        raise _unfit("it names no host")
    if parts.fragment:
        raise _unfit("it has a fragment ('#')")
    tls = parts.scheme == "amqps"
    options = _options(parts.query, tls)
    return Broker(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        user=unquote(parts.username) if parts.username else "guest",
        password=unquote(parts.password) if parts.password is not None else "guest",
        virtual_host=_virtual_host(parts.path),
        tls=tls,
        **options,
    )


def _virtual_host(path: str) -> str:
    if path in ("", "/", "//"):
        return "/"
    name = path[1:]
    if "/" in name:
        raise _unfit("its virtual host holds a plain '/', to be written %2F")
    return unquote(name)


def _options(query: str, tls: bool) -> dict[str, str]:
    if query and not tls:
        raise _unfit("amqp takes no options after '?'")
    try:
        return read_options(query, TLS_OPTIONS)
    except ValueError as error:
        raise _unfit(str(error)) from None


def _unfit(why: str) -> ServiceConfigurationError:
    return ServiceConfigurationError(
        f"an AMQP URL cannot be used: {why}. Write {_SHAPE}; in user, password and virtual host, "
        "characters such as '/', '@', ':', '?' and '#' are written as %2F, %40, %3A, %3F and %23"
    )
