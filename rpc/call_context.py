"""Where a call comes from, the same on every wire."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from gemstone_events.rpc.protocol import Params

TIMEOUT_HEADER = "gemstone-timeout"
"""Seconds that the caller still waits, as a decimal number: relative, for the clocks of two machines differ."""
IDEMPOTENCY_HEADER = "idempotency-key"
"""Calls with equal keys are one call, carried out once."""
TRACE_HEADER = "traceparent"


def no_handler(context: "CallContext") -> object:
    """Return the handler of a wire that has none: ``None``."""
    return None


class Caller(Protocol):
    """Who sent a body: found out when it is first asked, and once, however many calls the body holds."""

    async def identify(self, purpose: str) -> object:
        """Return what the service's ``authenticate_request`` says of the caller; a false value for a stranger.

        Args:
            purpose: what is called, for the log.

        Raises:
            AccessDenied: he failed too often, and is not looked at for a while.
        """

    def identify_now(self, purpose: str) -> object:
        """Do the same, where nothing can be awaited.

        Raises:
            AccessDenied: he failed too often.
            ServiceConfigurationError: ``authenticate_request`` is a coroutine.
        """

    def sent_body(self, digest: bytes) -> bool:
        """Tell whether the body's SHA-256 is ``digest``.

        Where the caller is looked at before the body has come, the answer is True, and he is a stranger after all if
        the body then is another.
        """

    def mark(self, salt: str) -> str:
        """Return what tells him from others of whom the service says no more than "known": a hash of his tokens.

        Args:
            salt: the hash is keyed with it.

        Returns:
            hexadecimal digits; empty where no ``validation_strategies`` entry finds a token.
        """


@dataclass(frozen=True, slots=True)
class CallContext:
    """Where a call comes from; the same for all calls of a batch.

    Attributes:
        wire: "http", "amqp", or the name of another wire.
        headers: the request's headers; they are looked up in lower case, and HTTP's in any case of letters.
        peer: who calls, as far as the wire knows: an address, for logs.
        make_handler: returns ``handler``, the same one each time; made on demand, for most calls need none.
        timeout: seconds that the caller still waits; ``None``: it does not say.
        is_repeated: another instance had the body before and died, so that it may have been carried out already.
        idempotency_key: the caller's name for this one call, however often he sends it.
        params: of a call with an idempotency key: what it was sent with, to tell it from others under the same key.
        caller: who sent the body; None where the wire's owner does not authenticate.
    """

    wire: str
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    make_handler: "Callable[[CallContext], object]" = no_handler
    timeout: float | None = None
    is_repeated: bool = False
    idempotency_key: str | None = None
    params: Params = ()
    caller: Caller | None = None

    def sent_by(self, caller: Caller, make_handler: "Callable[[CallContext], object]") -> "CallContext":
        """Return the same, of a body whose sender can be found out."""
        # Written out, for each call passes here, and ``replace`` takes three times as long.
        return CallContext(
            self.wire,
            self.headers,
            self.peer,
            make_handler,
            self.timeout,
            self.is_repeated,
            self.idempotency_key,
            self.params,
            caller,
        )

    @property
    def handler(self) -> object:
        """The request as methods see it, an ``RpcHandler``: for HTTP Tornado's own. Ask on the event loop."""
        if self.idempotency_key is None:
            return self.make_handler(self)
        # The key stands for the call that came with it: what a method calls through its handler are calls of their own.
        return self.make_handler(replace(self, idempotency_key=None))


def read_timeout(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the caller still waits; None where the header is missing, or no such number."""
    text = headers.get(TIMEOUT_HEADER)
    if text is None or len(text) > 32:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def write_timeout(seconds: float) -> str:
    """Return the value of ``TIMEOUT_HEADER``."""
    return f"{seconds:.3f}"
