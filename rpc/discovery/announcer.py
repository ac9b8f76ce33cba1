"""Telling others again and again that a service is there."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from gemstone_events.rpc.allow_list import is_on_this_machine
from gemstone_events.rpc.discovery.own_brokers import absolute
from gemstone_events.rpc.discovery.strategy_runner import StrategyFailedError, StrategyRunner
from gemstone_events.rpc.presence import Presence
from gemstone_events.schemes import scheme_of

_JITTER = 0.1
_LOOK_SECONDS = 1.0


class Announcer:
    """Pings all strategies with the service's URLs: at once, at each interval and when its health changes, until stopped.

    Each strategy has a task of its own, so that one that hangs holds up no other. What fails is logged when it begins
    to fail and when it works again, and never raised. All methods belong to one event loop.

    Args:
        strategies: whom to tell.
        presence: says, each time it is asked, who and where the service is.
        interval: seconds between announcements; a tenth more or less, so that services do not speak all at once.
        logger: that of the service.
    """

    def __init__(
        self,
        strategies: Sequence[StrategyRunner],
        presence: Callable[[], Presence],
        *,
        interval: float,
        logger: logging.Logger,
    ) -> None:
        self._strategies = strategies
        self._presence = presence
        self._interval = interval
        self._logger = logger
        self._said: dict[StrategyRunner, str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to announce; the first announcement goes out now, and nobody has to wait for it."""
        self._tasks = [asyncio.create_task(self._announce(strategy)) for strategy in self._strategies]

    async def stop(self) -> None:
        """Announce no more, and take everything back. Twice is harmless."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            await asyncio.gather(*(self._withdraw(strategy) for strategy in self._strategies))

    async def _announce(self, strategy: StrategyRunner) -> None:
        while True:
            presence = self._presence()
            urls = reachable_urls(presence, strategy)
            failure = ""
            if presence.urls and not urls:
                failure = "all addresses are of this machine only: set accessible_at"
            for url in urls:
                try:
                    await strategy.ping(presence.service, url, presence)
                except StrategyFailedError as error:
                    failure = str(error)
            self._report(strategy, failure)
            await self._until_due(presence)

    async def _until_due(self, announced: Presence) -> None:
        """Return after an interval, or earlier where the service has something new to say of itself."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._interval * random.uniform(1 - _JITTER, 1 + _JITTER)
        while (left := due - clock()) > 0:
            await asyncio.sleep(min(left, _LOOK_SECONDS))
            if self._presence() != announced:
                return

    async def _withdraw(self, strategy: StrategyRunner) -> None:
        presence = self._presence()
        for url in reachable_urls(presence, strategy):
            try:
                await strategy.withdraw(presence.service, url)
            except StrategyFailedError as error:
                self._logger.info("the service could not be signed off: %s", error)
                return  # it expires by itself

    def _report(self, strategy: StrategyRunner, failure: str) -> None:
        before = self._said.get(strategy, "")
        if failure and not before:
            self._logger.warning("the service cannot be announced to %s: %s", strategy, failure)
        elif before and not failure:
            self._logger.info("the service is announced to %s again", strategy)
        self._said[strategy] = failure


def reachable_urls(presence: Presence, strategy: StrategyRunner) -> list[str]:
    """Return those URLs of a service that mean something to whoever looks at a strategy."""
    return [
        absolute(url)
        for url in presence.urls
        if scheme_of(url) != "memory" and (strategy.is_local or not is_on_this_machine(url))
    ]
