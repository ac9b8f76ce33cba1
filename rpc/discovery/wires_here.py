"""Connections of a strategy that no service lends its own: one set for each event loop that uses the strategy."""

import asyncio
from weakref import WeakKeyDictionary

from gemstone_events.rpc.wire import ClientSettings
from gemstone_events.rpc.wire_pool import WirePool


class WiresHere:
    """The client's sides of wires on the running loop; they are made when they are needed.

    Args:
        settings: what each wire is made with.
        lent: somebody else's, to be used instead and never closed here.
    """

    def __init__(self, settings: ClientSettings, lent: WirePool | None = None) -> None:
        self._settings = settings
        self._lent = lent
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, WirePool] = WeakKeyDictionary()

    def pool(self) -> WirePool:
        """Return those of the running loop."""
        if self._lent is not None:
            return self._lent
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            self._pools[loop] = WirePool(self._settings)
        return self._pools[loop]

    async def close(self) -> None:
        """Close those of the running loop. Twice is harmless."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()
