"""A registry in Redis: one sorted set for each component, whose entries run out unless they are written again."""

import asyncio
import logging
import secrets
from collections.abc import Iterable, Sequence

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from gemstone_events import strict_json
from gemstone_events.cancellation import end
from gemstone_events.countdown import Countdown
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.addresses import ChannelAddress, ChannelInstances, TrustedAddresses, by_channel
from gemstone_events.management.descriptors import ComponentDescriptor
from gemstone_events.management.registry import PollingRegistry, check_addresses
from gemstone_events.names import check_name
from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.discovery.outage import Outage
from gemstone_events.rpc.discovery.own_brokers import announceable
from gemstone_events.rpc.discovery.redis_entries import RedisEntries, read, server_time, write

_logger = logging.getLogger("gemstone_events.management")


class RedisComponentRegistry(PollingRegistry):
    """Keeps the addresses of components in Redis, where all machines see them.

    What is registered is written anew every third of ``ttl``, and runs out when the process dies. Whoever watches is
    told of changes at once, by publish/subscribe; of instances that died, within ``interval`` seconds after that.

    Addresses that others have written down are called only if they are allowed.

    Args:
        redis_url: ``redis://host:port/database``, ``rediss://`` or ``unix:///path``.
        ttl: seconds for which an entry is good unless it is renewed.
        interval: seconds between two looks at what is watched.
        namespace: prefixes every key, to keep environments apart.
        brokers: URLs of the caller's own brokers and buses: addresses on them are allowed, and get his credentials.
        allow: the other addresses that may be called; by default HTTP on this machine.

    Raises:
        ServiceConfigurationError: the URL, a time or the namespace cannot be used.
    """

    def __init__(
        self,
        redis_url: str,
        ttl: float = 30.0,
        *,
        interval: float = 2.0,
        namespace: str = "gemstone",
        brokers: Iterable[str] = (),
        allow: AllowList | None = None,
    ) -> None:
        super().__init__(interval)
        if not 0.1 <= ttl <= 24 * 3600:
            raise ServiceConfigurationError(f"the ttl of a registry is 0.1 seconds to one day, and not {ttl!r}")
        self._entries = RedisEntries(redis_url)
        self._ttl = ttl
        self._prefix = f"{check_name('namespace', namespace)}.components"
        self._trusted = TrustedAddresses(brokers, allow)
        self._instance = secrets.token_hex(8)
        self._registered: dict[str, Sequence[str]] = {}
        self._writing = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None
        self._news: tuple[Redis, PubSub] | None = None

    def __str__(self) -> str:
        return str(self._entries)

    async def register(self, descriptor: ComponentDescriptor[object], addresses: Sequence[ChannelAddress]) -> None:
        """Write down where this process serves a component, and renew it until it is taken back."""
        check_addresses(addresses)
        members = [
            strict_json.dumps([each.channel, url, self._instance]).decode()
            for each in addresses
            for url in announceable([each.uri], is_local=self._entries.is_local)
        ]
        if addresses and not members:
            _logger.warning(
                "the component %r is not registered: none of its addresses can be called from elsewhere: "
                "set accessible_at",
                descriptor.name,
            )
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())
        await self._replace(descriptor.name, members)

    async def deregister(self, descriptor: ComponentDescriptor[object]) -> None:
        """Take back what this process wrote down."""
        await self._replace(descriptor.name, ())

    async def close(self) -> None:
        """Renew and look no more; what is still registered runs out by itself. Twice is harmless."""
        await super().close()
        await end(self._renewal)
        self._renewal = None
        await self._forget_news()

    async def _find(self, components: Sequence[str]) -> list[ChannelInstances]:
        async with self._entries.connected() as redis:
            found = await read(redis, [self._key(component) for component in components])
        return [
            instances
            for component, members in zip(components, found, strict=True)
            for instances in by_channel(component, self._choose(members))
        ]

    def _choose(self, members: Iterable[str]) -> list[ChannelAddress]:
        addresses = [address for member in members if (address := _address(member)) is not None]
        return self._trusted.choose(addresses, is_local=self._entries.is_local)

    async def _replace(self, component: str, members: Sequence[str]) -> None:
        """Write down other members than before, and tell everybody."""
        async with self._writing:  # a renewal under way must not bring back what is removed now
            old = set(self._registered.pop(component, ())) - set(members)
            if members:
                self._registered[component] = members
            async with self._entries.connected() as redis:
                await self._write(redis, component, old)
                await redis.publish(self._prefix, component)

    async def _write(self, redis: Redis, component: str, old: Iterable[str] = ()) -> None:
        now = await server_time(redis)
        key = self._key(component)
        async with redis.pipeline(transaction=True) as pipeline:
            if removed := list(old):
                pipeline.zrem(key, *removed)
            write(pipeline, key, self._registered.get(component, ()), now=now, seconds=self._ttl)
            await pipeline.execute()

    async def _renew(self) -> None:
        outage = Outage(
            _logger, "the addresses of components cannot be renewed", "the addresses of components are renewed again"
        )
        while True:
            await asyncio.sleep(self._ttl / 3)
            try:
                async with self._writing, self._entries.connected() as redis:
                    for component in self._registered:
                        await self._write(redis, component)
                outage.report("")
            except ServiceUnreachableError as error:
                outage.report(str(error))

    async def _wait(self) -> None:
        """Wait for an interval, or until somebody publishes a change."""
        try:
            if self._news is None:
                redis = self._entries.client()
                self._news = redis, redis.pubsub(ignore_subscribe_messages=True)
                await self._news[1].subscribe(self._prefix)
                return  # what changed until now was told to nobody
            countdown = Countdown(self._interval)
            while (left := countdown.left) > 0:
                if await self._news[1].get_message(timeout=left) is not None:
                    return
        except (RedisError, OSError) as error:
            await self._forget_news()
            raise ServiceUnreachableError(f"{self} cannot be used: {error}") from error

    async def _forget_news(self) -> None:
        news, self._news = self._news, None
        for each in reversed(news or ()):
            try:
                await each.aclose()
            except (RedisError, OSError, RuntimeError):  # its loop may have ended
                _logger.debug("a connection to Redis did not close well", exc_info=True)

    def _key(self, component: str) -> str:
        return f"{self._prefix}:{component}"


def _address(member: str) -> ChannelAddress | None:
    try:
        found = strict_json.loads(member.encode())
    except ValueError:
        return None
    match found:
        case [str(channel), str(uri), str()]:
            return ChannelAddress(channel, uri)
        case _:
            return None  # somebody else's entry
