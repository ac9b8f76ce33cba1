"""The client's side of the embedded bus: calls services of other processes of this machine, with no server between."""

import asyncio
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_context import TIMEOUT_HEADER, write_timeout
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    ServiceException,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.presence import MAX_PRESENCE_BYTES, Presence
from gemstone_events.rpc.wire import ClientSettings, WireCounts, WireRequest
from gemstone_events.rpc.wires.embedded.connection import CallRefusedError, ClientConnection
from gemstone_events.rpc.wires.embedded.folder import (
    BusAddress,
    BusFolder,
    InstanceGoneError,
    label_of,
    parse_service_url,
    parse_url,
)
from gemstone_events.rpc.wires.embedded.frames import Kind, write_headers

_CLOSE_SECONDS = 1.0
_SILENT_SECONDS = 5.0
_MAX_TARGETS = 1000
_MAX_ASKED = 100  # at once: each takes a descriptor here and there


@dataclass(slots=True)
class _Target:
    """A service that was called, and whose turn it is among its instances."""

    address: BusAddress
    folder: BusFolder
    label: str
    turns: Iterator[int] = field(default_factory=itertools.count)


class EmbeddedClientWire:
    """Calls services by ``sqlite:///path/to/bus.db#service``.

    The instances of a service take turns. A call goes to the next one only where it is certain that it was not begun.

    Args:
        settings: what all wires are made with.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.counts = WireCounts()
        self._settings = settings
        self._targets: dict[str, _Target] = {}
        self._connections: dict[tuple[str, str], ClientConnection] = {}
        self._open: set[ClientConnection] = set()
        self._silent: dict[str, float] = {}
        self._pending = 0
        self._process = os.getpid()
        self._of_parent: list[set[ClientConnection]] = []
        self._is_closed = False

    def address(self, url: str) -> str:
        """See ``ClientWire.address``."""
        return str(parse_service_url(url))

    async def call(self, url: str, request: WireRequest) -> bytes | None:
        """See ``ClientWire.call``. A notification's call returns when it was carried out."""
        target = self._target(url)
        if self._pending >= self._settings.pending:
            raise ServiceUnreachableError(f"{self._pending} calls wait for answers already: not sent")
        self._leave_parent()
        self._pending += 1
        try:
            return await self._call(target, request)
        except TimeoutError as error:
            raise CallTimeoutError(
                f"no answer of {target.address} within {request.timeout:.3f} s: it may have been carried out"
            ) from error
        finally:
            self._pending -= 1

    async def find(self, url: str, pattern: str, patience: float, *, all_of_them: bool = True) -> Sequence[Presence]:
        """See ``ClientWire.find``. An instance that does not answer in time is left out."""
        folder = BusFolder(parse_url(url).path)
        with _explained(folder):
            names = folder.matching(self._settings.namespace, pattern)
        self._leave_parent()
        when = asyncio.get_running_loop().time() + patience
        room = asyncio.Semaphore(_MAX_ASKED)
        found = await asyncio.gather(*(self._ask(folder, name, when, room) for name in names))
        return [presence for presence in found if presence is not None and presence.matches(pattern)]

    async def close(self) -> None:
        """See ``ClientWire.close``."""
        self._is_closed = True
        self._leave_parent()
        await asyncio.gather(*(connection.close(_CLOSE_SECONDS) for connection in list(self._open)))

    async def _call(self, target: _Target, request: WireRequest) -> bytes | None:
        clock = asyncio.get_running_loop().time
        when = clock() + request.timeout
        tried: set[str] = set()
        trouble = ""
        while names := self._untried(target, tried):
            name = names[next(target.turns) % len(names)]
            tried.add(name)
            try:
                connection = await self._connect(target.folder, name, (when - clock()) / len(names))
            except InstanceGoneError:
                continue
            except (OSError, CallRefusedError) as error:
                self._silent[name] = clock() + _SILENT_SECONDS
                trouble = _trouble(error)
                continue
            headers = _headers(request, when - clock())
            try:
                return await connection.request(Kind.CALL, headers, request.body, when)
            except CallRefusedError:
                continue
            except TimeoutError:
                self._silent[name] = clock() + _SILENT_SECONDS
                raise
        if trouble:
            raise ServiceUnreachableError(f"{target.address} was not called: {trouble}")
        raise ServiceNotFoundError(f"no instance of {target.address} runs{target.folder.why_empty}")

    def _untried(self, target: _Target, tried: set[str]) -> Sequence[str]:
        """Return who may be tried now: those that were silent lately come last."""
        if self._is_closed:
            raise ServiceUnreachableError(f"{target.address} was not called: the client is closed")
        with _explained(target.folder):
            names = target.folder.instances(target.label)
        if tried:
            names = [name for name in names if name not in tried]
        if not self._silent:
            return names
        now = asyncio.get_running_loop().time()
        self._silent = {name: until for name, until in self._silent.items() if until > now}
        return [name for name in names if name not in self._silent] or names

    async def _connect(self, folder: BusFolder, name: str, patience: float) -> ClientConnection:
        connection = self._connections.get((folder.key, name))
        if connection is None:
            connection = self._connection(folder, name, self._settings.body_bytes)
            self._connections[folder.key, name] = connection
        await connection.until_ready(patience)
        return connection

    def _connection(self, folder: BusFolder, name: str, body_bytes: int) -> ClientConnection:
        connection = ClientConnection(folder, name, body_bytes, self.counts, self._let_go)
        self._open.add(connection)
        return connection

    def _let_go(self, connection: ClientConnection) -> None:
        """Send no more calls over a connection; those that wait for their answers there are closed with the others."""
        key = connection.folder.key, connection.name
        if self._connections.get(key) is connection:
            del self._connections[key]
        if connection.is_over:
            self._open.discard(connection)

    async def _ask(self, folder: BusFolder, name: str, when: float, room: asyncio.Semaphore) -> Presence | None:
        """Ask an instance who it is, over a connection of its own: on those for calls its answer may have to wait."""
        async with room:
            connection = self._connection(folder, name, MAX_PRESENCE_BYTES)
            try:
                await connection.until_ready(when - asyncio.get_running_loop().time())
                raw = await connection.request(Kind.ASK, b"", b"", when)
                return None if raw is None else Presence.decode(raw)
            except (InstanceGoneError, CallRefusedError, ServiceException, OSError, ValueError):
                return None
            finally:
                await connection.close(_CLOSE_SECONDS)

    def _target(self, url: str) -> _Target:
        if url not in self._targets:
            address = parse_service_url(url)
            folder = next((each.folder for each in self._targets.values() if each.address.path == address.path), None)
            if len(self._targets) >= _MAX_TARGETS:
                self._targets.clear()
            label = label_of(self._settings.namespace, address.service)
            self._targets[url] = _Target(address, folder or BusFolder(address.path), label)
        return self._targets[url]

    def _leave_parent(self) -> None:
        """Use no connection of the process that this one was forked from, and do not close it either."""
        if os.getpid() == self._process:
            return
        self._process = os.getpid()
        self._of_parent.append(self._open)
        self._connections, self._open, self._pending = {}, set(), 0


def _headers(request: WireRequest, seconds: float) -> bytes:
    try:
        return write_headers({**request.headers, TIMEOUT_HEADER: write_timeout(seconds)})
    except ValueError as error:
        raise ServiceConfigurationError(f"the call was not sent: {error}") from error


def _trouble(error: Exception) -> str:
    """Say why an instance that is there does not take a call."""
    if isinstance(error, CallRefusedError):
        return "it takes no more clients now"
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return error.strerror or str(error)
    return "no instance of it answers"


@contextmanager
def _explained(folder: BusFolder) -> Iterator[None]:
    """Say what an error of the system means for a call."""
    try:
        yield
    except OSError as error:
        raise ServiceUnreachableError(f"{folder.path} cannot be used: {error.strerror or error}") from error
