"""The two sides of discovery that one service has: it is announced, and it finds others."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.allow_list import LOOPBACK_HTTP, AllowList
from gemstone_events.rpc.discovery.announcer import Announcer
from gemstone_events.rpc.discovery.broker_strategy import BrokerDiscoveryStrategy
from gemstone_events.rpc.discovery.cache import ServiceDiscoveryCache
from gemstone_events.rpc.discovery.http_strategy import HttpDiscoveryStrategy, registry_key
from gemstone_events.rpc.discovery.locator import Locator
from gemstone_events.rpc.discovery.own_brokers import OwnBrokers
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.discovery.strategy_runner import StrategyFailedError, StrategyRunner
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire_pool import WirePool


class Discovery:
    """Announces a service to all strategies and registries, and finds services there and on its own brokers.

    All methods belong to one event loop. The constructor opens nothing.

    Args:
        strategies: ``discovery_strategies`` of the service.
        registries: URLs of registries, for each of which there is a ``HttpDiscoveryStrategy``.
        registry_token: what all of them demand of their callers.
        brokers: the service's own brokers and buses; they are asked without being configured as a strategy.
        wires: the service's connections to others.
        allow: patterns of addresses that may be called, besides loopback over HTTP and services on ``brokers`` and on
            those of a ``BrokerDiscoveryStrategy``.
        cache: remembers what was found.
        timeout: seconds that one strategy may take to answer.

    Raises:
        ServiceConfigurationError: an entry is no strategy, a URL no registry's, or a pattern cannot be read.
    """

    def __init__(
        self,
        strategies: Sequence[BaseDiscoveryStrategy],
        *,
        registries: Sequence[str] = (),
        registry_token: str | None = None,
        brokers: Sequence[str] = (),
        wires: WirePool,
        allow: Sequence[str] = (),
        cache: ServiceDiscoveryCache | None = None,
        timeout: float = 5.0,
    ) -> None:
        for strategy in strategies:
            if not (callable(getattr(strategy, "ping", None)) and callable(getattr(strategy, "locate", None))):
                raise ServiceConfigurationError(
                    f"discovery_strategies holds {strategy!r}, which has no methods ping and locate: it takes instances, "
                    "such as RedisDiscoveryStrategy('redis://localhost:6379/0')"
                )
        namespace = wires.settings.namespace
        key = registry_key(registry_token) if registry_token else None
        told = [*strategies, *(HttpDiscoveryStrategy(url, credentials=key, wires=wires) for url in registries)]
        asked = [BrokerDiscoveryStrategy(url, namespace, wires=wires) for url in dict.fromkeys(brokers)]
        known = [*brokers, *(strategy.url for strategy in strategies if isinstance(strategy, BrokerDiscoveryStrategy))]
        self._told = [StrategyRunner(strategy, timeout) for strategy in told]
        runners = [*self._told, *(StrategyRunner(strategy, timeout) for strategy in asked)]
        self._locator = Locator(
            runners, OwnBrokers(known, wires), allow=AllowList([*LOOPBACK_HTTP, *allow]), cache=cache
        )
        self._announcer: Announcer | None = None

    def announce(self, presence: Callable[[], Presence], *, interval: float, logger: logging.Logger) -> None:
        """Begin to announce the service; this returns at once.

        Args:
            presence: says, each time it is asked, who and where the service is.
            interval: seconds between announcements.
            logger: that of the service.
        """
        self._announcer = Announcer(self._told, presence, interval=interval, logger=logger)
        self._announcer.start()

    async def locate(self, pattern: str) -> Sequence[str]:
        """Return the URLs of a service that can be called now, in random order, at least one: see ``Locator.locate``.

        Raises:
            ServiceNotLocatedError: there is none (also ``ServiceNotFoundError`` and ``ValueError``).
            ServiceConfigurationError: there is nobody to ask, or it is no pattern.
        """
        return await self._locator.locate(pattern)

    def forget(self, url: str) -> None:
        """Put an address that could not be reached aside for some seconds."""
        self._locator.forget(url)

    async def instances(self, pattern: str = "*") -> Sequence[Presence]:
        """Return who is there.

        Raises:
            ServiceNotLocatedError: nobody could be asked.
        """
        return await self._locator.instances(pattern)

    async def sign_off(self) -> None:
        """Announce the service no more and take back what was announced. Twice is harmless."""
        if self._announcer is not None:
            await self._announcer.stop()

    async def close(self) -> None:
        """Sign off, and close the strategies; the connections of ``wires`` stay. Twice is harmless."""
        await self.sign_off()
        await self._locator.close()
        await asyncio.gather(*(_close(strategy) for strategy in self._told))


async def _close(strategy: StrategyRunner) -> None:
    try:
        await strategy.close()
    except StrategyFailedError as error:
        logging.getLogger(__name__).info("a discovery strategy could not be closed: %s", error)
