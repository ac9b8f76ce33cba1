"""Where a service is called through RabbitMQ, and what its queue and exchange are called there."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from gemstone_events.amqp_url import Broker, parse_url
from gemstone_events.errors import InvalidNameError, ServiceConfigurationError
from gemstone_events.names import check_name
from gemstone_events.urls import check_visible

_SHAPE = "amqp[s]://user:password@host:port/virtual_host#service, or amqp://host/service in the default virtual host"
_CONFIRMS = {"all": True, "notifications": False}


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """A service on a broker.

    Attributes:
        confirms_calls: the broker confirms calls too, and not only notifications.
    """

    broker: Broker
    service: str
    confirms_calls: bool = False

    @property
    def shown(self) -> str:
        """The URL without credentials and options."""
        return f"{self.broker.address}#{self.service}"


def parse_service_url(url: str) -> ServiceAddress:
    """Read the URL of a service.

    The service's name is the fragment of the broker's URL. Without a fragment it is the last segment of the path, and
    what stands before it is the virtual host: ``amqp://host/orders``, ``amqp://host/vhost/orders``. The option
    ``?confirms=all`` has the broker confirm calls as well as notifications.

    Raises:
        ServiceConfigurationError: it is no such URL. The error never quotes it, for the password's sake.
    """
    _check(url)
    broker_url, hash_sign, fragment = url.partition("#")
    if not hash_sign:
        broker_url, fragment = _split_path(url)
    try:
        service = check_name("service", unquote(fragment))
    except InvalidNameError as error:
        raise _unfit(str(error)) from None
    broker_url, confirms_calls = _take_confirms(broker_url)
    return ServiceAddress(parse_url(broker_url), service, confirms_calls)


def parse_any_url(url: str) -> Broker:
    """Return the broker of its own URL, or of a service's. Without a fragment, one segment of path is a virtual host.

    Both may have the option ``confirms``, so that who looks services up on a broker has calls of them confirmed.

    Raises:
        ServiceConfigurationError: it is no such URL.
    """
    _check(url)
    if "#" in url or _segments(url)[1:]:
        return parse_service_url(url).broker
    return parse_url(_take_confirms(url)[0])


def call_queue(namespace: str, service: str) -> str:
    """Return the name of the queue that holds a service's calls."""
    return f"{namespace}.rpc.{service}"


def presence_exchange(namespace: str) -> str:
    """Return the name of the exchange by which running instances are asked who they are."""
    return f"{namespace}.rpc.presence"


def _check(url: str) -> None:
    try:
        check_visible(url)
    except ValueError as error:
        raise _unfit(str(error)) from None


def _take_confirms(url: str) -> tuple[str, bool]:
    """Return a broker's URL without the option ``confirms``, and whether that asks for all."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, False  # parse_url says what is wrong
    options = parse_qsl(parts.query, keep_blank_values=True)
    asked = [value for name, value in options if name == "confirms"]
    if not asked:
        return url, False
    if len(asked) > 1 or asked[0] not in _CONFIRMS:
        raise _unfit(f"its option 'confirms' is one of {', '.join(_CONFIRMS)}")
    others = [(name, value) for name, value in options if name != "confirms"]
    return parts._replace(query=urlencode(others)).geturl(), _CONFIRMS[asked[0]]


def _split_path(url: str) -> tuple[str, str]:
    """Return the broker's URL and the service's name of a URL without a fragment."""
    segments = _segments(url)
    if not segments or not segments[-1]:
        raise _unfit("it names no service")
    *before, service = segments
    virtual_host = "/".join(before) or "%2F"
    return urlsplit(url)._replace(path=f"/{virtual_host}").geturl(), service


def _segments(url: str) -> list[str]:
    """Return the parts of the path; a lone ``//`` is the default virtual host, as in a broker's URL."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return []  # parse_url says what is wrong
    return [] if path in ("", "/", "//") else path[1:].split("/")


def _unfit(why: str) -> ServiceConfigurationError:
    return ServiceConfigurationError(f"the URL of a service cannot be used: {why}. Write {_SHAPE}")
