"""A registry of services, ready to run: ``gemstone registry``, or as part of a program of your own.

What it knows is kept in memory only, and is good for some minutes: services announce themselves again and again, so that
a registry that was started anew knows them all within one of their intervals.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from gemstone_events import strict_json
from gemstone_events.configuration import default_configurables
from gemstone_events.errors import GemstoneError, ServiceConfigurationError
from gemstone_events.handlers import exposed_method
from gemstone_events.loopback import is_loopback
from gemstone_events.names import check_name
from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.authentication.hmac_keys import HmacKeys
from gemstone_events.rpc.discovery.http_strategy import REGISTRY_KEY_ID
from gemstone_events.rpc.discovery.locator import check_service_pattern, merged
from gemstone_events.rpc.discovery.registrations import Registrations, RegistryFullError
from gemstone_events.rpc.errors import InvalidParams, RpcError
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.service import MicroService
from gemstone_events.strict_json import JsonValue
from gemstone_events.subscribing.subscription_plan import SubscriptionPlan

ANYWHERE = ("http://*:*", "https://*:*", "amqp://*:*", "amqps://*:*", "sqlite:///*")
"""What may be registered where nothing is said: all but link-local addresses, which are nobody's service."""

MAX_FOUND = 1000
# Transports and stores that are configured for all services are not for the registry, which needs none.
_CONFIGURABLE = ("host", "port", "endpoint", "accessible_at", "allow_unauthenticated", "log_level", "shutdown_timeout")
MAX_PRESENCE_BYTES = 2048


class AddressRefused(RpcError):
    """The registry does not take this address; ``data`` says why."""

    code, message = 1001, "Address refused"


class RegistryFull(RpcError):
    """The registry holds as many addresses as it may."""

    code, message = 1002, "The registry is full"


class ServiceRegistry(MicroService):
    """Knows where services are: they call ``ping`` again and again, and others ask it by ``locate_service``.

    With a token, every call has to be signed with it (``registry_key(token)``); it is never sent itself. Beyond loopback
    it does not start without one.

    Args:
        token: a secret of at least 16 bytes, made at random; None to be open to everybody on this machine.
        time_to_live: seconds for which a ``ping`` is good.
        allow: patterns of the addresses that it takes, as ``AllowList`` has them.
        capacity: how many addresses it holds.
        settings: settings of ``MicroService``.

    Raises:
        ServiceConfigurationError: something is declared wrongly.
    """

    name = "registry"
    port = 8700
    event_transports = ()
    rpc_transports = ()
    event_store = "memory:"
    configurables = tuple(known for known in default_configurables() if known.name in _CONFIGURABLE)

    def __init__(
        self,
        *,
        token: str | None = None,
        time_to_live: float = 180.0,
        allow: Sequence[str] = ANYWHERE,
        capacity: int = 10_000,
        **settings: object,
    ) -> None:
        super().__init__(None, **settings)
        if not time_to_live > 0 or capacity < 1:
            raise ServiceConfigurationError("time_to_live and capacity of a registry have to be more than 0")
        self.require_authentication = token is not None
        self._keys = HmacKeys({REGISTRY_KEY_ID: token}, audience=REGISTRY_KEY_ID) if token is not None else None
        self._allow = AllowList(allow)
        self._registrations = Registrations(time_to_live, capacity=capacity)

    def authenticate_request(self, handler: RpcHandler) -> object:
        """Let pass who signed with the token; everybody where there is none."""
        return True if self._keys is None else self._keys(handler)

    def check_declarations(self) -> Sequence[SubscriptionPlan]:
        """Check what the start checks, and that a registry without token is open to this machine only.

        Raises:
            ServiceConfigurationError: something is declared wrongly.
        """
        if (
            self._keys is None
            and self.port is not None
            and not is_loopback(self.host)
            and not self.allow_unauthenticated
        ):
            raise ServiceConfigurationError(
                f"the registry would listen on {self.host} without a token, so that anybody could send services anywhere: "
                "give it one (gemstone registry --token-file FILE), or set allow_unauthenticated"
            )
        return super().check_declarations()

    @exposed_method(private=True, idempotent=True)
    async def ping(self, name: str, url: str, presence: dict[str, object] | None = None) -> None:
        """Register a URL of a service, or prolong its registration. It has to be called again and again.

        Args:
            name: the service's name.
            url: where it is called, without credentials.
            presence: more about the instance, as ``Presence`` has it.
        """
        _check_service_name(name)
        refusal = self._allow.refusal(url)
        if refusal:
            raise AddressRefused(data={"reason": refusal})
        try:
            self._registrations.add(url, _presence(name, url, presence))
        except RegistryFullError:
            raise RegistryFull from None

    @exposed_method(private=True, idempotent=True)
    async def withdraw(self, name: str, url: str) -> None:
        """Drop a URL of a service; nothing happens where it is not registered."""
        if not isinstance(url, str):
            raise InvalidParams(data={"url": ["it is no text"]})
        self._registrations.remove(_check_service_name(name), url)

    @exposed_method(private=True, idempotent=True)
    async def locate_service(self, name: str) -> list[str]:
        """Return the URLs of the services that match a name or a glob pattern; of more than 1000 any 1000."""
        found = self._registrations.find(_check_service_pattern(name))
        urls = list(dict.fromkeys(url for presence in found for url in presence.urls))
        return urls if len(urls) <= MAX_FOUND else random.sample(urls, MAX_FOUND)

    @exposed_method(private=True, idempotent=True)
    async def services(self, pattern: str = "*") -> list[JsonValue]:
        """Return the instances of the services that match a name or a glob pattern, 1000 at most, as ``Presence``."""
        found = merged(self._registrations.find(_check_service_pattern(pattern)))
        return [strict_json.loads(presence.encode()) for presence in found[:MAX_FOUND]]


def _presence(name: str, url: str, told: dict[str, object] | None) -> Presence:
    if told is None:
        return Presence(service=name, instance="", urls=(url,))
    try:
        # What the instance says of itself counts for people only: where it is called is what was allowed.
        presence = replace(Presence.decode(strict_json.dumps(told)), service=name, urls=())
    except ValueError as error:
        raise InvalidParams(data={"presence": [str(error)]}) from None
    if len(presence.encode()) > MAX_PRESENCE_BYTES:
        raise InvalidParams(data={"presence": [f"it is longer than {MAX_PRESENCE_BYTES} bytes"]})
    return replace(presence, urls=(url,))


def _check_service_name(name: str) -> str:
    try:
        return check_name("service name", name)
    except GemstoneError as error:
        raise InvalidParams(data={"name": [str(error)]}) from None


def _check_service_pattern(pattern: str) -> str:
    try:
        return check_service_pattern(pattern)
    except GemstoneError as error:
        raise InvalidParams(data={"name": [str(error)]}) from None
