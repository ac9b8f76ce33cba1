"""What a call or an event that is being handled hands on to the calls made meanwhile: its deadline and its trace."""

import math
import time
from asyncio import CancelledError
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType


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

    __slots__ = ("_token", "scope")

    def __init__(self, scope: CallScope) -> None:
        self.scope = scope
        self._token: Token[_Current | None] | None = None

    def __enter__(self) -> CallScope:
        self._token = _current.set(self)
        return self.scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
        if not isinstance(error, CancelledError):  # who is given up keeps his deadline
            self.scope = CallScope(math.inf, self.scope.traceparent)


_current: ContextVar[_Current | None] = ContextVar("gemstone_events_call_scope", default=None)


def current_call_scope() -> CallScope | None:
    """Return the scope that the running code belongs to, or None. It is known in threads of a ``def``, too.

    A task that was begun in a call and goes on when that has ended has its trace still, but no deadline. Where the call
    was given up, its deadline stays: nobody waits for what such a thread or task does.
    """
    current = _current.get()
    return None if current is None else current.scope


def call_scope(scope: CallScope) -> AbstractContextManager[CallScope]:
    """Carry something out: what runs inside knows its scope."""
    return _Current(scope)
