"""Sorted sets in Redis whose members run out by themselves: the score of each is the time until which it is good."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.discovery.redis_url import parse_redis_url

MAX_SECONDS = 30 * 24 * 3600
"""How long a member can be good at most; a set that nobody writes any more vanishes after that."""

MAX_MEMBERS = 1000

_ANSWER_SECONDS = 5.0


class RedisEntries:
    """A Redis server, as registries use it: seldom, by connections of a moment that belong to no event loop.

    Args:
        url: ``redis://host:port/database``, ``rediss://`` or ``unix:///path``.

    Raises:
        ServiceConfigurationError: the URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._server = parse_redis_url(url)
        self.is_local = self._server.is_local

    def __str__(self) -> str:
        return self._server.address

    def client(self) -> Redis:
        """Return a client, not connected yet."""
        return self._server.client(_ANSWER_SECONDS)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Redis]:
        """Lend a client.

        Raises:
            ServiceUnreachableError: Redis cannot be used now.
        """
        redis = self.client()  # as a context manager it would stay open where it is cancelled while it closes
        try:
            try:
                yield redis
            finally:
                await asyncio.shield(redis.aclose())
        except (RedisError, OSError) as error:
            raise ServiceUnreachableError(f"{self} cannot be used: {error}") from error


async def server_time(redis: Redis) -> float:
    """Return the time by the server's clock, the only one that all agree on."""
    seconds, microseconds = await redis.time()
    return float(seconds) + float(microseconds) / 1e6


def write(pipeline: Pipeline, key: str, members: Iterable[str], *, now: float, seconds: float) -> None:
    """Write members that are good for some seconds, and drop what has run out.

    What another has written for longer stays so: neither a member nor the set is ever cut short.
    """
    if scores := dict.fromkeys(members, now + seconds):
        pipeline.zadd(key, scores, gt=True)
        pipeline.pexpire(key, MAX_SECONDS * 1000)
    pipeline.zremrangebyscore(key, "-inf", now)


async def read(redis: Redis, keys: Sequence[str], *, limit: int = MAX_MEMBERS) -> list[list[str]]:
    """Return the members of each set that are good now: of each the freshest ``limit``, or all for -1, sorted."""
    now = await server_time(redis)
    async with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.zrange(key, "+inf", f"({now!r}", byscore=True, desc=True, offset=0, num=limit)
        found = await pipeline.execute()
    return [sorted(member.decode(errors="replace") for member in members) for members in found]
