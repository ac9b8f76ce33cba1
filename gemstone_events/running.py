"""One run of a service, from its start to its end: what is open meanwhile, opened in order and closed in reverse."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from gemstone_events.calling import Calling
from gemstone_events.cancellation import end
from gemstone_events.countdown import Countdown
from gemstone_events.management.manager import ServiceManager
from gemstone_events.messaging import FLUSH_SECONDS, LEAST_SECONDS, Messaging
from gemstone_events.periodic import run_periodically
from gemstone_events.plugins import BasePlugin
from gemstone_events.store.port import Changes
from gemstone_events.unit_runner import UnitRunner

FINISHING_SHARE = 0.8
"""How much of ``shutdown_timeout`` what runs may take; the rest is for the hooks, for publishing and for closing."""


class Hooks(Protocol):
    """What an author wants done at the ends of a run."""

    def on_service_start(self) -> object:
        """Called before anything is handled; may be ``async def``."""

    def on_service_stop(self) -> object:
        """Called when everything has drained; may be ``async def``."""


class Running:
    """What is open while a service runs.

    Everything but ``commit`` belongs to one event loop. The constructor opens nothing; ``open``, ``begin`` and ``end``
    are called in this order. Where one of the first two fails, nothing stays open.

    Args:
        hooks: called in units of work.
        plugins: told of the ends of the run; each that was told of its start is told of its end, too.
        units: runs hooks and periodic tasks.
        messaging: the events.
        calling: the calls.
        manager: the components.
        logger: where trouble is reported.
        shutdown_timeout: seconds that ``end`` may take.
    """

    def __init__(
        self,
        hooks: Hooks,
        plugins: Mapping[str, BasePlugin],
        units: UnitRunner,
        messaging: Messaging,
        calling: Calling,
        manager: ServiceManager,
        logger: logging.Logger,
        *,
        shutdown_timeout: float,
    ) -> None:
        self.messaging = messaging
        self.calling = calling
        self._hooks = hooks
        self._plugins = plugins
        self._units = units
        self._manager = manager
        self._log = logger
        self._shutdown_timeout = shutdown_timeout
        self._countdown = Countdown(0.0)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._parts = AsyncExitStack()
        self._stopping = asyncio.Event()
        self._periodic: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Open the store and the transports: from now on events can be emitted."""
        self._parts.push_async_callback(self._close)
        async with self._undoing():
            await self.messaging.open()

    async def begin(self, periodic_tasks: Iterable[tuple[Callable[..., object], float]]) -> None:
        """Call the hooks, start the components, take events and calls, and begin what is done periodically.

        Args:
            periodic_tasks: pairs of a function and the seconds between its runs.
        """
        parts, calling = self._parts, self.calling
        parts.push_async_callback(calling.close)
        parts.push_async_callback(self._flush)
        async with self._undoing():
            for plugin in self._plugins.values():
                plugin.on_service_start()
                parts.callback(plugin.on_service_stop)
            await self._units.run_hook(self._hooks.on_service_start)
            parts.push_async_callback(self._say_goodbye)
            parts.push_async_callback(self._manager.aclose)
            parts.push_async_callback(self._stop_components)
            await calling.start_components()
            parts.push_async_callback(self._drain)
            await calling.listen()
            await self.messaging.consume()
            await calling.serve()
            for function, seconds in periodic_tasks:
                running = run_periodically(function, seconds, self._units.run, self._stopping, self._log)
                self._periodic.append(self._spawn(running))

    async def end(self) -> None:
        """Take nothing new, finish what runs, call the hooks and close everything, within ``shutdown_timeout``."""
        self._countdown = Countdown(self._shutdown_timeout)
        await self._parts.aclose()

    @asynccontextmanager
    async def _undoing(self) -> AsyncIterator[None]:
        """Close what is open already where the start fails. What goes wrong then is logged, for why it failed counts."""
        try:
            yield
        except BaseException:
            try:
                await self.end()
            except Exception:  # noqa: BLE001 - the author's hooks may raise anything
                self._log.exception("the start failed, and what had been begun did not end well either")
            raise

    def commit(self, changes: Changes) -> asyncio.Task[None] | None:
        """Write changes of no unit of work.

        Returns:
            what to await, on the loop of this run; None in any other thread, which this blocks until they are written.

        Raises:
            StoreError: they could not be written (on the loop, where it is awaited).
        """
        work = self.messaging.store.commit(changes)
        if threading.get_ident() == self._thread:
            return self._spawn(work)
        asyncio.run_coroutine_threadsafe(work, self._loop).result()
        return None

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _drain(self) -> None:
        self._stopping.set()
        seconds = self._countdown.left * FINISHING_SHARE
        await asyncio.gather(
            self.messaging.drain(seconds), self.calling.drain(seconds), _finish(self._periodic, seconds)
        )

    async def _stop_components(self) -> None:
        await self._do_in_time(self.calling.stop_components(), "stopping the components")

    async def _say_goodbye(self) -> None:
        await self._do_in_time(self._units.run_hook(self._hooks.on_service_stop), "on_service_stop")

    async def _do_in_time(self, work: Coroutine[object, object, None], what: str) -> None:
        """Do something of the author's, which may take for ever, and swallow that it is cancelled."""
        task = self._loop.create_task(work)
        try:
            done, _ = await asyncio.wait([task], timeout=max(LEAST_SECONDS, self._countdown.left - LEAST_SECONDS))
        finally:
            await end(task)
        if done:
            task.result()
        else:
            self._log.warning("%s did not end in time", what)

    async def _flush(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._countdown.left)
        await self.messaging.flush(min(FLUSH_SECONDS, self._countdown.left))

    async def _close(self) -> None:
        await self.messaging.close(self._countdown.left)


async def _finish(tasks: Sequence[asyncio.Task[None]], timeout: float) -> None:
    if tasks:
        _, unfinished = await asyncio.wait(tasks, timeout=timeout)
        for task in unfinished:
            task.cancel()
