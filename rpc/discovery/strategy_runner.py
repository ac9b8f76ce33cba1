"""Calling a strategy, whoever wrote it: ``def`` or ``async def``, never for too long, never on the loop's own time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol, cast

from gemstone_events.cancellation import is_cancelled
from gemstone_events.daemon_thread import begin_in_thread
from gemstone_events.errors import GemstoneError
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.presence import Presence
from gemstone_events.schemes import mask

MAX_LOCATIONS = 1000


class StrategyFailedError(GemstoneError):
    """A discovery strategy raised, took too long or returned something else than it should."""


class _Instances(Protocol):
    def __call__(self, pattern: str) -> Awaitable[Sequence[Presence]] | Sequence[Presence]: ...


class StrategyRunner:
    """One strategy as everybody else sees it: asynchronous, bounded in time, failing in one way.

    Methods that are ``def`` run in a daemon thread, one at a time: one that hangs delays nothing but this strategy,
    and keeps no process from ending.

    Args:
        strategy: at least its methods ``ping`` and ``locate`` are there.
        timeout: seconds that each call may take.
    """

    def __init__(self, strategy: BaseDiscoveryStrategy, timeout: float = 5.0) -> None:
        self._strategy = strategy
        self._timeout = timeout
        self._turn = asyncio.Lock()

    @property
    def is_local(self) -> bool:
        """Whether everybody who looks there is on this machine."""
        return bool(getattr(self._strategy, "is_local", True))

    def __str__(self) -> str:
        return mask(str(self._strategy))

    async def ping(self, name: str, location: str, presence: Presence) -> None:
        """Announce a URL of a service.

        Raises:
            StrategyFailedError: it failed; the message says how.
        """
        ping = self._strategy.ping
        known = {"presence": presence} if _takes_keywords(ping) else {}
        await self._run(lambda: ping(name, location, **known), ping)

    async def locate(self, pattern: str) -> list[str]:
        """Return the URLs that the strategy knows.

        Raises:
            StrategyFailedError: it failed; the message says how.
        """
        locate = self._strategy.locate
        found = await self._run(lambda: locate(pattern), locate)
        if found is None:
            return []
        if not isinstance(found, list):
            raise StrategyFailedError(f"{self}: locate returned {type(found).__name__}, not a list of URLs")
        return [url for url in found if isinstance(url, str)]

    async def withdraw(self, name: str, location: str) -> None:
        """Take an announcement back.

        Raises:
            StrategyFailedError: it failed; the message says how.
        """
        withdraw = cast(Callable[[str, str], object] | None, getattr(self._strategy, "withdraw", None))
        if withdraw is not None:
            await self._run(lambda: withdraw(name, location), withdraw)

    async def instances(self, pattern: str) -> list[Presence]:
        """Return who is there.

        Raises:
            StrategyFailedError: it failed; the message says how.
        """
        instances = cast(_Instances | None, getattr(self._strategy, "instances", None))
        if instances is None:
            return []
        found = await self._run(lambda: instances(pattern), instances)
        return [presence for presence in found if isinstance(presence, Presence)] if isinstance(found, list) else []

    async def close(self) -> None:
        """Close the strategy.

        Raises:
            StrategyFailedError: it failed; the message says how.
        """
        close = cast(Callable[[], object] | None, getattr(self._strategy, "close", None))
        if close is not None:
            await self._run(close, close)

    async def _run(self, call: Callable[[], object], method: Callable[..., object]) -> object:
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                result = call() if inspect.iscoroutinefunction(method) else await self._in_thread(call)
                return _listed(await result if inspect.isawaitable(result) else result)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise StrategyFailedError(f"{self}: it was cancelled") from None  # from within: nobody cancelled the caller
        except Exception as error:
            if deadline.expired():
                raise StrategyFailedError(f"{self}: no answer within {self._timeout:g} seconds") from None
            told = str(error) if isinstance(error, GemstoneError) else f"{type(error).__name__}: {error}"
            raise StrategyFailedError(self._named(mask(told))) from error

    def _named(self, told: str) -> str:
        """Say of a failure whose it is, unless it does so itself; the address stands there once."""
        name = str(self)
        if told.startswith(name):
            return told
        kind, _, address = name.rpartition(" ")  # as in "registry http://..."
        return f"{kind} {told}" if kind and told.startswith(address) else f"{name}: {told}"

    async def _in_thread(self, call: Callable[[], object]) -> object:
        await self._turn.acquire()
        outcome = begin_in_thread(lambda: _listed(call()), f"discovery-{type(self._strategy).__name__}")
        outcome.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(outcome)  # given up, it still has its turn until it ends


def _listed(found: object) -> object:
    """Return what a strategy found as a list: a generator does its work, and fails, here and nowhere else."""
    if isinstance(found, Iterable) and not isinstance(found, str | bytes | Mapping):
        return list(islice(found, MAX_LOCATIONS))
    return found


def _takes_keywords(method: Callable[..., object]) -> bool:
    """Tell whether ``presence=...`` may be given; a strategy written without ``**kwargs`` works all the same."""
    parameters = inspect.signature(method).parameters
    return "presence" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
