"""Where a call comes from, the same on every wire."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

TIMEOUT_HEADER = "gemstone-timeout"
"""Seconds that the caller still waits, as a decimal number: relative, for the clocks of two machines differ."""
IDEMPOTENCY_HEADER = "idempotency-key"
"""Calls with equal keys are one call, carried out once."""
TRACE_HEADER = "traceparent"


def no_handler(context: "CallContext") -> object:
    """Return the handler of a wire that has none: ``None``."""
    return None


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
    """

    wire: str
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    make_handler: "Callable[[CallContext], object]" = no_handler
    timeout: float | None = None
    is_repeated: bool = False
    idempotency_key: str | None = None

    @property
    def handler(self) -> object:
        """The wire's own object for the request: for HTTP a ``tornado.web.RequestHandler``. Ask on the event loop."""
        return self.make_handler(self)

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
