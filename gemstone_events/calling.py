"""Calls, to and from one service: what ``messaging`` is for events. Started, announced, drained and stopped."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from gemstone_events.countdown import Countdown
from gemstone_events.exposure import Exposure
from gemstone_events.management.health import HealthStatus
from gemstone_events.management.hosting import ComponentHost
from gemstone_events.neighbours import Neighbours
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ServerSettings
from gemstone_events.rpc.wires.http.application import RpcApplication
from gemstone_events.rpc.wires.http.server import HttpServer
from gemstone_events.serving import Serving, make_servers
from gemstone_events.settings import Settings

# What is longer would keep the service from being found.
_MAX_TROUBLES = 20
_MAX_TROUBLE = 200


class Trouble(Protocol):
    """Says what does not work now."""

    def __call__(self) -> Mapping[str, str]:
        """Return it by the address of the part; empty when all is well."""


class Calling:
    """HTTP, the wires, the components and the neighbours of one running service.

    All methods belong to one event loop; the constructor opens nothing. They are called in the order in which they
    stand here: ``open`` and ``close`` enclose all that the service does.

    Args:
        settings: the service's.
        instance_id: tells this instance from others of the service.
        exposure: what can be called.
        application: what HTTP serves; None for no HTTP.
        host: the service's components.
        other_trouble: what does not work elsewhere in the service.
        logger: the service's.

    Attributes:
        neighbours: the services that this one calls.

    Raises:
        ServiceConfigurationError: a setting cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        instance_id: str,
        exposure: Exposure,
        application: RpcApplication | None,
        host: ComponentHost,
        other_trouble: Trouble,
        logger: logging.Logger,
    ) -> None:
        self._settings = settings
        self._instance_id = instance_id
        self._exposure = exposure
        self._host = host
        self._other_trouble = other_trouble
        self._log = logger
        self._since = time.time()
        self._http: HttpServer | None = None
        if application is not None and settings.port is not None:
            self._http = HttpServer(application, host=settings.host, port=settings.port)
        wires = ServerSettings(
            service=settings.service_name,
            presence=self.presence,
            namespace=settings.namespace,
            concurrency=settings.max_concurrent_calls,
            body_bytes=settings.max_body,
        )
        self._serving = Serving(make_servers(settings.broker_urls, wires))
        self.neighbours = Neighbours(settings)

    async def start_components(self) -> None:
        """Start the components: what they need is there before anybody calls."""
        await self._host.start()

    async def listen(self) -> None:
        """Take calls over HTTP.

        Raises:
            ServiceConfigurationError: the address cannot be listened on.
        """
        if self._http is not None:
            await self._http.start()

    async def serve(self) -> None:
        """Take calls by the wires, and tell everybody.

        Raises:
            ServiceConfigurationError: a broker refuses.
        """
        await self._serving.start(self._exposure.answer)
        await self._host.announce(self.urls, self.port)
        self._host.known_health()  # so that the checks have run when somebody asks how the service is
        self.neighbours.announce(self.presence, self._log)

    async def drain(self, timeout: float) -> None:
        """Sign off, take nothing new, and finish what runs, within ``timeout`` seconds."""
        countdown = Countdown(timeout)
        try:
            async with asyncio.timeout(timeout / 2):
                await asyncio.gather(self.neighbours.sign_off(), self._host.withdraw())
        except TimeoutError:
            self._log.info("the service could not be signed off in %.1f s: what it announced expires", timeout / 2)
        finally:
            left = countdown.left
            await asyncio.gather(
                self._serving.stop(left),
                self._http.stop(left) if self._http is not None else asyncio.sleep(0),
            )

    async def stop_components(self) -> None:
        """Stop the components, which nobody calls any more, and disconnect HTTP and the wires."""
        if self._http is not None:
            await self._http.stop(0)  # a drain that was cut short may not have come to its end
        await self._serving.close()
        await self._host.stop()

    async def close(self) -> None:
        """Let go of everything. Twice is harmless."""
        await self.neighbours.close()

    @property
    def port(self) -> int | None:
        """The port of HTTP: the one that it listens on, as soon as it does."""
        return None if self._http is None else self._http.port

    @property
    def addresses(self) -> list[str]:
        """The service's URLs on brokers and buses, without credentials."""
        return self._serving.addresses

    @property
    def urls(self) -> list[str]:
        """Every URL under which the service can be called, without credentials; HTTP first."""
        url = self._settings.url_at(self.port)
        return [*([url] if url else []), *self.addresses]

    def trouble(self) -> dict[str, str]:
        """Return what keeps calls from coming in, by address; empty when all is well."""
        return self._serving.trouble()

    def presence(self) -> Presence:
        """Say who and where this instance is, and how it is, by what its health checks found when they last ran."""
        trouble = [f"{part}: {what}" for part, what in {**self._other_trouble(), **self.trouble()}.items()]
        found = self._host.known_health()
        is_ready = not trouble and found.status is not HealthStatus.ERROR
        unwell = [result for result in found.results if result.status is not HealthStatus.OK]
        trouble += [f"{result.name}: {result.details or result.status.name}" for result in unwell]
        return Presence(
            service=self._settings.service_name,
            instance=self._instance_id,
            urls=tuple(self.urls),
            since=self._since,
            health="degraded" if not is_ready else "warning" if unwell else "ok",
            trouble=tuple(each[:_MAX_TROUBLE] for each in trouble[:_MAX_TROUBLES]),
            components=self._host.component_names,
        )
