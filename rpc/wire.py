"""The port of wires: how a JSON-RPC body reaches a service, and how the answer comes back.

A wire has two sides. ``ServerWire`` brings bodies to one running service, ``ClientWire`` takes them to services; HTTP's
server side is ``wires/http/server.py``. Both are found by the scheme of their URL among the entry points
``gemstone_events.rpc_servers`` and ``gemstone_events.rpc_clients``, so that a wire over another broker touches nothing
else: an adapter imports this module, ``call_errors``, ``call_context`` and ``presence``.

A service is called under the URL of a broker or bus with its name as fragment: ``amqp://host/vhost#orders``,
``sqlite:///folder/bus.db#orders``, ``memory://bus#orders``.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.presence import Presence
from gemstone_events.schemes import scheme_of, schemes

CLIENTS = "gemstone_events.rpc_clients"
SERVERS = "gemstone_events.rpc_servers"


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A body on its way to a service.

    Attributes:
        body: one JSON-RPC request, or a batch.
        timeout: seconds that the caller waits, more than 0; the wire carries it to the server.
        headers: names in lower case; values of printable characters. The wire adds the
            timeout by itself, as ``TIMEOUT_HEADER`` or as what its broker has for that.
        is_answered: False where the body holds notifications only, so that nothing comes back.
    """

    body: bytes
    timeout: float
    headers: Mapping[str, str] = field(default_factory=dict)
    is_answered: bool = True


@dataclass(slots=True)
class WireCounts:
    """What a client's side of a wire has seen, for logs and tests.

    Attributes:
        late: answers to calls that had been given up.
        unexpected: answers that nobody had asked for: forged, or sent twice.
        unknown: calls whose outcome did not become known.
    """

    late: int = 0
    unexpected: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What a client's side of a wire is made with.

    Attributes:
        namespace: the namespace of the services that are called.
        client: the caller's name, to be shown where a broker lists its clients.
        body_bytes: the longest answer that is taken.
        pending: how many calls may wait for their answers at once; further ones fail as unreachable.
    """

    namespace: str = "gemstone"
    client: str = "gemstone_events"
    body_bytes: int = 4 * 1024 * 1024
    pending: int = 1000


class ClientWire(Protocol):
    """Takes bodies to services: to all of a scheme, over connections that it opens when they are needed, and keeps.

    All methods belong to one event loop. The constructor opens nothing. The entry point names a callable
    ``(settings: ClientSettings) -> ClientWire``.
    """

    counts: WireCounts

    def address(self, url: str) -> str:
        """Return the service's URL without credentials and options, fit to be shown.

        Raises:
            ServiceConfigurationError: it is no URL of a service on this wire; the message says how to write one.
        """

    async def call(self, url: str, request: WireRequest) -> bytes | None:
        """Take a request to a service and return the answer; None where the service says nothing.

        A notification's call returns when it is certain that a service has it. It never lasts longer than the
        request's ``timeout``, and a little.

        Raises:
            ServiceNotFoundError: there is no such service, or no instance of it runs. It was not carried out.
            ServiceUnreachableError: there is no way to it now. It was not carried out.
            CallTimeoutError: no answer came in time. It may have been carried out.
            OutcomeUnknownError: the way was lost after it was sent. It may have been carried out.
            ServiceConfigurationError: the URL cannot be used.
        """

    async def find(self, url: str, pattern: str, patience: float, *, all_of_them: bool = True) -> Sequence[Presence]:
        """Return who serves calls now, on the broker or bus of ``url``: running instances only.

        Args:
            url: the broker's or bus's, or that of a service on it.
            pattern: a service's name or a glob pattern: ``*`` and ``?`` stand for any characters, as in ``fnmatch``.
            patience: seconds to wait for instances to answer.
            all_of_them: wait for everybody; otherwise one is enough, and others may be missing.

        Raises:
            ServiceUnreachableError: the broker cannot be reached.
            ServiceConfigurationError: the wire has no such means (HTTP).
        """

    async def close(self) -> None:
        """Disconnect. What is pending fails: its outcome is unknown. Twice is harmless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What a server's side of a wire is made with.

    Attributes:
        service: the name under which it is called; its instances share the calls.
        presence: says, each time it is asked, who and where this instance is.
        namespace: prefixes every name on the broker.
        concurrency: how many bodies may be in work at once.
        body_bytes: the longest body that is taken.
    """

    service: str
    presence: Callable[[], Presence]
    namespace: str = "gemstone"
    concurrency: int = 256
    body_bytes: int = 1024 * 1024


Answer: TypeAlias = Callable[[bytes, CallContext], Awaitable[bytes | None]]
"""Carries out a body and returns what to send back, or None. It raises nothing but its own cancellation."""


@dataclass(frozen=True, slots=True)
class WireStatus:
    """Whether calls come in by a wire now; ``detail`` is for people, empty when all is well, and shows no password."""

    serving: bool
    detail: str = ""


class ServerWire(Protocol):
    """Brings bodies to one service and answers back, over a broker or bus.

    The entry point names a callable ``(url: str, settings: ServerSettings) -> ServerWire`` that opens nothing; ``url``
    is the broker's or bus's. All methods belong to one event loop.

    A body that is handed out a second time, because the instance that had it first is gone, has
    ``CallContext.is_repeated`` set. The sender is told (the message acked) when ``answer`` has returned, so that
    nothing is lost that was not begun.
    """

    @property
    def address(self) -> str:
        """The service's URL on this wire, without credentials."""

    async def start(self, answer: Answer) -> None:
        """Begin to serve. A broker that is away is no error: the wire connects when it comes, again and again.

        Raises:
            ServiceConfigurationError: the first attempt was refused, and only a change of configuration can mend it.
        """

    async def stop(self, timeout: float) -> bool:
        """Take no more; finish what was begun and send its answers; cancel what takes longer than ``timeout`` seconds.

        Returns:
            True if everything was finished in time.
        """

    async def close(self) -> None:
        """Disconnect, in five seconds at most. Twice is harmless."""

    def status(self) -> WireStatus:
        """Whether calls come in now."""


def service_url(broker_url: str, service: str) -> str:
    """Return the URL of a service on a broker or bus."""
    return f"{broker_url}#{service}"


def servable(urls: Iterable[object]) -> list[str]:
    """Return those of ``urls`` that are URLs of a broker or bus by which calls can come in."""
    known = schemes(SERVERS)
    return [url for url in urls if isinstance(url, str) and scheme_of(url) in known]
