"""The client's sides of all wires of one caller, by scheme."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import cast

from gemstone_events.rpc.wire import CLIENTS, ClientSettings, ClientWire
from gemstone_events.schemes import load, scheme_of


class WirePool:
    """Makes each wire when it is first needed, and keeps it, so that all calls of a caller share connections.

    All methods belong to one event loop. The constructor opens nothing.

    Args:
        settings: what each wire is made with.
    """

    def __init__(self, settings: ClientSettings | None = None) -> None:
        self.settings = settings or ClientSettings()
        self._wires: dict[str, ClientWire] = {}

    def wire_for(self, url: str) -> ClientWire:
        """Return the wire that a URL is called by.

        Raises:
            UnknownSchemeError: nothing installed answers to the URL's scheme.
            ServiceConfigurationError: the wire cannot be loaded.
        """
        scheme = scheme_of(url)
        if scheme not in self._wires:
            factory = cast(Callable[[ClientSettings], ClientWire], load(CLIENTS, "way to call a service", url))
            self._wires[scheme] = factory(self.settings)
        return self._wires[scheme]

    async def close(self) -> None:
        """Close all wires. Twice is harmless; a wire that is asked for later is made anew.

        Raises:
            Exception: whatever the closing of one raises; the others are closed all the same.
        """
        wires, self._wires = self._wires, {}
        async with AsyncExitStack() as stack:
            for wire in wires.values():
                stack.push_async_callback(wire.close)
