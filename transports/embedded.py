"""The embedded bus: ``sqlite:///file``, shared by all processes of a machine, with no server.

Any process may be killed at any point: what was confirmed is on the disk, what a dead process had claimed is delivered
again to its group, and to nobody else, when its lease of five seconds runs out. An instance that was suspended for
longer than its lease misses what its ``per_instance`` subscriptions would have got in the meantime. One that is
suspended in the fraction of a millisecond in which it writes holds up everybody until it goes on or is killed; the
status then says that the file is locked.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from gemstone_events.errors import ServiceConfigurationError, TransportRefusedError
from gemstone_events.message import Message
from gemstone_events.transport import (
    Features,
    Outcome,
    Receive,
    Subscription,
    TransportSettings,
    TransportStatus,
)
from gemstone_events.transports.embedded_bus import Row
from gemstone_events.transports.embedded_calls import CloseCall, StopCall, SubscribeCall
from gemstone_events.transports.embedded_file import BusFile
from gemstone_events.transports.embedded_publisher import PublishCall
from gemstone_events.transports.embedded_thread import BusOptions, BusThread
from gemstone_events.transports.embedded_topology import is_event_name

_CLOSE_SECONDS = 4.5


def open_url(url: str, settings: TransportSettings) -> "EmbeddedTransport":
    """Return the transport of ``sqlite:///relative/path`` or ``sqlite:////absolute/path``, not opened.

    Raises:
        ServiceConfigurationError: the URL names no file, or holds a host or options, which this transport does not know.
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path or path.endswith("/") or "\0" in path:
        raise ServiceConfigurationError(
            f"{url!r} names no file: write sqlite:///relative/path or, with four slashes, sqlite:////absolute/path"
        )
    if parts.query or parts.fragment:
        raise ServiceConfigurationError(
            f"the embedded bus knows no options, and {url!r} has {parts.query or parts.fragment!r}: remove what follows the path"
        )
    return EmbeddedTransport(Path(path), settings)


class EmbeddedTransport:
    """The port ``gemstone_events.transport.Transport`` on one file. It is opened after a fork, never before."""

    features = Features(durable=True, across_processes=True, across_machines=False)

    def __init__(self, path: Path, settings: TransportSettings, *, max_pages: int | None = None) -> None:
        """Open nothing yet. ``max_pages`` bounds the file, in pages of 4 KiB; None leaves it to the disk."""
        self._path = path
        self._settings = settings
        self._max_pages = max_pages
        self._thread: BusThread | None = None
        self._process = 0
        self._is_subscribed = False
        self._status = TransportStatus(publishing=False, consuming=True, detail="not open")
        self._changed = asyncio.Event()

    @property
    def address(self) -> str:
        """See ``Transport.address``."""
        return f"sqlite:///{quote(str(self._path))}"

    @property
    def changed(self) -> asyncio.Event:
        """See ``Transport.changed``."""
        return self._changed

    def status(self) -> TransportStatus:
        """See ``Transport.status``."""
        return self._status

    async def open(self) -> None:
        """See ``Transport.open``."""
        if self._thread is not None:
            raise RuntimeError(f"{self.address} is open already")
        file = BusFile(self._path.absolute(), self._max_pages)
        # Half of the time that a publish may take: it must have its answer when the file stays locked.
        file.lock_patience = min(file.lock_patience, self._settings.confirm_timeout / 2)
        options = BusOptions(file, self._settings.namespace, self._settings.client, self._report)
        thread = BusThread(options, asyncio.get_running_loop())
        self._process = os.getpid()
        self._thread = thread
        try:
            await thread.start()
        except TransportRefusedError:
            self._thread = None
            raise

    async def publish(self, messages: Sequence[Message]) -> Sequence[Outcome]:
        """See ``Transport.publish``. A message whose type is no event name is refused."""
        rows = [_row(message) for message in messages if is_event_name(message.type)]
        outcome = await self._publish(rows) if rows else Outcome.REFUSED
        if len(rows) == len(messages):
            return [outcome] * len(messages)
        return [outcome if is_event_name(message.type) else Outcome.REFUSED for message in messages]

    async def subscribe(self, subscriptions: Sequence[Subscription], receive: Receive) -> None:
        """See ``Transport.subscribe``."""
        thread = self._running_thread()
        if self._is_subscribed:
            raise RuntimeError(f"{self.address} has its subscriptions already: subscribe is called once")
        self._is_subscribed = True
        future = asyncio.get_running_loop().create_future()
        thread.submit(SubscribeCall(tuple(subscriptions), receive, future))
        await future

    async def stop_consuming(self) -> None:
        """See ``Transport.stop_consuming``."""
        if self._thread is not None:
            future = asyncio.get_running_loop().create_future()
            self._thread.submit(StopCall(future))
            await future

    async def close(self) -> None:
        """See ``Transport.close``."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._is_subscribed = False
        future = asyncio.get_running_loop().create_future()
        thread.submit(CloseCall(future))
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await future
        except TimeoutError:
            pass  # the disk hangs: the thread ends when it answers, and the lease runs out by itself
        self._report(TransportStatus(publishing=False, consuming=False, detail="closed"))

    async def _publish(self, rows: Sequence[Row]) -> Outcome:
        if self._thread is None:
            return Outcome.REFUSED
        thread = self._running_thread()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        thread.submit(PublishCall(rows, future))
        try:
            async with asyncio.timeout(self._settings.confirm_timeout):
                return await future
        except TimeoutError:
            return Outcome.UNKNOWN

    def _running_thread(self) -> BusThread:
        if self._thread is None:
            raise RuntimeError(f"{self.address} is not open")
        if os.getpid() != self._process:
            raise RuntimeError(f"{self.address} was opened before a fork: every process opens a transport of its own")
        return self._thread

    def _report(self, status: TransportStatus) -> None:
        detail = f"{self._path}: {status.detail}" if status.detail else ""
        self._status = TransportStatus(status.publishing, status.consuming, detail)
        self._changed.set()


def _row(message: Message) -> Row:
    return Row(message.type, message.broadcast, json.dumps(dict(message.attributes)), message.body)
