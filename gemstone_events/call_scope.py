"""What a call or an event that is being handled hands on to the calls made meanwhile: its deadline and its trace."""

import math
import time
from asyncio import CancelledError
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


class _Current:
    """What tasks and threads that were begun in a scope share: they may outlive it."""

    __slots__ = ("scope",)

    def __init__(self, scope: CallScope) -> None:
        self.scope = scope


_current: ContextVar[_Current | None] = ContextVar("gemstone_events_call_scope", default=None)


def current_call_scope() -> CallScope | None:
    """Return the scope that the running code belongs to, or None. It is known in threads of a ``def``, too.

    A task that was begun in a call and goes on when that has ended has its trace still, but no deadline. Where the call
    was given up, its deadline stays: nobody waits for what such a thread or task does.
    """
    current = _current.get()
    return None if current is None else current.scope


@contextmanager
def call_scope(scope: CallScope) -> Iterator[CallScope]:
    """Carry something out: what runs inside knows its scope."""
    current = _Current(scope)
    token = _current.set(current)
    is_given_up = False
    try:
        yield scope
    except CancelledError:
        is_given_up = True
        raise
    finally:
        _current.reset(token)
        if not is_given_up:
            current.scope = CallScope(math.inf, scope.traceparent)
