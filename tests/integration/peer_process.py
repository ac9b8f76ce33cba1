"""A process that a test starts, talks with over its standard streams, and kills; and the ledger that it writes."""

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

from gemstone_events.testing.transport_contract import DEADLINE


class Peer:
    """A process.

    Args:
        process: with pipes to its standard input and output.
        ledger: what it writes, line by line; it need not exist.
    """

    def __init__(self, process: asyncio.subprocess.Process, ledger: Path) -> None:
        self._process = process
        self._ledger = ledger

    @classmethod
    async def start(cls, ledger: Path, script: Path, *arguments: str) -> "Peer":
        """Start a script."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(script), *arguments, stdin=pipe, stdout=pipe
        )
        return cls(process, ledger)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def lines(self) -> list[str]:
        """Return what the ledger holds."""
        return self._ledger.read_text().split() if self._ledger.exists() else []

    async def hear(self) -> str:
        """Return the next thing that the process says."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            return (await self._process.stdout.readline()).decode().strip()

    def tell(self) -> None:
        """Send a line: the process is to go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def kill(self) -> None:
        """End the process at once and wait for it."""
        if self._process.returncode is None:
            self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        with suppress(ConnectionError):
            await self._process.stdin.wait_closed()
        await self._process.communicate()
