"""Channels: ways to the instances of a component, with a choice among their addresses, and another where one fails."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gemstone_events.countdown import Countdown
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.addresses import ChannelInstances
from gemstone_events.management.attempts import Attempts
from gemstone_events.management.url_selectors import (
    FirstURLSelector,
    LeastPendingURLSelector,
    RoundRobinURLSelector,
    URLSelector,
)
from gemstone_events.rpc.authentication.credentials import Credentials
from gemstone_events.rpc.call_errors import (
    OutcomeUnknownError,
    RemoteServiceError,
    RequestRefusedError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.caller import DEFAULT_TIMEOUT, Wires, may_repeat
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.strict_json import JsonValue

SET_ASIDE_SECONDS = 5.0
"""How long an address that failed is passed over."""

_NAME = "__gemstone_channel__"

AnyChannel = TypeVar("AnyChannel", bound="type[Channel]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """What all channels of a caller share.

    Attributes:
        timeout: seconds for a call, all attempts together.
        headers: sent with each call.
        authentication: shows who calls.
    """

    timeout: float = DEFAULT_TIMEOUT
    headers: Mapping[str, str] = field(default_factory=dict)
    authentication: Credentials | None = None


class Channel(ABC):
    """A way to one component. Its methods belong to the event loop of its manager.

    A channel of your own overrides ``call``, and is declared with ``@channel(name)``:

        @channel("carrier-pigeon")
        class PigeonChannel(Channel):
            async def call(self, url: str, call: MethodCall, wires: Wires) -> JsonValue: ...

        ServiceManager(registry, ChannelManager([*DEFAULT_CHANNELS, PigeonChannel]))

    Attributes:
        settings: what all channels of a caller share; set before ``customize`` is called.
        has_shared_addresses: all instances of a service have one address, that of a broker or bus, which chooses among
            them: a call that is repeated there may reach another one.
    """

    settings: ChannelSettings
    has_shared_addresses: bool = False

    def __init__(self) -> None:
        self._instances = ChannelInstances("", "")
        self._selector: URLSelector = RoundRobinURLSelector()
        self._set_aside: dict[str, float] = {}

    @abstractmethod
    async def call(self, url: str, call: MethodCall, wires: Wires) -> JsonValue:
        """Call a method at one address, once, and return its result.

        Args:
            url: the address.
            call: the method, its JSON parameters, and the seconds that may pass (``timeout``).
            wires: connections that all channels share.

        Raises:
            ServiceUnreachableError: it was certainly not carried out, so that another address may be tried.
            OutcomeUnknownError: it may have been carried out.
            RemoteServiceError: anything else that happened.
        """

    def customize(self) -> None:
        """Called when the channel is made, for a subclass to choose its selector and the like."""
        return

    @property
    def name(self) -> str:
        """The name that ``@channel`` gave."""
        return channel_name(type(self))

    @property
    def component(self) -> str:
        """The name of the component that it leads to."""
        return self._instances.component

    @property
    def urls(self) -> Sequence[str]:
        """The addresses that it knows."""
        return self._instances.urls

    def select_first_url(self) -> None:
        """Call the first address, and others only where it fails."""
        self._selector = FirstURLSelector()

    def select_round_robin(self) -> None:
        """Call one address after the other: the default."""
        self._selector = RoundRobinURLSelector()

    def select_least_pending(self) -> None:
        """Call the address that has the fewest calls to answer."""
        self._selector = LeastPendingURLSelector()

    def get_url(self) -> str:
        """Return the address of the next call: one that did not fail a moment ago, where there is such.

        Raises:
            ServiceNotFoundError: the component has no address.
        """
        return self._choose(self.urls)

    def set_address(self, instances: ChannelInstances) -> None:
        """Take the component's present addresses; a registry calls it whenever they change."""
        self._instances = instances
        self._set_aside = {url: until for url, until in self._set_aside.items() if url in instances.urls}

    async def invoke(self, call: MethodCall, wires: Wires) -> JsonValue:
        """Call a method at one address after the other, until one answers or it may have been carried out.

        Where instances share an address, it is tried once more if one of them failed. An address that cannot be reached is
        passed over for ``SET_ASIDE_SECONDS``. All attempts together take no longer than the call's timeout.

        Raises:
            RemoteServiceError: the last one that happened; ``OutcomeUnknownError`` where an earlier attempt may have been
                carried out.
        """
        countdown = Countdown(self.settings.timeout if call.timeout is None else call.timeout)
        attempts = Attempts(are_shared=self.has_shared_addresses)
        while True:
            url = self._choose(attempts.left(self.urls))
            self._selector.begin(url)
            try:
                return await self.call(url, replace(call, timeout=max(0.001, countdown.left)), wires)
            except RemoteServiceError as error:
                attempts.take(url, error)
                is_last = not countdown.left or not attempts.left(self.urls)
                if not self._may_go_on(error, call, url) or is_last:
                    outcome = attempts.outcome(error)
                    raise outcome from outcome.__cause__
            finally:
                self._selector.end(url)

    def _choose(self, urls: Sequence[str]) -> str:
        if not urls:
            raise ServiceNotFoundError(f"the component {self.component!r} has no address on the channel {self.name!r}")
        now = time.monotonic()
        return self._selector.get([url for url in urls if self._set_aside.get(url, 0.0) <= now] or urls)

    def _may_go_on(self, error: RemoteServiceError, call: MethodCall, url: str) -> bool:
        is_refused = isinstance(error, RequestRefusedError)
        if not is_refused and isinstance(error, ServiceUnreachableError | OutcomeUnknownError):
            self._set_aside[url] = time.monotonic() + SET_ASIDE_SECONDS
        return may_repeat(error, is_repeatable=call.idempotent)


def channel(name: str) -> Callable[[AnyChannel], AnyChannel]:
    """Declare a class to be a channel.

    Args:
        name: as in ``ChannelAddress.channel`` and ``preferred_channel``.

    Raises:
        ServiceConfigurationError: the name is empty, or the class no ``Channel``.
    """
    if not isinstance(name, str) or not name:
        raise ServiceConfigurationError('@channel needs a name: write @channel("http")')

    def declare(cls: AnyChannel) -> AnyChannel:
        if not issubclass(cls, Channel):
            raise ServiceConfigurationError(f"{cls.__qualname__} is no channel: derive it from Channel")
        setattr(cls, _NAME, name)
        return cls

    return declare


def channel_name(cls: type[Channel]) -> str:
    """Return the name that a channel's class was declared with.

    Raises:
        ServiceConfigurationError: it was not.
    """
    name = getattr(cls, _NAME, None)
    if not isinstance(name, str):
        raise ServiceConfigurationError(f'{cls.__qualname__} has no name: decorate it with @channel("its name")')
    return name
