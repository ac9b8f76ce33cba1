"""What a call or an event that is being handled hands on to the calls made meanwhile: its deadline and its trace."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallScope:
    """The call, or the attempt at an event, that is being carried out.

    Attributes:
        deadline: when it is given up, by ``time.monotonic``.
        traceparent: the trace that it belongs to, if any (W3C Trace Context, section 3.2).
    """

    deadline: float
    traceparent: str | None = None

    @property
    def seconds_left(self) -> float:
        """How long it may still take; negative when it is over."""
        return self.deadline - time.monotonic()


_current: ContextVar[CallScope | None] = ContextVar("gemstone_events_call_scope", default=None)


def current_call_scope() -> CallScope | None:
    """Return the scope that the running code belongs to, or None. It is known in threads of a ``def``, too."""
    return _current.get()


@contextmanager
def call_scope(scope: CallScope) -> Iterator[CallScope]:
    """Carry something out: what runs inside knows its scope."""
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)
