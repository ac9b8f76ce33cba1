"""What a client asks for: a call, or a notification."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypedDict, TypeVar

from gemstone_events import strict_json
from gemstone_events.errors import UnknownSchemeError
from gemstone_events.rpc.protocol import JsonRpcRequest, Params
from gemstone_events.schemes import mask

# "localhost:8001" names a host and a port.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?!\d)")
# Longer ones overflow the clocks of threads, and RabbitMQ answers them by closing the connection.
_YEAR = 365 * 24 * 3600
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

IdempotencyKey: TypeAlias = str | Literal[True] | None


class CallOptions(TypedDict, total=False):
    """What every way to call takes by name, besides the parameters.

    Attributes:
        timeout: seconds to wait for the answer, all attempts together; None for the service's.
        idempotent: carrying the call out twice does no harm, so that it may be repeated if its outcome is unknown.
        idempotency_key: a name for this one call, by which the service carries it out once however often it comes;
            True for a fresh random one.
        headers: sent with the call.
    """

    timeout: float | None
    idempotent: bool
    idempotency_key: IdempotencyKey
    headers: Mapping[str, str]


_ID_BITS = 53  # what programs whose numbers are all doubles can hold

OPTIONS = frozenset(CallOptions.__annotations__)
"""The names of ``CallOptions``."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A call or a notification: what both have. Two are equal only if they are the same object.

    Attributes:
        method_name: the method's name.
        params: a list for parameters by place, a mapping for parameters by name.
        id: what the answer is known by.
        timeout, idempotent, idempotency_key, headers: see ``CallOptions``.

    Raises:
        ValueError: something cannot be sent; the message says what.
    """

    method_name: str
    params: "Params | None" = None
    id: str | int | None = None
    timeout: float | None = field(default=None, kw_only=True)
    idempotent: bool = field(default=False, kw_only=True)
    idempotency_key: IdempotencyKey = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "id", self._choose_id())

    def _choose_id(self) -> str | int | None:
        raise NotImplementedError


class MethodCall(Request):
    """A call of a method, see ``Request``; its ``id`` is made up where it is left out."""

    __slots__ = ()

    def _choose_id(self) -> str | int:
        return secrets.randbits(_ID_BITS) if self.id is None else self.id


class Notification(Request):
    """A request that is not answered, not even with an error, see ``Request``.

    Its ``id`` is None; it is taken for the sake of code that passes one.
    """

    __slots__ = ()

    def _choose_id(self) -> None:
        return None


def request_object(request: Request) -> JsonRpcRequest:
    """Return the request object of JSON-RPC (section 4)."""
    params = request.params or ()
    fit = dict(params) if isinstance(params, Mapping) else list(params)
    return JsonRpcRequest(request.method_name, fit, request.id, is_notification=isinstance(request, Notification))


def encode(request: Request) -> bytes:
    """Return the request object of JSON-RPC, as JSON.

    Raises:
        ValueError: a parameter is not strict JSON; the message names it and the method.
    """
    try:
        return strict_json.dumps(request_object(request).to_dict())
    except ValueError as error:
        params = request.params or ()
        named = params.items() if isinstance(params, Mapping) else enumerate(params, 1)
        for name, value in named:
            if not _is_json(value):
                raise ValueError(f"the parameter {name!r} of {request.method_name!r} cannot be sent: {error}") from None
        raise ValueError(f"the call of {request.method_name!r} cannot be sent: {error}") from None


R = TypeVar("R", MethodCall, Notification)


def request_of(kind: type[R], given: str | R, params: "Params | None", options: CallOptions) -> R:
    """Return the request that a method's name, parameters and options stand for, or that is given whole.

    Raises:
        TypeError: it is neither a name nor a request of that kind, or there is no such option.
        ValueError: there are parameters, or options, besides a request that brings its own.
    """
    check_options(options)
    if isinstance(given, str):
        return kind(given, params, **options)
    if not isinstance(given, kind):
        raise TypeError(f"a method's name or a {kind.__name__} is wanted, not {type(given).__name__}")
    if params is not None or options:
        raise ValueError(f"the {kind.__name__} of {given.method_name!r} brings parameters and options: give it those")
    return given


def check_options(options: Mapping[str, object]) -> None:
    """Let pass what are options of a call.

    Raises:
        TypeError: one is none.
    """
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise TypeError(
            f"{', '.join(map(repr, unknown))}: no such option of a call; there are {', '.join(sorted(OPTIONS))}. What is "
            "meant for the method goes into params, a list or a mapping"
        )


def check_url(url: str) -> str:
    """Return the URL of a service; whether it can be called is for its wire to say.

    Raises:
        TypeError: it is no text.
        UnknownSchemeError: it has no scheme.
    """
    if not isinstance(url, str):
        raise TypeError(f"the URL of a service is wanted, such as http://host:port/api, not {url!r:.100}")
    if not _SCHEME.match(url):
        raise UnknownSchemeError(
            f"{mask(url)!r} is no URL of a service: its scheme is missing. Write http://host:port/api, or "
            "amqp://host/vhost#service; a service that is known by name only is found by get_service(name)"
        )
    return url


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with their names in lower case.

    Raises:
        ValueError: one cannot be sent; the message names it, never its value.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError(f"the value of the header {name!r} has to be a text of printable characters")
    return {name.lower(): value for name, value in headers.items()}


def check_timeout(seconds: float) -> float:
    """Return a timeout.

    Raises:
        ValueError: it is no number of seconds above 0, or more than a year.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _YEAR:
        raise ValueError(
            f"a timeout is a number of seconds above 0 and up to {_YEAR} (a year), not {seconds!r:.30}: nothing may "
            "wait for ever"
        )
    return float(seconds)


def _is_json(value: object) -> bool:
    try:
        strict_json.dumps(value)
    except ValueError:
        return False
    return True


def _check(request: Request) -> None:
    if not isinstance(request.method_name, str) or not request.method_name:
        raise ValueError(f"the name of a method is a text, not {request.method_name!r}")
    params = request.params
    if params is not None and (isinstance(params, str | bytes) or not isinstance(params, Sequence | Mapping)):
        raise ValueError(f"the parameters of {request.method_name!r} are a list or a dict, not {params!r:.100}")
    if type(request.id) not in (str, int, type(None)):
        raise ValueError(f"the id of a call is a text or a whole number, not {request.id!r:.100}")
    if request.timeout is not None:
        check_timeout(request.timeout)
    key = request.idempotency_key
    if not (key is None or key is True or (isinstance(key, str) and key and key.isprintable())):
        raise ValueError("an idempotency key is a printable text; True takes a fresh one")
