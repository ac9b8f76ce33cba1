"""Everything that one handler, method or periodic task changes, kept or dropped as one."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextvars import ContextVar, Token
from enum import Enum
from types import TracebackType
from typing import Self

from gemstone_events.errors import UnitOfWorkError
from gemstone_events.event import Event, new_id
from gemstone_events.message import Message
from gemstone_events.store.port import Changes, EventStore, InboxKey, SqlParameters, SqlValue, Statement

_current: ContextVar["UnitOfWork | None"] = ContextVar("gemstone_events_unit_of_work", default=None)


class _State(Enum):
    OPEN = "open"
    COMPLETE = "complete"
    ABANDONED = "abandoned"


class UnitOfWork:
    """Collects changes while it is entered; ``complete`` hands them over for one commit, an exception drops them.

    Attributes:
        store: where the changes will be written; None where a method is tried out without its service running.
        cause: the event being handled, or None in a method or a periodic task.
        correlation_id: the id that everything emitted here shares.
        traceparent: the trace that everything emitted here belongs to, if any.
        changes: what will be written.
    """

    __slots__ = ("_correlation_id", "_state", "_token", "cause", "changes", "store", "traceparent")

    def __init__(
        self,
        store: EventStore | None,
        cause: Event | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> None:
        self.store = store
        self.cause = cause
        self.traceparent = cause.traceparent if cause else traceparent
        self.changes = Changes()
        self._correlation_id = (cause.correlationid or cause.id) if cause else correlation_id
        self._state = _State.OPEN
        self._token: Token[UnitOfWork | None] | None = None

    @property
    def correlation_id(self) -> str:
        """The id that everything emitted here shares; made when it is first needed."""
        if self._correlation_id is None:
            self._correlation_id = new_id()
        return self._correlation_id

    def emit(self, message: Message) -> None:
        """Add a message to what will be written to the log.

        Raises:
            UnitOfWorkError: the unit has ended.
        """
        self._require_open()
        self.changes.emitted.append(message)

    def execute(self, sql: str, parameters: SqlParameters = ()) -> None:
        """Add a statement of the author's own, in the store's database; it runs at the commit, in order.

        Args:
            sql: one statement in the store's dialect; it returns nothing to the caller.
            parameters: values for its ``?`` or ``:name`` placeholders.

        Raises:
            UnitOfWorkError: the unit has ended.
        """
        self._require_open()
        self.changes.statements.append(Statement(sql, parameters))

    def query(self, sql: str, parameters: SqlParameters = ()) -> Awaitable[Sequence[tuple[SqlValue, ...]]]:
        """Return, to be awaited, the rows of a reading statement.

        It sees what is committed and nothing of this unit's own statements, which run at the commit. It locks nothing:
        what other handlers commit meanwhile is not noticed, so let statements compute (``set n = n + 1``).

        Raises:
            StatementError: it failed, or would write (where it is awaited).
            UnitOfWorkError: it is called from a ``def``, which cannot await.
        """
        if self.store is None:
            raise UnitOfWorkError("the service is not running, so there is nothing to query")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise UnitOfWorkError("a query has to be awaited: make the function that asks async def") from None
        return self.store.query(Statement(sql, parameters))

    def complete(self, handled: InboxKey | None = None) -> Changes:
        """Close the unit and return what is to be committed, with the mark of the event that it handled."""
        self._require_open()
        self._state = _State.COMPLETE
        if handled is not None:
            self.changes.handled.append(handled)
        return self.changes

    @property
    def is_complete(self) -> bool:
        """The unit ended well: nothing can be added to it any more."""
        return self._state is _State.COMPLETE

    def _require_open(self) -> None:
        if self._state is not _State.OPEN:
            raise UnitOfWorkError(
                f"the unit of work is {self._state.value}: what runs on after its handler returned, failed or "
                "timed out cannot add to it"
            )

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
        if error is not None:
            self._state = _State.ABANDONED


def current_unit_of_work() -> UnitOfWork | None:
    """Return the unit of work that the running code belongs to, or None outside of any."""
    return _current.get()
