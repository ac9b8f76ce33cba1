"""A call that is under way."""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from gemstone_events.cancellation import is_cancelled
from gemstone_events.rpc.call_errors import OutcomeUnknownError

T = TypeVar("T")

# A call ends by its own deadline; this is for the case that its event loop does not run any more.
_GRACE_SECONDS = 5.0


class AsyncMethodCall(Generic[T]):
    """A call that is under way, or done. It was sent when it was made; nobody has to wait for it.

    In a thread it is waited for with ``wait()`` or ``result(wait=True)``, on an event loop with ``await``. It may be
    asked from any thread and any loop, as often as one likes. Cancelling who awaits it gives it up, and cancels nothing
    in the service.

    Args:
        future: becomes done with the call.
        deadline: when the call is given up, by ``time.monotonic``.
    """

    def __init__(self, future: concurrent.futures.Future[T], deadline: float) -> None:
        self._future = future
        self._deadline = deadline
        self._task: asyncio.Task[T] | None = None
        self._coroutine: Coroutine[object, object, T] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_let_go = False

    @classmethod
    def begin(cls, coroutine: Coroutine[object, object, T], deadline: float) -> "AsyncMethodCall[T]":
        """Begin a call on the running loop: in the task that awaits it at once, or else in one of its own."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        call = cls(future, deadline)
        call._coroutine = coroutine
        call._loop = asyncio.get_running_loop()
        call._loop.call_soon(call._begin_alone)
        return call

    @property
    def longest_wait(self) -> float:
        """The seconds after which it is done for certain, if only its event loop still runs."""
        return max(0.0, self._deadline - time.monotonic()) + _GRACE_SECONDS

    def finished(self) -> bool:
        """Tell whether it is done, well or not."""
        return self._future.done()

    def successful(self) -> bool:
        """Tell whether it is done and brought a result."""
        return self.finished() and self._failure() is None

    def error(self) -> BaseException | None:
        """Return why it failed; None where it did not, or is not done yet."""
        return self._failure() if self.finished() else None

    def result(self, wait: bool = False, timeout: float | None = None) -> T:
        """Return the result.

        Args:
            wait: block until it is there.
            timeout: seconds to wait, and no need for ``wait``; None for as long as the call may take.

        Raises:
            RuntimeError: it is not done, and shall not be waited for; or waiting would block an event loop.
            RemoteServiceError: it failed.
        """
        if wait or timeout is not None:
            self._join(timeout)
        if not self.finished():
            waited = "" if timeout is None else f" after {timeout:g} s"
            mend = "await it" if is_on_loop() else "result(wait=True) waits for it"
            raise RuntimeError(f"the call is not done{waited}: {mend}")
        self._look()
        try:
            return self._future.result()
        except concurrent.futures.CancelledError:
            raise _given_up() from None

    def wait(self, timeout: float | None = None) -> T | None:
        """Block until it is done, and return its result; None where it failed (``error`` says why), or is not done.

        Args:
            timeout: seconds to wait; None for as long as the call may take.

        Raises:
            RuntimeError: this would block an event loop.
        """
        self._join(timeout)
        return self._future.result() if self.successful() else None

    def add_done_callback(self, function: Callable[["AsyncMethodCall[T]"], object]) -> None:
        """Call a function with this call when it is done, in whatever thread that happens, or at once if it is."""
        self._future.add_done_callback(lambda future: function(self))

    def let_go(self) -> None:
        """Say that nobody may ask for it: if it fails, asyncio tells nobody."""
        self._is_let_go = True
        self._look()

    def cancel(self) -> None:
        """Give it up, where it was begun from a thread: its outcome is then unknown. Of no effect once it is done."""
        self._future.cancel()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"{name!r} is asked of a call under way: await it first, and ask its result")

    def __await__(self) -> Generator[object, None, T]:
        return self._outcome().__await__()

    def __repr__(self) -> str:
        return f"<AsyncMethodCall {self._state()}>"

    def _state(self) -> str:
        if not self.finished():
            return "under way, to be awaited"
        return "done" if self.successful() else f"failed: {self.error()!r}"

    async def _outcome(self) -> T:
        try:
            if self._loop is asyncio.get_running_loop():
                if self._coroutine is not None:
                    # Most calls are awaited where they are made: a task of their own would cost them two turns more.
                    coroutine, self._coroutine = self._coroutine, None
                    return await _carry_out(coroutine, self._future)
                if self._task is not None:
                    return await self._task
            return await asyncio.wrap_future(self._future)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise _given_up() from None

    def _begin_alone(self) -> None:
        """Nobody has awaited it in the turn in which it was made."""
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is not None and self._loop is not None:
            future = self._future
            self._task = self._loop.create_task(_carry_out(coroutine, future))
            self._task.add_done_callback(lambda done: _give_up(done, coroutine, future))
            self._task.add_done_callback(lambda done: self._look() if self._is_let_go else None)

    def _join(self, timeout: float | None) -> None:
        if self.finished():
            return
        if is_on_loop():
            raise RuntimeError("waiting here would block the event loop: await the call")
        done, _ = concurrent.futures.wait([self._future], self.longest_wait if timeout is None else timeout)
        if not done and timeout is None:
            raise loop_gone()

    def _failure(self) -> BaseException | None:
        self._look()
        try:
            return self._future.exception()
        except concurrent.futures.CancelledError:
            return _given_up()

    def _look(self) -> None:
        """Let asyncio know that somebody has seen the failure, so that it tells nobody else."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.exception()


def is_on_loop() -> bool:
    """Tell whether an event loop runs in this thread, so that nothing may block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# Any: the result in a thread, the call on a loop. No type says "depends on where you are".
def finish(call: AsyncMethodCall[Any]) -> Any:
    """Return the call itself where an event loop runs, to be awaited; elsewhere wait, and return its result."""
    if is_on_loop():
        return call
    try:
        return call.result(wait=True)
    finally:
        call.cancel()  # of effect only where the waiting was interrupted


async def _carry_out(coroutine: Coroutine[object, object, T], future: concurrent.futures.Future[T]) -> T:
    try:
        result = await coroutine
    except asyncio.CancelledError:
        future.set_exception(_given_up())
        raise
    except BaseException as error:
        future.set_exception(error)
        raise
    future.set_result(result)
    return result


def _give_up(
    task: asyncio.Task[T], coroutine: Coroutine[object, object, T], future: concurrent.futures.Future[T]
) -> None:
    if task.cancelled() and not future.done():
        coroutine.close()  # it may never have started
        future.set_exception(_given_up())


def loop_gone() -> OutcomeUnknownError:
    """Return what to raise where a call is not done after its longest time."""
    return OutcomeUnknownError("the event loop that made the call does not run any more")


def _given_up() -> OutcomeUnknownError:
    return OutcomeUnknownError("the call was given up before it was answered")
