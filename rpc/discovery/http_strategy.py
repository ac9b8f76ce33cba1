"""Discovery by a registry: a service with the methods ``ping`` and ``locate_service``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TypeGuard

from gemstone_events import strict_json
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.allow_list import is_on_this_machine
from gemstone_events.rpc.authentication.credentials import Credentials, HmacKey
from gemstone_events.rpc.call_errors import (
    AccessDeniedError,
    InvalidAnswerError,
    InvalidParamsError,
    MethodNotFoundError,
)
from gemstone_events.rpc.client.caller import Caller
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.discovery.wires_here import WiresHere
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

REGISTRY_KEY_ID = "registry"
"""The id of the key that a registry's token is, and the audience of what is signed with it."""

_TIMEOUT = 4.0
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?(/[\w./-]*)?", re.ASCII)
_TOKEN = "service_registry_token, GEMSTONE_SERVICE_REGISTRY_TOKEN, or --token-file of the command gemstone"
_NO_TOKEN = f"it answers only callers that have its token: set {_TOKEN}"
_REFUSED = f"it does not take the token ({_TOKEN}): it is another one, or the clocks disagree"


class HttpDiscoveryStrategy(BaseDiscoveryStrategy):
    """Announces services to a registry, and asks it for others.

    A registry is any service that exposes ``ping(name, url)`` and ``locate_service(name)``, such as ``ServiceRegistry``
    and those of gemstone.

    Args:
        registry_location: the registry's URL; over HTTP ``/api`` is taken where it has no path. It may also be the URL of
            a service on a broker, ``amqp://host/vhost#registry``.
        credentials: what the registry demands of its callers; for ``ServiceRegistry`` with a token ``registry_key(token)``.
        namespace: that of the registry, where it is called over a broker.
        wires: connections to use; without them it opens its own, one set for each event loop.

    Raises:
        ServiceConfigurationError: it is no URL.
    """

    def __init__(
        self,
        registry_location: str,
        *,
        credentials: Credentials | None = None,
        namespace: str = "gemstone",
        wires: WirePool | None = None,
    ) -> None:
        given = registry_location
        try:
            self.is_local = is_on_this_machine(registry_location)
        except ValueError:
            registry_location = ""
        if "://" not in registry_location:
            raise ServiceConfigurationError(f"a registry's URL begins with http://: write {_url_of(given)}")
        self._caller = Caller(registry_location, timeout=_TIMEOUT, authentication=credentials)
        self._has_token = credentials is not None
        self._wires = WiresHere(ClientSettings(namespace=namespace), wires)

    def __str__(self) -> str:
        return f"registry {mask(self._caller.url)}"

    async def ping(self, name: str, location: str, **kwargs: object) -> None:
        """Announce a URL.

        Raises:
            RemoteServiceError: the registry could not be called, or refused.
        """
        known: dict[str, JsonValue] = {"name": name, "url": location}
        presence = kwargs.get("presence")
        if isinstance(presence, Presence):
            with (
                suppress(InvalidParamsError),
                self._explained("ping"),
            ):  # a registry of gemstone knows name and url only
                await self._call("ping", {**known, "presence": strict_json.loads(presence.encode())})
                return
        with self._explained("ping"):
            await self._call("ping", known)

    async def withdraw(self, name: str, location: str) -> None:
        """Take an announcement back, where the registry knows how to.

        Raises:
            RemoteServiceError: the registry could not be called, or refused.
        """
        try:
            await self._call("withdraw", {"name": name, "url": location})
        except MethodNotFoundError:
            return

    async def locate(self, name: str) -> list[str]:
        """Return the URLs that the registry knows.

        Raises:
            RemoteServiceError: the registry could not be called, or refused.
        """
        found = await self._locate(name)
        if found is None:
            return []
        if not _is_list(found):
            raise InvalidAnswerError(f"{self} answered locate_service with something else than a list of URLs")
        return [url for url in found if isinstance(url, str)]

    async def instances(self, pattern: str) -> Sequence[Presence]:
        """Return who the registry says is there; nobody where it cannot say.

        Raises:
            RemoteServiceError: the registry could not be called, or refused.
        """
        try:
            found = await self._call("services", {"pattern": pattern})
        except MethodNotFoundError:
            await self._locate(pattern)  # one of gemstone; what is no registry at all has to be told
            return []
        if not _is_list(found):
            raise InvalidAnswerError(f"{self} answered services with something else than a list")
        return [presence for entry in found if (presence := _presence(entry)) is not None]

    async def close(self) -> None:
        """Close the connections that it opened on this loop. Twice is harmless."""
        await self._wires.close()

    async def _locate(self, pattern: str) -> JsonValue:
        with self._explained("locate_service"):
            return await self._call("locate_service", {"name": pattern})

    async def _call(self, method: str, params: Mapping[str, JsonValue]) -> JsonValue:
        call = self._caller.prepare(MethodCall(method, params, idempotent=True))
        try:
            return (await self._caller.call(self._wires.pool(), call)).result
        except AccessDeniedError as error:
            raise AccessDeniedError(_REFUSED if self._has_token else _NO_TOKEN, data=error.data) from error

    @contextmanager
    def _explained(self, method: str) -> Iterator[None]:
        """Say of a service without a registry's method that it is none."""
        try:
            yield
        except MethodNotFoundError as error:
            raise MethodNotFoundError(f"that is no registry: it has no method {method!r}") from error


def registry_key(token: str) -> HmacKey:
    """Return what callers of a ``ServiceRegistry`` show: their calls are signed with its token, which is never sent.

    Raises:
        ServiceConfigurationError: the token is shorter than 16 bytes.
    """
    return HmacKey(REGISTRY_KEY_ID, token, audience=REGISTRY_KEY_ID)


def _url_of(location: str) -> str:
    # What is anything else than host and port may hold a password, and is not shown.
    return f"http://{location}" if _HOST_AND_PORT.fullmatch(location) else "http://host:port"


def _is_list(value: JsonValue) -> TypeGuard[list[JsonValue]]:
    return isinstance(value, list)


def _presence(entry: JsonValue) -> Presence | None:
    try:
        return Presence.decode(strict_json.dumps(entry))
    except ValueError:
        return None
