"""Group commit: all units of work that wait are committed in one physical transaction, with one fsync."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import apsw

from gemstone_events.errors import GemstoneError, StoreUnavailableError
from gemstone_events.store.sqlite_thread import DatabaseThread
from gemstone_events.store.sqlite_units import Unit

MAX_UNITS = 1024
MAX_BYTES = 8 * 1024 * 1024

Outcomes: TypeAlias = Sequence[GemstoneError | None]
_Waiting: TypeAlias = "tuple[Unit, asyncio.Future[None]]"


class GroupCommit:
    """Collects units on the event loop and hands them to the writing thread, one group at a time.

    A group leaves at the end of the loop's turn, not with its first unit: the tasks that the last group woke come
    together again, instead of as one that goes ahead and many that wait for it.

    Args:
        thread: the one that writes.
        commit: commits a group in that thread and says for each unit why it failed, or None.
        emitted: called when a unit that adds to the log was committed.
    """

    def __init__(
        self,
        thread: DatabaseThread,
        commit: Callable[[apsw.Connection, Sequence[Unit]], Outcomes],
        emitted: Callable[[], None],
    ) -> None:
        self._thread = thread
        self._commit = commit
        self._emitted = emitted
        self._waiting: deque[_Waiting] = deque()
        self._busy = False
        self._drained: asyncio.Future[None] | None = None

    def add(self, unit: Unit) -> "asyncio.Future[None]":
        """Return what is done when ``unit`` is committed, or has failed."""
        if not self._thread.running:
            raise StoreUnavailableError("the store is not open")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((unit, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._flush)
        return future

    async def drain(self) -> None:
        """Return when nothing waits to be committed."""
        if self._busy:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def _flush(self) -> None:
        if not self._waiting:
            self._busy = False
            if self._drained is not None:
                self._drained.set_result(None)
                self._drained = None
            return
        group = self._take()
        units = [unit for unit, _ in group]
        try:
            self._thread.post(partial(self._run, units), partial(self._settle, group))
        except StoreUnavailableError as error:
            self._settle(group, None, error)

    def _take(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        size = 0
        while self._waiting and len(group) < MAX_UNITS and size < MAX_BYTES:
            group.append(self._waiting.popleft())
            size += group[-1][0].size
        return group

    def _run(self, units: Sequence[Unit], connection: apsw.Connection) -> Outcomes:
        return self._commit(connection, units)

    def _settle(self, group: Sequence[_Waiting], outcomes: Outcomes | None, error: BaseException | None) -> None:
        for index, (_, future) in enumerate(group):
            if future.done():
                continue  # its waiter was cancelled
            failure = _own(error) if outcomes is None else outcomes[index]
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
        if outcomes is not None and any(
            unit.emits and outcome is None for (unit, _), outcome in zip(group, outcomes, strict=True)
        ):
            self._emitted()
        # After the tasks that were just woken: what they commit now belongs to the next group.
        asyncio.get_running_loop().call_soon(self._flush)


def _own(error: BaseException | None) -> BaseException:
    """Return a copy: one exception raised in many tasks would gather the tracebacks of all."""
    if isinstance(error, GemstoneError):
        copy = type(error)(*error.args)
        copy.__cause__ = error.__cause__
        return copy
    return error if error is not None else StoreUnavailableError("the store gave no answer")
