"""Where components are called: addresses by channel."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.discovery.own_brokers import OwnBrokers
from gemstone_events.rpc.discovery.trusted_urls import TrustedUrls
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import mask, scheme_of

_logger = logging.getLogger("gemstone_events.management")

_CHANNEL_OF_SCHEME = {
    "http": "http",
    "https": "http",
    "amqp": "amqp",
    "amqps": "amqp",
    "sqlite": "bus",
    "memory": "bus",
}


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """One way to a component.

    Attributes:
        channel: the channel's name.
        uri: where the component's services are called.
    """

    channel: str
    uri: str


@dataclass(frozen=True, slots=True)
class ChannelInstances:
    """All instances of a component that one channel reaches.

    Attributes:
        component: the component's name.
        channel: the channel's name.
        urls: where they are called, sorted.
    """

    component: str
    channel: str
    urls: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "urls", tuple(sorted(set(self.urls))))


def channel_of(url: str) -> str:
    """Return the name of the channel that a URL belongs to: its scheme's, or the scheme itself."""
    scheme = scheme_of(url)
    return _CHANNEL_OF_SCHEME.get(scheme, scheme)


def addresses_of(urls: Iterable[str]) -> list[ChannelAddress]:
    """Return the addresses that a component has at a service which is called at these URLs."""
    return [ChannelAddress(channel_of(url), url) for url in urls]


def by_channel(component: str, addresses: Iterable[ChannelAddress]) -> list[ChannelInstances]:
    """Return a component's addresses, put together by channel."""
    urls: dict[str, list[str]] = {}
    for address in addresses:
        urls.setdefault(address.channel, []).append(address.uri)
    return [ChannelInstances(component, channel, found) for channel, found in urls.items()]


class TrustedAddresses:
    """Decides which addresses that others have written down are called: those allowed, and those on own brokers.

    Args:
        brokers: URLs of the caller's own brokers and buses, with credentials, which addresses on them get.
        allow: the other addresses that may be called; by default HTTP on this machine.
    """

    def __init__(self, brokers: Iterable[str] = (), allow: AllowList | None = None) -> None:
        self._urls = TrustedUrls(OwnBrokers(brokers, WirePool()), allow)

    def choose(self, addresses: Iterable[ChannelAddress], *, is_local: bool = True) -> list[ChannelAddress]:
        """Return those that may be called, as the caller calls them.

        Args:
            addresses: what others have written down.
            is_local: they did it on this machine; otherwise its own addresses mean another machine there.
        """
        chosen = []
        for address in addresses:
            url, refusal = self._urls.judge(address.uri, is_local=is_local)
            if refusal:
                _logger.debug("the address %s may not be called: %s", mask(address.uri), refusal)
            else:
                chosen.append(ChannelAddress(address.channel, url))
        return chosen
