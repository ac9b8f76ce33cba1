"""``gemstone run --reload``: services in a process of their own, started again when their code changes.

Files are polled, which works on every file system and in every container; a few thousand of them cost little.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from gemstone_events.configuration import DEFAULT_FILE

POLL_SECONDS = 0.4
USAGE_ERROR = 2

_IGNORED = frozenset({"__pycache__", "node_modules"})

Snapshot: TypeAlias = Mapping[str, tuple[int, int]]


class Reloader:
    """Runs ``gemstone`` with some arguments, again after every change.

    Args:
        arguments: of the command to run.
        folders: where a change of a Python file, at any depth, counts.
    """

    def __init__(self, arguments: Sequence[str], folders: Sequence[Path]) -> None:
        self._arguments = arguments
        self._folders = folders
        self._child: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._signals = 0

    async def run(self) -> int:
        """Run until the command ends well or a signal comes; return the exit status for this process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        status = None
        while status is None:
            status = await self._run_once()
        return status

    async def _run_once(self) -> int | None:
        before = snapshot(self._folders)
        child = self._child = await self._start()
        if self._stopping.is_set():  # the signal came meanwhile, and reached nobody
            _send(child, signal.SIGTERM)
        ended = asyncio.create_task(child.wait())
        change = asyncio.create_task(changed_files(self._folders, before))
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((ended, change, stop), return_when=asyncio.FIRST_COMPLETED)
            if not self._stopping.is_set() and child.returncode not in (None, 0, USAGE_ERROR):
                _say(f"ended with status {child.returncode}; waiting for a change")
                await asyncio.wait((change, stop), return_when=asyncio.FIRST_COMPLETED)
                if self._stopping.is_set():
                    return 0  # nothing runs, and why not has been told
            if change.done() and not self._stopping.is_set():
                _say(f"changed: {', '.join(change.result())}; starting again")
                _send(child, signal.SIGTERM)
            elif not self._stopping.is_set():
                return child.returncode
            status = await ended
        finally:
            change.cancel()
            stop.cancel()
        if not self._stopping.is_set():
            return None
        # Told to stop before it could listen to signals: nothing was running yet.
        return 0 if status == -signal.SIGTERM else status if status >= 0 else 128 - status

    async def _start(self) -> asyncio.subprocess.Process:
        # Ctrl-C reaches every process of the terminal. It is blocked in the child, which gets one SIGTERM from here
        # instead: two signals would make it drop what it is finishing.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return await asyncio.create_subprocess_exec(sys.executable, "-m", "gemstone_events.cli", *self._arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def _on_signal(self) -> None:
        self._signals += 1
        self._stopping.set()
        if self._child is not None:
            # The second makes the command stop at once; the third is for one that does not even listen.
            _send(self._child, signal.SIGTERM if self._signals < 3 else signal.SIGKILL)


def snapshot(folders: Iterable[Path]) -> Snapshot:
    """Return time and size of all Python files below some folders, hidden ones and virtual environments left out."""
    found = {}
    for folder in folders:
        for path in _source_files(str(folder)):
            with contextlib.suppress(OSError):  # removed in the meantime
                status = os.stat(path)
                found[path] = (status.st_mtime_ns, status.st_size)
    return found


async def changed_files(folders: Iterable[Path], before: Snapshot) -> list[str]:
    """Return what was changed since the snapshot ``before``, once something was and nothing changes any more."""
    latest = before
    while True:
        await asyncio.sleep(POLL_SECONDS)
        now = snapshot(folders)
        if now == latest and now != before:
            paths = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
            return [os.path.relpath(path) for path in paths]
        latest = now


def _source_files(folder: str) -> Iterator[str]:
    for parent, names, files in os.walk(folder):
        if "pyvenv.cfg" in files:
            names.clear()
            continue
        names[:] = [name for name in names if name not in _IGNORED and not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in files if name.endswith(".py") or name == DEFAULT_FILE)


def _send(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


def _say(what: str) -> None:
    print(f"reload: {what}", file=sys.stderr, flush=True)
