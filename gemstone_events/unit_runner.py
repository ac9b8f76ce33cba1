"""Running a service's functions in units of work: what they change is committed when they end well, else dropped."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from gemstone_events import execution, strict_json
from gemstone_events.execution import Threads
from gemstone_events.idempotency import KeepAnswer
from gemstone_events.store.port import EventStore
from gemstone_events.unit_of_work import UnitOfWork

_NOTHING: Mapping[str, object] = MappingProxyType({})


class UnitRunner:
    """Runs functions of one service.

    Args:
        store: returns where to commit; None while the service does not run.
        threads: returns where ``def`` functions run.
    """

    def __init__(self, store: Callable[[], EventStore | None], threads: Callable[[], Threads]) -> None:
        self._store = store
        self._threads = threads

    async def run(
        self,
        function: Callable[..., object],
        is_coroutine: bool,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] = _NOTHING,
        traceparent: str | None = None,
        *,
        is_answer: bool = False,
        keep: KeepAnswer | None = None,
    ) -> object:
        """Run a function and return its result when everything is committed.

        Args:
            function: what to run; ``def`` runs in a thread, unless ``is_coroutine``.
            is_coroutine: it is ``async def``.
            args: its positional arguments.
            kwargs: its named arguments.
            traceparent: the trace that it belongs to, if any.
            is_answer: nothing is committed unless the result is strict JSON.
            keep: makes of the result what is committed as well.

        Raises:
            StoreError: it could not be committed.
        """
        with UnitOfWork(self._store(), traceparent=traceparent) as unit:
            result = await execution.run(function, args, kwargs, is_coroutine=is_coroutine, threads=self._threads())
            if keep is not None:
                unit.changes.answers.append(keep(result))
            elif is_answer and unit.changes:
                strict_json.dumps(result)  # an answer that cannot be given must not leave an effect behind
        await self._commit(unit)
        return result

    async def run_hook(self, hook: Callable[[], object]) -> None:
        """Run a hook of the author's on the event loop, whether it is ``def`` or ``async def``.

        Raises:
            StoreError: it could not be committed.
        """
        with UnitOfWork(self._store()) as unit:
            result = hook()
            if inspect.isawaitable(result):
                await result
        await self._commit(unit)

    async def _commit(self, unit: UnitOfWork) -> None:
        if (changes := unit.complete()) and unit.store is not None:
            await unit.store.commit(changes)
