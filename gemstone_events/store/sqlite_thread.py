"""One thread that owns one SQLite connection, and what it takes to share Python's interpreter lock with it.

Every SQLite call gives up the interpreter lock, and a busy event loop gives it back only by chance: it releases the
lock for a microsecond per turn, too short for a waiting thread to wake up in, and each release also restarts the five
milliseconds after which CPython would force the hand-over. Measured: one commit beside a loop of turns of 0.1 ms took
between 2 ms and 11 s. Hence two rules. Hot paths use few, large statements. And while a job runs, the loop's thread
sleeps for an instant, at the job's start and then every millisecond: time enough for the waiting thread to take the
lock. It costs a tenth of the loop's time at most, and only then.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import apsw

from gemstone_events.errors import StoreUnavailableError

T = TypeVar("T")

YIELD_SECONDS = 0.00005
YIELD_EVERY_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class _Job(Generic[T]):
    run: Callable[[apsw.Connection], T]
    done: Callable[[T | None, BaseException | None], None]

    def execute(self, connection: apsw.Connection) -> tuple[T | None, BaseException | None]:
        try:
            return self.run(connection), None
        except BaseException as error:  # noqa: BLE001 - whatever it is, the waiter must hear of it
            return None, error


class DatabaseThread:
    """Runs jobs on a connection of its own, one after the other. All methods belong to one event loop.

    Args:
        name: the thread's name.
        connect: opens the connection, in the thread.
        idle: called in the thread every ``idle_every`` seconds without a job, while ``idling`` is True.
        idle_every: seconds.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], apsw.Connection],
        idle: Callable[[apsw.Connection], None] = lambda connection: None,
        idle_every: float = 0.01,
    ) -> None:
        self.idling = False
        self._name = name
        self._connect = connect
        self._idle = idle
        self._idle_every = idle_every
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Future[None] | None = None
        self._outstanding = 0
        self._yield_timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Start the thread and open the connection; raises whatever ``connect`` raises, with no thread left behind."""
        self._loop = asyncio.get_running_loop()
        self._jobs = queue.SimpleQueue()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._stopped = self._loop.create_future()
        # A daemon: a process that ends without closing its store must end; what was acknowledged is on the disk.
        self._thread = threading.Thread(target=self._main, args=(opened, self._stopped), name=self._name, daemon=True)
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Run the jobs that wait, close the connection and end the thread. Twice is harmless."""
        thread, stopped = self._thread, self._stopped
        if thread is None or stopped is None:
            return
        self.dismiss()
        await asyncio.shield(stopped)
        thread.join()

    def dismiss(self) -> None:
        """Let the thread end when the jobs that wait have run, and do not wait for it. Twice is harmless."""
        if self._thread is not None:
            self._thread = None
            self._jobs.put(None)

    @property
    def running(self) -> bool:
        """Jobs are accepted."""
        return self._thread is not None

    def post(self, run: Callable[[apsw.Connection], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run ``run`` in the thread and then call ``done`` on the loop, with its result or its exception."""
        if self._loop is None or self._thread is None:
            raise StoreUnavailableError("the store is not open")

        def settle(result: T | None, error: BaseException | None) -> None:
            self._outstanding -= 1
            if not self._outstanding and self._yield_timer is not None:
                self._yield_timer.cancel()
                self._yield_timer = None
            done(result, error)

        self._jobs.put(_Job(run, settle))  # type: ignore[arg-type]
        self._outstanding += 1
        if self._yield_timer is None:
            self._yield(self._loop)

    async def run(self, run: Callable[[apsw.Connection], T]) -> T:
        """Run ``run`` in the thread and return its result. Cancelling the waiter does not stop the job."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        self.post(run, done)
        return await future

    def tell(self, callback: Callable[..., None], *arguments: object) -> bool:
        """Call back on the loop, from the thread; False where the loop is closed and nobody is left to be told."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            return False
        return True

    def _yield(self, loop: asyncio.AbstractEventLoop) -> None:
        time.sleep(YIELD_SECONDS)
        self._yield_timer = loop.call_later(YIELD_EVERY_SECONDS, self._yield, loop)

    def _main(self, opened: "asyncio.Future[None]", stopped: "asyncio.Future[None]") -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - handed over to the caller of start
            self.tell(_fail, opened, error)
        else:
            self.tell(_succeed, opened)
            try:
                self._work(connection)
            finally:
                connection.close()
        finally:
            self.tell(_succeed, stopped)

    def _work(self, connection: apsw.Connection) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._idle_every if self.idling else None)
            except queue.Empty:
                self._idle(connection)
                continue
            if job is None:
                return
            if not self.tell(job.done, *job.execute(connection)):
                return


def _succeed(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: "asyncio.Future[None]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
