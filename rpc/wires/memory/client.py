"""The in-process wire: ``memory://bus#service``, or ``memory://service`` on the bus without a name.

Server and client may live on different event loops in different threads. What is served is a task of the server's
loop: it knows nothing of its caller but what the request says, and outlives him.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from gemstone_events.rpc.call_context import TIMEOUT_HEADER, write_timeout
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    InvalidAnswerError,
    OutcomeUnknownError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings, WireCounts, WireRequest
from gemstone_events.rpc.wires.memory.address import Place, read_place, read_url
from gemstone_events.rpc.wires.memory.call import MemoryCall, RefusedError
from gemstone_events.rpc.wires.memory.server import MemoryServerWire, running_servers

_WATCH_SECONDS = 0.1


class MemoryClientWire:
    """Calls services of the same process. The instances of a service take turns.

    Args:
        settings: what all wires are made with.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.counts = WireCounts()
        self._settings = settings
        self._turns: defaultdict[Place, Iterator[int]] = defaultdict(itertools.count)
        self._pending: set[MemoryCall] = set()
        self._is_closed = False

    def address(self, url: str) -> str:
        """See ``ClientWire.address``."""
        return read_place(url, self._settings.namespace).url

    async def call(self, url: str, request: WireRequest) -> bytes | None:
        """See ``ClientWire.call``. A notification's call returns when it was carried out."""
        place = read_place(url, self._settings.namespace)
        if len(self._pending) >= self._settings.pending:
            raise ServiceUnreachableError(f"{len(self._pending)} calls wait for answers already: not sent")
        try:
            async with asyncio.timeout(request.timeout):
                return await self._call(place, request)
        except (TimeoutError, OutcomeUnknownError, asyncio.CancelledError) as error:
            self.counts.unknown += 1
            if isinstance(error, TimeoutError):
                raise CallTimeoutError(
                    f"no answer of {place.url} within {request.timeout:.3f} s: it may have been carried out"
                ) from error
            raise

    async def find(self, url: str, pattern: str, patience: float, *, all_of_them: bool = True) -> Sequence[Presence]:
        """See ``ClientWire.find``. Without a fragment, the URL is that of a bus."""
        bus, _ = read_url(url)
        servers = [
            server
            for server in running_servers()
            if server.place.bus == bus and server.place.namespace == self._settings.namespace
        ]
        found = await asyncio.gather(*(_ask(server, patience) for server in servers))
        return [presence for presence in found if presence is not None and presence.matches(pattern)]

    async def close(self) -> None:
        """See ``ClientWire.close``."""
        self._is_closed = True
        for call in self._pending:
            call.fail(OutcomeUnknownError("the client was closed"))

    async def _call(self, place: Place, request: WireRequest) -> bytes | None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        headers[TIMEOUT_HEADER] = write_timeout(request.timeout)
        tried: set[MemoryServerWire] = set()
        while servers := [s for s in running_servers() if s.place == place and s not in tried]:
            if self._is_closed:
                raise ServiceUnreachableError(f"{place.url} was not called: the client is closed")
            server = servers[next(self._turns[place]) % len(servers)]
            tried.add(server)
            peer = f"memory:{self._settings.client}"
            call = MemoryCall(request.body, headers, request.timeout, peer, self.counts)
            try:
                return self._checked(await self._outcome(server, call), place)
            except RefusedError:
                continue
        raise ServiceNotFoundError(f"no instance of {place.url} runs in this process")

    async def _outcome(self, server: MemoryServerWire, call: MemoryCall) -> bytes | None:
        self._pending.add(call)
        try:
            server.submit(call)
            if server.loop is call.loop:
                return await call.outcome
            while not call.outcome.done():
                await asyncio.wait([call.outcome], timeout=_WATCH_SECONDS)
                if not server.is_reachable and not call.outcome.done():
                    raise OutcomeUnknownError("the event loop of the service ended")
            return call.outcome.result()
        finally:
            self._pending.discard(call)
            call.abandon()

    def _checked(self, answer: bytes | None, place: Place) -> bytes | None:
        limit = self._settings.body_bytes
        if answer is not None and len(answer) > limit:
            raise InvalidAnswerError(f"the answer of {place.url} has {len(answer)} bytes; {limit} are taken")
        return answer


async def _ask(server: MemoryServerWire, patience: float) -> Presence | None:
    """Ask a server who it is; None where it does not say so in time."""
    try:
        async with asyncio.timeout(patience):
            return await asyncio.wrap_future(server.ask())
    except TimeoutError:
        return None
