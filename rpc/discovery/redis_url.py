"""``redis://``, ``rediss://`` and ``unix://`` URLs, read strictly: no option can switch the checks of TLS off."""

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.loopback import is_loopback
from gemstone_events.url_options import TLS_OPTIONS, read_options
from gemstone_events.urls import check_visible

_SHAPE = "redis[s]://user:password@host:port/database or unix:///path/redis.sock?db=0"
_OPTIONS = {"redis": (), "rediss": TLS_OPTIONS, "unix": ("db",)}


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Where a Redis server is, and how to log in.

    Attributes:
        path: of the socket, for ``unix``; then host and port mean nothing.
        tls: encrypted, with chain and host name of the server's certificate checked.
        cafile: PEM file of the authorities to trust; empty for the system's.
        certfile: PEM file of the client's own certificate; empty for none.
        keyfile: PEM file of its key; empty where ``certfile`` holds it.
    """

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    database: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""

    @property
    def address(self) -> str:
        """The URL without credentials and options."""
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' if self.tls else ''}://{host}:{self.port}/{self.database}"

    @property
    def is_local(self) -> bool:
        """Whether it is reached within this machine."""
        return bool(self.path) or is_loopback(self.host)

    def client(self, timeout: float) -> Redis:
        """Return a client, not connected yet, that waits ``timeout`` seconds at most for each answer."""
        return Redis(
            host=self.host,
            port=self.port,
            unix_socket_path=self.path or None,
            db=self.database,
            username=self.user,
            password=self.password,
            ssl=self.tls,
            ssl_cert_reqs="required",
            ssl_check_hostname=True,
            ssl_ca_certs=self.cafile or None,
            ssl_certfile=self.certfile or None,
            ssl_keyfile=self.keyfile or None,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )


def parse_redis_url(url: str) -> RedisServer:
    """Read a Redis server's URL.

    ``rediss`` takes the options ``cafile``, ``certfile`` and ``keyfile``, ``unix`` takes ``db``.

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
    if parts.scheme not in _OPTIONS:
        raise _unfit("its scheme is none of redis, rediss and unix")
    try:
        options = read_options(parts.query, _OPTIONS[parts.scheme])
    except ValueError as error:
        raise _unfit(str(error)) from None
    user, password = _text(parts.username), _text(parts.password)
    if parts.fragment:
        raise _unfit("it has a fragment ('#')")
    if parts.scheme == "unix":
        if not parts.path or parts.hostname or port:
            raise _unfit("after unix:// comes the absolute path of the socket")
        database = _database(options.get("db", ""))
        return RedisServer(path=unquote(parts.path), database=database, user=user, password=password)
    if not parts.hostname:
        raise _unfit("it names no host")
    return RedisServer(
        host=parts.hostname,
        port=port or 6379,
        database=_database(parts.path.removeprefix("/")),
        user=user,
        password=password,
        tls=parts.scheme == "rediss",
        **options,
    )


def _text(quoted: str | None) -> str | None:
    return unquote(quoted) if quoted else None


def _database(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdecimal():
        raise _unfit("its database is no number")
    return int(text)


def _unfit(why: str) -> ServiceConfigurationError:
    return ServiceConfigurationError(
        f"a Redis URL cannot be used: {why}. Write {_SHAPE}; rediss takes the options "
        f"{', '.join(TLS_OPTIONS)}, and always checks the server's certificate and host name"
    )
