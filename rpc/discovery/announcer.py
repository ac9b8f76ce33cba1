"""Telling others again and again that a service is there."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from gemstone_events.cancellation import end
from gemstone_events.rpc.discovery.outage import Outage
from gemstone_events.rpc.discovery.own_brokers import announceable
from gemstone_events.rpc.discovery.strategy_runner import StrategyFailedError, StrategyRunner
from gemstone_events.rpc.presence import Presence
from gemstone_events.schemes import mask

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
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to announce; the first announcement goes out now, and nobody has to wait for it."""
        self._tasks = [asyncio.create_task(self._announce(strategy)) for strategy in self._strategies]

    async def stop(self) -> None:
        """Announce no more, and take everything back. Twice is harmless."""
        tasks, self._tasks = self._tasks, []
        await end(*tasks)
        if tasks:
            await asyncio.gather(*(self._withdraw(strategy) for strategy in self._strategies))

    async def _announce(self, strategy: StrategyRunner) -> None:
        outage = Outage(
            self._logger,
            "the service cannot be announced",
            f"the service is announced to {strategy} again",
        )
        while True:
            try:
                presence = self._presence()
                outage.report(await _tell(strategy, presence))
                await self._until_due(presence)
            except Exception as error:  # noqa: BLE001 - whatever it is, it will be tried again
                outage.report(mask(f"{strategy}: {type(error).__name__}: {error}"))
                await asyncio.sleep(self._interval)

    async def _until_due(self, announced: Presence) -> None:
        """Return after an interval, or earlier where the service has something new to say of itself."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._interval * random.uniform(1 - _JITTER, 1 + _JITTER)
        while (left := due - clock()) > 0:
            await asyncio.sleep(min(left, _LOOK_SECONDS))
            if self._presence() != announced:
                return

    async def _withdraw(self, strategy: StrategyRunner) -> None:
        try:
            presence = self._presence()
            for url in announceable(presence.urls, is_local=strategy.is_local):
                await strategy.withdraw(presence.service, url)
        except Exception as error:  # noqa: BLE001 - what was announced expires by itself
            self._logger.info("the service could not be signed off: %s", mask(str(error)))


async def _tell(strategy: StrategyRunner, presence: Presence) -> str:
    """Announce all addresses that mean something to whoever looks there; return what failed."""
    urls = announceable(presence.urls, is_local=strategy.is_local)
    failure = ""
    if presence.urls and not urls:
        failure = f"{strategy}: none of its addresses can be called from elsewhere: set accessible_at"
    for url in urls:
        try:
            await strategy.ping(presence.service, url, presence)
        except StrategyFailedError as error:
            failure = str(error)
    return failure
