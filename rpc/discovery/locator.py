"""From a service's name to addresses that may be called."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.logs import printable
from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.call_errors import ServiceNotLocatedError
from gemstone_events.rpc.discovery.cache import ServiceDiscoveryCache
from gemstone_events.rpc.discovery.own_brokers import OwnBrokers
from gemstone_events.rpc.discovery.shared_searches import SharedSearches
from gemstone_events.rpc.discovery.strategy_runner import StrategyFailedError, StrategyRunner
from gemstone_events.rpc.discovery.trusted_urls import TrustedUrls
from gemstone_events.rpc.presence import Presence
from gemstone_events.schemes import mask

MAX_PATTERN = 200
_MAX_REMEMBERED = 10_000
_SHOWN = 3
_MAX_SHOWN = 200

_Found = TypeVar("_Found")


class Locator:
    """Finds the addresses of services by name or glob pattern, without ever blocking the loop.

    All strategies are asked at once; one that fails or hangs spoils nothing. What they answer is called only where the
    allow-list has it, or where it is on one of the caller's own brokers, whose credentials it then gets.

    All methods belong to one event loop.

    Args:
        strategies: whom to ask.
        brokers: the caller's own.
        allow: the other addresses that may be called.
        cache: remembers what was found.
        dead_for: seconds for which ``forget`` puts an address aside.
        refresh_after: seconds after which what is remembered is looked up anew in the background, if it is asked for.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        strategies: Sequence[StrategyRunner],
        brokers: OwnBrokers,
        *,
        allow: AllowList | None = None,
        cache: ServiceDiscoveryCache | None = None,
        dead_for: float = 5.0,
        refresh_after: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._strategies = strategies
        self._trusted = TrustedUrls(brokers, allow)
        self._cache = cache if cache is not None else ServiceDiscoveryCache(60.0)
        self._dead_for = dead_for
        self._refresh_after = refresh_after
        self._asked: dict[str, float] = {}
        self._clock = clock
        self._dead: dict[str, float] = {}
        self._searches = SharedSearches[Sequence[str]]()

    async def locate(self, pattern: str) -> Sequence[str]:
        """Return the URLs under which a service can be called now, in random order, at least one.

        Args:
            pattern: the service's name, or a glob pattern (``orders.*``), as in ``fnmatch``.

        Raises:
            ServiceNotLocatedError: there is none (also ``ServiceNotFoundError`` and ``ValueError``).
            ServiceConfigurationError: there is no strategy to ask, or it is no pattern.
        """
        check_service_pattern(pattern)
        if not self._strategies:
            raise ServiceConfigurationError(
                f"the service {pattern!r} cannot be looked up: there is no broker or bus to ask, and discovery_strategies "
                "and service_registry_urls are empty"
            )
        urls = self._alive(self._cache.get_entry(pattern) or ())
        if urls:
            if self._clock() - self._asked.get(pattern, 0.0) > self._refresh_after:
                # For those who ask later: nobody waits for what is known.
                self._searches.begin(pattern, lambda: self._look_up(pattern))
        else:
            found = await self._searches.find(pattern, lambda: self._look_up(pattern))
            urls = self._alive(found)
            if not urls:
                raise ServiceNotLocatedError(
                    f"no service {pattern!r} can be called: {_some(found)} could not be reached a moment ago"
                )
        return random.sample(urls, len(urls))

    def forget(self, url: str) -> None:
        """Put an address that could not be reached aside for some seconds: ``locate`` does not return it meanwhile."""
        while len(self._dead) >= _MAX_REMEMBERED:
            del self._dead[next(iter(self._dead))]
        self._dead[url] = self._clock() + self._dead_for

    async def instances(self, pattern: str) -> Sequence[Presence]:
        """Return who is there, as all strategies together know it.

        Raises:
            ServiceNotLocatedError: all strategies failed.
            ServiceConfigurationError: it is no pattern.
        """
        check_service_pattern(pattern)
        answers, failures = await self._ask(lambda strategy: strategy.instances(pattern))
        if failures and not answers:
            raise ServiceNotLocatedError("nobody could be asked: " + "; ".join(failures))
        return merged([presence for _, presences in answers for presence in presences])

    async def close(self) -> None:
        """End what is being looked up. Twice is harmless."""
        await self._searches.close()

    async def _look_up(self, pattern: str) -> Sequence[str]:
        try:
            answers, failures = await self._ask(lambda strategy: strategy.locate(pattern))
        finally:
            if len(self._asked) >= _MAX_REMEMBERED:
                self._asked.clear()
            self._asked[pattern] = self._clock()
        urls: dict[str, None] = {}
        refusals: list[str] = []
        for strategy, found in answers:
            for url in found:
                callable_url, refusal = self._trusted.judge(url, is_local=strategy.is_local)
                if refusal:
                    refusals.append(f"{_shown(url)} may not be called: {refusal}")
                else:
                    urls[callable_url] = None
        if not urls:
            if not failures:
                self._cache.add_entry(pattern, ())
            reasons = [*failures, *refusals[:_SHOWN]]
            if refusals:
                reasons.append("addresses are allowed by discovery_allow")
            raise ServiceNotLocatedError(
                f"no service {pattern!r} was found by {_listed(self._strategies)}" + "".join(f"; {r}" for r in reasons)
            )
        self._cache.add_entry(pattern, tuple(urls))
        return tuple(urls)

    def _alive(self, urls: Sequence[str]) -> Sequence[str]:
        now = self._clock()
        self._dead = {url: until for url, until in self._dead.items() if until > now}
        return [url for url in urls if url not in self._dead]

    async def _ask(
        self, question: Callable[[StrategyRunner], Awaitable[_Found]]
    ) -> tuple[list[tuple[StrategyRunner, _Found]], list[str]]:
        outcomes = await asyncio.gather(*(question(strategy) for strategy in self._strategies), return_exceptions=True)
        answers: list[tuple[StrategyRunner, _Found]] = []
        failures: list[str] = []
        for strategy, outcome in zip(self._strategies, outcomes, strict=True):
            if isinstance(outcome, StrategyFailedError):
                failures.append(str(outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answers.append((strategy, outcome))
        return answers, failures


def check_service_pattern(pattern: object) -> str:
    """Return what may be looked up: a service's name or a glob pattern.

    Raises:
        ServiceConfigurationError: it is neither.
    """
    if not isinstance(pattern, str) or not 0 < len(pattern) <= MAX_PATTERN or not pattern.isprintable():
        raise ServiceConfigurationError(
            f"a service is looked up by its name or a glob pattern such as 'orders.*', of {MAX_PATTERN} characters at most"
        )
    return pattern


def merged(presences: Sequence[Presence]) -> list[Presence]:
    """Return one presence for each instance, what it said last, with all its URLs, sorted by service and start."""
    instances: dict[tuple[str, ...], Presence] = {}
    for presence in presences:
        # One that does not tell its id is known by its address.
        key = (presence.service, presence.instance, *(() if presence.instance else presence.urls))
        known = instances.get(key, presence)
        latest = max(
            known, presence, key=lambda each: each.announced or math.inf
        )  # who answers for himself says it now
        instances[key] = replace(latest, urls=tuple(dict.fromkeys((*known.urls, *presence.urls))))
    return sorted(instances.values(), key=lambda presence: (presence.service, presence.since, presence.instance))


def _shown(url: str) -> str:
    return printable(mask(url)[:_MAX_SHOWN])


def _listed(strategies: Sequence[StrategyRunner]) -> str:
    return ", ".join(str(strategy) for strategy in strategies)


def _some(urls: Sequence[str]) -> str:
    return ", ".join(_shown(url) for url in urls[:_SHOWN]) + (" and others" if len(urls) > _SHOWN else "")
