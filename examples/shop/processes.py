"""The shop's services as processes of their own, and calls to them: what the demonstration and the chaos test share."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

HERE = Path(__file__).parent
SERVICES = ("orders", "billing", "shipping")
START_SECONDS = 30.0
STOP_SECONDS = 35.0
_READY = re.compile(rb"is ready: (http://[^;\s]+);")


class CallFailedError(Exception):
    """A call was answered with an error, or with nothing at all (``code`` is then None)."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


async def call(url: str, method: str, *params: object, timeout: float = 30.0) -> object:
    """Call a method over HTTP as any JSON-RPC client does, and return its result.

    Raises:
        CallFailedError: there is no result.
    """
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    headers = {"Content-Type": "application/json"}
    try:
        response = await AsyncHTTPClient().fetch(
            url, method="POST", headers=headers, body=body, connect_timeout=timeout, request_timeout=timeout
        )
    except (OSError, HTTPClientError) as error:
        raise CallFailedError(f"{method} was not answered: {error}") from None
    answer = json.loads(response.body)
    if "error" in answer:
        raise CallFailedError(f"{method}: {answer['error']['message']}", answer["error"]["code"])
    result: object = answer["result"]
    return result


class ServiceProcess:
    """One service in a process of its own, on any free port. Its log is in its folder."""

    def __init__(self, name: str, folder: Path, options: Sequence[str] = ()) -> None:
        self.name = name
        self.url = ""
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id, 0 where there is none."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start it, and return when it is ready.

        Raises:
            RuntimeError: it ended instead, or did not become ready; the message holds the end of its log.
        """
        beginning = self._log.stat().st_size if self._log.exists() else 0
        self._process = process = self._spawn()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                while process.poll() is None:
                    if ready := _READY.search(self._log.read_bytes(), beginning):
                        self.url = ready[1].decode()
                        return
                    await asyncio.sleep(0.02)
        self.kill()
        raise RuntimeError(f"{self.name} did not start. {self.last_words()}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(HERE / f"{self.name}.py"), "--port", "0", *self._options],
                cwd=self._folder,
                # Settings of the caller's own services are not meant for this one.
                env={name: value for name, value in os.environ.items() if not name.startswith("GEMSTONE_")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is for the caller, who then ends this process
            )

    def last_words(self) -> str:
        """The end of its log."""
        return f"The log of {self.name} ends with:\n{self._log.read_text()[-2000:]}"

    def kill(self) -> None:
        """SIGKILL: it gets no chance to finish anything. Harmless where it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def stop(self) -> None:
        """Ask it to finish what it does and to end, and wait until it has."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                while self._process.poll() is None:
                    await asyncio.sleep(0.02)
        self.kill()


@dataclass(frozen=True, slots=True)
class Effects:
    """How often each thing was done, and for how many different orders, by what was done."""

    counts: dict[str, tuple[int, int]]

    def orders(self, what: str) -> int:
        """For how many different orders it was done."""
        return self.counts[what][1]

    @property
    def fewest(self) -> int:
        """For how many orders everything was done."""
        return min(orders for _, orders in self.counts.values())

    @property
    def duplicated(self) -> int:
        """How many effects there are beyond one for each order."""
        return sum(rows - orders for rows, orders in self.counts.values())


class Shop:
    """The three services, in one folder. On leaving the context they are killed.

    Args:
        folder: where their databases and logs are.
        options: command line options for each of them.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.orders, self.billing, self.shipping = (ServiceProcess(name, folder, options) for name in SERVICES)

    @property
    def services(self) -> Sequence[ServiceProcess]:
        """All of them."""
        return (self.orders, self.billing, self.shipping)

    async def effects(self) -> Effects:
        """Ask the services what is in their tables.

        Raises:
            CallFailedError: one of them cannot be asked now.
        """
        placed, invoices, parcels = await asyncio.gather(
            *(call(service.url, f"{service.name}.count") for service in self.services)
        )
        return Effects(
            {
                "invoices": _pair(invoices),
                "parcels": _pair(parcels),
                "order.placed": (0, 0),
                "invoice.issued": (0, 0),
                "order.shipped": (0, 0),
                **({step: _pair(count) for step, count in placed.items()} if isinstance(placed, dict) else {}),
            }
        )

    async def is_ready(self) -> bool:
        """Whether all of them say that they are ready: ``GET /health/ready``."""
        addresses = [service.url.removesuffix("/api") + "/health/ready" for service in self.services]
        try:
            await asyncio.gather(*(AsyncHTTPClient().fetch(address) for address in addresses))
        except (OSError, HTTPClientError):
            return False
        return True

    def deliveries_on_the_bus(self, data_dir: Path) -> int:
        """Tell how many deliveries wait on the embedded bus or are being handled."""
        bus = apsw.Connection(str(data_dir / "bus.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            waiting: int = bus.execute("SELECT count(*) FROM deliveries").get
        finally:
            bus.close()
        return waiting

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(service.start() for service in self.services))
        except BaseException:
            self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def last_words(self) -> str:
        """The ends of their logs."""
        return "\n".join(service.last_words() for service in self.services)

    def kill(self) -> None:
        """SIGKILL all of them."""
        for service in self.services:
            service.kill()


def _pair(count: object) -> tuple[int, int]:
    assert isinstance(count, dict)
    return count["rows"], count["orders"]
