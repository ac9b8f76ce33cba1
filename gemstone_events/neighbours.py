"""The other services: how one service finds them, calls them, and is announced to them."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gemstone_events.rpc.call_errors import RequestRefusedError, ServiceUnreachableError
from gemstone_events.rpc.client.async_call import finish
from gemstone_events.rpc.client.caller import DEFAULT_TIMEOUT, Wires
from gemstone_events.rpc.client.home import Home
from gemstone_events.rpc.client.remote_service import RemoteService
from gemstone_events.rpc.discovery.discovery import Discovery
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings, ClientWire, WireRequest
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import mask
from gemstone_events.settings import Settings

_logger = logging.getLogger("gemstone_events.rpc.client")


class Neighbours:
    """What one running service knows of others. It belongs to the loop that is running when it is made.

    Args:
        settings: the service's; the brokers and buses by which it is called itself are asked who is there.

    Raises:
        ServiceConfigurationError: a setting of discovery cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._interval = settings.service_registry_ping_interval
        self._pool = WatchedPool(
            ClientSettings(namespace=settings.namespace, client=settings.service_name), self._forget
        )
        self._home = Home(self._pool.settings, self._pool, asyncio.get_running_loop())
        self._discovery = Discovery(
            settings.discovery_strategies,
            registries=settings.service_registry_urls,
            registry_token=settings.service_registry_token,
            brokers=settings.broker_urls,
            wires=self._pool,
            allow=settings.discovery_allow,
            cache=settings.remote_service_cache,
        )

    def announce(self, presence: Callable[[], Presence], logger: logging.Logger) -> None:
        """Begin to announce the service."""
        self._discovery.announce(presence, interval=self._interval, logger=logger)

    def get_service(self, pattern: str, **settings: Any) -> Any:
        """Return a ``RemoteService``, see ``MicroService.get_service``; on an event loop it is to be awaited."""

        async def find(wires: Wires) -> RemoteService:
            urls = await self._discovery.locate(pattern)
            return RemoteService(urls[0], pool=LocatedPool(self._pool, urls), **settings)

        return finish(self._home.run(find, time.monotonic() + DEFAULT_TIMEOUT))  # each strategy has its own limit

    async def sign_off(self) -> None:
        """Announce the service no more. Twice is harmless."""
        await self._discovery.sign_off()

    async def close(self) -> None:
        """Sign off and close all connections. Twice is harmless."""
        await self._discovery.close()
        await self._pool.close()

    def _forget(self, url: str) -> None:
        self._discovery.forget(url)


class WatchedPool(WirePool):
    """Connections whose users tell which addresses are dead, just by calling them.

    Args:
        settings: what each wire is made with.
        forget: called with the URL of a service that could not be reached.
    """

    def __init__(self, settings: ClientSettings, forget: Callable[[str], None]) -> None:
        super().__init__(settings)
        self._forget = forget
        self._is_closed = False

    def wire_for(self, url: str) -> ClientWire:
        """Return the wire that a URL is called by, watched.

        Raises:
            ServiceUnreachableError: the pool was closed, and nobody would close what is opened now.
            ServiceConfigurationError: nothing installed answers to the URL's scheme, or cannot be loaded.
        """
        if self._is_closed:
            raise ServiceUnreachableError("the service that lent its connections does not run any more: not sent")
        return _WatchedWire(super().wire_for(url), self._forget)

    async def close(self) -> None:
        """Close all wires for good. Twice is harmless."""
        self._is_closed = True
        await super().close()


class _WrappedWire(ABC):
    """Does what a wire does, but for calls."""

    def __init__(self, wire: ClientWire) -> None:
        self._wire = wire
        self.counts = wire.counts

    def address(self, url: str) -> str:
        return self._wire.address(url)

    @abstractmethod
    async def call(self, url: str, request: WireRequest) -> bytes | None: ...

    async def find(self, url: str, pattern: str, patience: float, *, all_of_them: bool = True) -> Sequence[Presence]:
        return await self._wire.find(url, pattern, patience, all_of_them=all_of_them)

    async def close(self) -> None:
        await self._wire.close()


class _WatchedWire(_WrappedWire):
    def __init__(self, wire: ClientWire, forget: Callable[[str], None]) -> None:
        super().__init__(wire)
        self._forget = forget

    async def call(self, url: str, request: WireRequest) -> bytes | None:
        try:
            return await self._wire.call(url, request)
        except RequestRefusedError:
            raise
        except ServiceUnreachableError:
            self._forget(url)
            raise


class LocatedPool(WirePool):
    """The connections of one ``RemoteService`` that was found at several addresses.

    A call that was surely not carried out at one of them goes to the next; those after it begin there.

    Args:
        pool: the connections.
        urls: the addresses, the best first, at least one.
    """

    def __init__(self, pool: WirePool, urls: Sequence[str]) -> None:
        super().__init__(pool.settings)
        self._pool = pool
        self._urls = list(urls)

    def wire_for(self, url: str) -> ClientWire:
        """Return the wire that leads to all of the addresses, whichever of them ``url`` is.

        Raises:
            ServiceUnreachableError: the pool was closed.
            ServiceConfigurationError: nothing installed answers to the URL's scheme, or cannot be loaded.
        """
        return _LocatedWire(self._pool.wire_for(url), self._pool, self._urls)


class _LocatedWire(_WrappedWire):
    def __init__(self, wire: ClientWire, pool: WirePool, urls: list[str]) -> None:
        super().__init__(wire)
        self._pool = pool
        self._urls = urls

    async def call(self, url: str, request: WireRequest) -> bytes | None:
        deadline = time.monotonic() + request.timeout
        urls = tuple(self._urls)
        for number, each in enumerate(urls, 1):
            wire = self._pool.wire_for(each)
            try:
                return await wire.call(each, request)
            except RequestRefusedError:
                raise
            except ServiceUnreachableError as error:
                if self._urls[0] == each:
                    self._urls.append(self._urls.pop(0))
                request = replace(request, timeout=deadline - time.monotonic())
                if number == len(urls) or request.timeout <= 0:
                    if number > 1:
                        error.add_note(f"none could be reached of {', '.join(mask(tried) for tried in urls[:number])}")
                    raise
                _logger.info("%s: %s is called instead", error, mask(urls[number]))
        raise AssertionError("there is at least one address")
