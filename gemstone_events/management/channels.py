"""The channels that there are, and the manager that makes them."""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.addresses import ChannelInstances
from gemstone_events.management.channel import Channel, ChannelSettings, channel, channel_name
from gemstone_events.rpc.authentication.credentials import Credentials
from gemstone_events.rpc.client.caller import DEFAULT_TIMEOUT, Caller, Wires
from gemstone_events.rpc.client.home import Home
from gemstone_events.rpc.client.requests import MethodCall, check_timeout
from gemstone_events.rpc.wire import ClientSettings
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.strict_json import JsonValue

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class WireChannel(Channel):
    """A channel over the wires of JSON-RPC."""

    def __init__(self) -> None:
        super().__init__()
        self._callers: dict[str, Caller] = {}

    def set_address(self, instances: ChannelInstances) -> None:
        """Take the component's present addresses."""
        super().set_address(instances)
        self._callers = {url: caller for url, caller in self._callers.items() if url in instances.urls}

    async def call(self, url: str, call: MethodCall, wires: Wires) -> JsonValue:
        """Call a method at one address."""
        caller = self._callers.get(url)
        if caller is None:
            settings = self.settings
            caller = self._callers[url] = Caller(
                url, timeout=settings.timeout, headers=settings.headers, authentication=settings.authentication
            )
        return (await caller.call(wires, caller.prepare(call))).result


@channel("http")
class HttpChannel(WireChannel):
    """Calls ``http://`` and ``https://`` addresses."""


@channel("amqp")
class AmqpChannel(WireChannel):
    """Calls services through RabbitMQ."""

    has_shared_addresses = True


@channel("bus")
class BusChannel(WireChannel):
    """Calls services over the embedded bus, or in this process."""

    has_shared_addresses = True


DEFAULT_CHANNELS: Sequence[type[Channel]] = (HttpChannel, AmqpChannel, BusChannel)
LOCAL = "local"


class ChannelManager:
    """Makes channels. The constructor opens nothing.

    Args:
        channels: the kinds that there are, the best first.
        namespace: that of the services on brokers and buses.
        timeout: seconds for a call, all attempts together.
        headers: sent with each call.
        authentication: shows who calls.
        pool: connections that somebody lends, and closes himself; ``namespace`` is then theirs.
        loop: the event loop that ``pool`` belongs to; the running one where it is left out.

    Attributes:
        home: where connections live, and calls are made.

    Raises:
        ServiceConfigurationError: a kind is no channel, or two have one name.
    """

    def __init__(
        self,
        channels: Sequence[type[Channel]] = DEFAULT_CHANNELS,
        *,
        namespace: str = "gemstone",
        timeout: float = DEFAULT_TIMEOUT,
        headers: Mapping[str, str] = _NO_HEADERS,
        authentication: Credentials | None = None,
        pool: WirePool | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._kinds: dict[str, type[Channel]] = {}
        for kind in channels:
            name = channel_name(kind)
            if name in self._kinds or name == LOCAL:
                raise ServiceConfigurationError(f"there is a channel {name!r} already: give it another name")
            self._kinds[name] = kind
        self.home = Home(ClientSettings(namespace=namespace), pool, loop)
        self.settings = ChannelSettings(timeout=check_timeout(timeout), headers=headers, authentication=authentication)

    @property
    def names(self) -> Sequence[str]:
        """The names of the channels, the best first."""
        return tuple(self._kinds)

    def make(self, instances: ChannelInstances) -> Channel:
        """Return a channel to a component.

        Raises:
            ServiceConfigurationError: there is no channel of that name.
        """
        if instances.channel not in self._kinds:
            known = ", ".join(self._kinds)
            raise ServiceConfigurationError(f"there is no channel {instances.channel!r}: there are {known}")
        made = self._kinds[instances.channel]()
        made.settings = self.settings
        made.set_address(instances)
        made.customize()
        return made


ChannelFactory = ChannelManager
"""The name in later versions of aspyx."""
