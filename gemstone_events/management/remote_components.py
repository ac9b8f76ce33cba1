"""Components elsewhere: which channels lead to them, and calls that go by one after the other until one arrives."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from gemstone_events.call_scope import current_call_scope
from gemstone_events.countdown import Countdown
from gemstone_events.management.addresses import ChannelInstances
from gemstone_events.management.channel import Channel
from gemstone_events.management.channels import ChannelManager
from gemstone_events.management.descriptors import ComponentDescriptor
from gemstone_events.management.registry import ComponentRegistry
from gemstone_events.rpc.call_errors import (
    LocalServiceException,
    RemoteServiceError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.async_call import AsyncMethodCall
from gemstone_events.rpc.client.call_counts import is_outcome_known
from gemstone_events.rpc.client.caller import Wires, may_repeat, sum_of
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.discovery.shared_searches import SharedSearches
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

Component = ComponentDescriptor[object]


class RemoteComponents:
    """Calls the services of components wherever they run. The constructor opens nothing.

    Args:
        registry: says where components are.
        channels: makes the ways to them.
    """

    def __init__(self, registry: ComponentRegistry, channels: ChannelManager) -> None:
        self._registry = registry
        self._manager = channels
        self._channels: dict[str, list[Channel]] = {}
        self._searches = SharedSearches[None]()
        self._is_closed = False

    def begin(self, component: Component, preferred: str, call: MethodCall) -> AsyncMethodCall[JsonValue]:
        """Begin a call of a component's service, and return at once; in threads and on event loops.

        Args:
            component: whose service it is.
            preferred: the name of the channel to be tried first; empty for the registry's own, and the manager's order.
            call: the method and its JSON parameters.
        """
        seconds = self._manager.settings.timeout if call.timeout is None else call.timeout
        scope = current_call_scope()
        if scope is not None:
            seconds = min(seconds, scope.seconds_left)
        countdown = Countdown(seconds)
        self._is_closed = False
        return self._manager.home.run(
            lambda wires: self._call(component, preferred, call, countdown, wires), time.monotonic() + seconds
        )

    def report(self) -> dict[str, JsonValue]:
        """Return the known addresses by component and channel, without credentials."""
        return {
            component: {channel.name: [mask(url) for url in channel.urls] for channel in channels if channel.urls}
            for component, channels in list(self._channels.items())
        }

    async def close(self) -> None:
        """End what is being looked up: calls under way ask the registry no more. Twice is harmless."""
        self._is_closed = True
        await self._searches.close()

    async def _call(
        self, component: Component, preferred: str, call: MethodCall, countdown: Countdown, wires: Wires
    ) -> JsonValue:
        if component.name not in self._channels or not self._open(component, preferred):
            await self._look(component, countdown)
        failure: RemoteServiceError | None = None
        for is_last in (False, True):
            for channel in self._open(component, preferred):
                if failure is not None and not countdown.left:
                    raise failure
                try:
                    return await channel.invoke(replace(call, timeout=max(countdown.left, 0.001)), wires)
                except ValueError as error:  # what JSON cannot carry, such as an integer of more than 64 bits
                    raise LocalServiceException(str(error)) from error
                except RemoteServiceError as error:
                    if not _may_go_on(error, call):
                        raise
                    failure = error if failure is None or is_outcome_known(failure) else sum_of(failure, error)
            try:
                if is_last or not await self._has_moved(component, countdown):
                    break
            except ServiceUnreachableError:
                if failure is None:
                    raise
                break  # what became of the call counts more than that the registry is away
        raise failure or ServiceNotFoundError(
            f"no instance of the component {component.name!r} is known to {self._registry}"
        )

    def _open(self, component: Component, preferred: str) -> Sequence[Channel]:
        """Return the channels that have addresses: the preferred one, then the registry's own, then the others."""
        channels = [channel for channel in self._channels.get(component.name, ()) if channel.urls]
        own = self._registry.own_channel
        return sorted(channels, key=lambda channel: (channel.name != preferred, channel.name != own))

    async def _has_moved(self, component: Component, countdown: Countdown) -> bool:
        """Ask the registry anew; tell whether it knows other addresses than before."""
        before = {url for channel in self._channels.get(component.name, ()) for url in channel.urls}
        await self._look(component, countdown)
        return any(url not in before for channel in self._channels[component.name] for url in channel.urls)

    async def _look(self, component: Component, countdown: Countdown) -> None:
        if self._is_closed:
            raise ServiceUnreachableError(f"the manager was closed before {component.name!r} was found: not called")
        try:
            await self._searches.find(component.name, partial(self._ask, component), countdown.left)
        except TimeoutError:
            raise ServiceUnreachableError(
                f"{self._registry} did not say in time where the component {component.name!r} is: not called"
            ) from None

    async def _ask(self, component: Component) -> None:
        found = {each.channel: each for each in await self._registry.get_addresses(component)}
        channels = self._channels.get(component.name)
        if channels is None:
            nothing = [ChannelInstances(component.name, name) for name in self._manager.names]
            channels = self._channels[component.name] = [self._manager.make(each) for each in nothing]
        for channel in channels:
            channel.set_address(found.get(channel.name, ChannelInstances(component.name, channel.name)))
            self._registry.watch(channel)


def _may_go_on(error: RemoteServiceError, call: MethodCall) -> bool:
    """Tell whether another channel may be tried: also where one refused the call for what it is, as too long for it."""
    return isinstance(error, ServiceUnreachableError) or may_repeat(error, is_repeatable=call.idempotent)
