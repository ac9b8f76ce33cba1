"""Discovery in Redis: a sorted set of addresses for each service, which vanish unless they are written again."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from redis.asyncio import Redis

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.names import check_name
from gemstone_events.rpc.discovery.redis_entries import MAX_MEMBERS, MAX_SECONDS, RedisEntries, read, server_time, write
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.presence import MAX_PRESENCE_BYTES, Presence, is_pattern


class RedisDiscoveryStrategy(BaseDiscoveryStrategy):
    """Announces services in Redis, and finds them there. Looking up touches no keys but those of the namespace.

    ``<namespace>.services`` holds the names of services, ``<namespace>.services:<service>`` the URLs of each, both as
    sorted sets whose scores say until when (by the server's clock) what is announced is good, and
    ``<namespace>.services:<service>#<hash of the URL>`` what the instance there says of itself.

    Args:
        redis_url: ``redis://host:port/database``, ``rediss://`` (the certificate is always checked) or
            ``unix:///path``.
        time_to_live: seconds for which an announcement is good; well more than the interval of announcements.
        namespace: that of the services.

    Raises:
        ServiceConfigurationError: the URL cannot be used, the time is not positive, or the namespace is no name.
    """

    def __init__(self, redis_url: str, time_to_live: float = 180, *, namespace: str = "gemstone") -> None:
        if not 0 < time_to_live <= MAX_SECONDS:
            raise ServiceConfigurationError(f"time_to_live is 30 days at most, in seconds, and not {time_to_live!r}")
        self._entries = RedisEntries(redis_url)
        self._seconds = time_to_live
        self._names = f"{check_name('namespace', namespace)}.services"
        self.is_local = self._entries.is_local

    def __str__(self) -> str:
        return str(self._entries)

    async def ping(self, name: str, location: str, **kwargs: object) -> None:
        """Announce a URL for ``time_to_live`` seconds.

        Raises:
            ServiceUnreachableError: Redis cannot be used now.
        """
        told = kwargs.get("presence")
        presence = told if isinstance(told, Presence) else Presence(service=name, instance="")
        async with self._entries.connected() as redis:
            now = await server_time(redis)
            presence = replace(presence, announced=now)
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.set(self._key(name, location), _encoded(presence), px=max(1, int(self._seconds * 1000)))
                write(pipeline, f"{self._names}:{name}", [location], now=now, seconds=self._seconds)
                write(pipeline, self._names, [name], now=now, seconds=self._seconds)
                await pipeline.execute()

    async def withdraw(self, name: str, location: str) -> None:
        """Take an announcement back.

        Raises:
            ServiceUnreachableError: Redis cannot be used now.
        """
        async with self._entries.connected() as redis, redis.pipeline(transaction=False) as pipeline:
            pipeline.zrem(f"{self._names}:{name}", location)
            pipeline.delete(self._key(name, location))
            await pipeline.execute()

    async def locate(self, name: str) -> list[str]:
        """Return the URLs of the services that match.

        Raises:
            ServiceUnreachableError: Redis cannot be used now.
        """
        async with self._entries.connected() as redis:
            return [url for _, url in await self._find(redis, name)]

    async def instances(self, pattern: str) -> Sequence[Presence]:
        """Return what was announced of the services that match, one entry for each URL.

        Raises:
            ServiceUnreachableError: Redis cannot be used now.
        """
        async with self._entries.connected() as redis:
            found = await self._find(redis, pattern)
            told = await redis.mget([self._key(*each) for each in found]) if found else []
        # Where an instance is called is what was announced, whatever it says of itself.
        return [
            replace(_decoded(value), service=name, urls=(url,)) for (name, url), value in zip(found, told, strict=True)
        ]

    async def _find(self, redis: Redis, pattern: str) -> list[tuple[str, str]]:
        """Return names and URLs of the services that match."""
        names = [pattern]
        if is_pattern(pattern):
            (known,) = await read(redis, [self._names], limit=-1)
            names = [name for name in known if fnmatchcase(name, pattern)][:MAX_MEMBERS]
        found = await read(redis, [f"{self._names}:{name}" for name in names]) if names else []
        return [(name, url) for name, urls in zip(names, found, strict=True) for url in urls][:MAX_MEMBERS]

    def _key(self, name: str, location: str) -> str:
        return f"{self._names}:{name}#{hashlib.sha256(location.encode()).hexdigest()[:32]}"


def _encoded(presence: Presence) -> bytes:
    raw = replace(presence, urls=()).encode()
    return raw if len(raw) <= MAX_PRESENCE_BYTES else replace(presence, urls=(), trouble=(), components=()).encode()


def _decoded(value: bytes | str | None) -> Presence:
    try:
        return Presence.decode(value if isinstance(value, bytes) else b"")
    except ValueError:
        return Presence(service="", instance="")  # it has run out, or is somebody else's
