"""Discovery in Redis: one key for each address of each service, which vanishes unless it is written again."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.names import check_name
from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.discovery.redis_url import parse_redis_url
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.presence import Presence

MAX_FOUND = 1000
_SCAN = 1000
_TIMEOUT = 5.0


class RedisDiscoveryStrategy(BaseDiscoveryStrategy):
    """Announces services in Redis, and finds them there.

    Keys are ``<namespace>.services:<service>#<hash of the URL>``. Looking up walks through all keys of the database
    (``SCAN``, which holds up nobody else): give it a database of its own where the server holds millions of keys.

    Args:
        redis_url: ``redis://host:port/database``, ``rediss://`` (the certificate is always checked) or
            ``unix:///path``.
        time_to_live: seconds for which an announcement is good; well more than the interval of announcements.
        namespace: that of the services.

    Raises:
        ServiceConfigurationError: the URL cannot be used, the time is not positive, or the namespace is no name.
    """

    def __init__(self, redis_url: str, time_to_live: float = 180, *, namespace: str = "gemstone") -> None:
        if not 0 < time_to_live <= 30 * 24 * 3600:
            raise ServiceConfigurationError(f"time_to_live is 30 days at most, in seconds, and not {time_to_live!r}")
        self._server = parse_redis_url(redis_url)
        self._milliseconds = max(1, int(time_to_live * 1000))
        self._prefix = f"{check_name('namespace', namespace)}.services:"
        self.is_local = self._server.is_local

    def __str__(self) -> str:
        return self._server.address

    async def ping(self, name: str, location: str, **kwargs: object) -> None:
        """Announce a URL for ``time_to_live`` seconds.

        Raises:
            ServiceUnreachableError: Redis cannot be used now.
        """
        told = kwargs.get("presence")
        known = told if isinstance(told, Presence) else Presence(service=name, instance="")
        presence = replace(known, service=name, urls=(location,))
        async with self._connected() as redis:
            await redis.set(self._key(name, location), presence.encode(), px=self._milliseconds)

    async def withdraw(self, name: str, location: str) -> None:
        """Take an announcement back.

        Raises:
            ServiceUnreachableError: Redis cannot be used now.
        """
        async with self._connected() as redis:
            await redis.delete(self._key(name, location))

    async def locate(self, name: str) -> list[str]:
        """Return the URLs of the services that match.

        Raises:
            ServiceUnreachableError: Redis cannot be used now.
        """
        return [url for presence in await self.instances(name) for url in presence.urls]

    async def instances(self, pattern: str) -> Sequence[Presence]:
        """Return what was announced of the services that match, one entry for each URL.

        Raises:
            ServiceUnreachableError: Redis cannot be used now.
        """
        async with self._connected() as redis:
            keys = await self._keys(redis, pattern)
            values = await redis.mget(keys) if keys else []
        found = [presence for value in values if (presence := _decode(value)) is not None]
        return [presence for presence in found if presence.matches(pattern)]

    async def _keys(self, redis: Redis, pattern: str) -> list[bytes]:
        # Redis' own patterns differ from fnmatch in brackets; what comes up to the first special character is enough.
        start = pattern
        for special in "*?[":
            start = start.partition(special)[0]
        exact = f"{start}#" if start == pattern else start
        keys: set[bytes] = set()
        async for key in redis.scan_iter(match=_escaped(f"{self._prefix}{exact}") + "*", count=_SCAN):
            keys.add(key)
            if len(keys) >= MAX_FOUND:
                break
        return sorted(keys)

    def _key(self, name: str, location: str) -> str:
        return f"{self._prefix}{name}#{hashlib.sha256(location.encode()).hexdigest()[:32]}"

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Redis]:
        # A connection for each use: twice a minute is seldom, and so it belongs to no event loop.
        try:
            async with self._server.client(_TIMEOUT) as redis:
                yield redis
        except (RedisError, OSError) as error:
            raise ServiceUnreachableError(f"{self} cannot be used: {error}") from error


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in r"*?[]^\\" else character for character in text)


def _decode(value: bytes | str | None) -> Presence | None:
    try:
        return Presence.decode(value) if isinstance(value, bytes) else None
    except ValueError:
        return None  # somebody else's key
