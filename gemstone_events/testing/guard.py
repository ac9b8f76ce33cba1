"""The parent of a private server: it ends the server, all of it, when the test run ends, however that ends.

It runs as a script of its own, without this package, as ``python -I -S guard.py FOLDER DISCARD_SIGNAL``, and talks
JSON, one line per command and one per answer. It is the *subreaper* of what it starts (prctl(2)), so that even
processes that make themselves daemons, as Erlang's epmd does, stay its descendants. It watches its own parent through
a pidfd and through its standard input: where either ends, be it by SIGKILL, the guard ends the server, deletes
``FOLDER`` and goes. Only SIGKILL of the guard itself escapes it. Linux only.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

_PR_SET_CHILD_SUBREAPER = 36
_DISCARD_SECONDS = 5.0


class Command(TypedDict, total=False):
    """What the guard is told: ``do`` is ``start``, ``stop``, ``signal`` or ``alive``."""

    do: str
    argv: list[str]
    environment: dict[str, str]
    user: str | None
    log: str
    signal: int
    seconds: float


class Guard:
    """Starts one server at a time, and ends it with everything that it started."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None

    def obey(self, command: Command) -> Mapping[str, object]:
        """Carry out one command and return the answer."""
        match command["do"]:
            case "start":
                return {"pid": self._start(command)}
            case "stop":
                return {"stopped": self.stop(command["signal"], command["seconds"])}
            case "signal":
                _signal_all(command["signal"])
                return {}
            case "alive":
                return {"alive": self._alive()}
        return {"error": f"unknown command {command['do']!r}"}

    def stop(self, number: int, seconds: float) -> bool:
        """Send a signal to the server, wait, and SIGKILL what is left; tell whether it went by itself."""
        went = True
        if number == signal.SIGKILL:
            _signal_all(signal.SIGKILL)
        elif self._server is not None and self._alive():
            self._server.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(seconds)
            went = not self._alive()
        deadline = time.monotonic() + _DISCARD_SECONDS
        while descendants() and time.monotonic() < deadline:
            _signal_all(signal.SIGKILL)
            _reap()
            time.sleep(0.005)
        self._server = None
        return went

    def _start(self, command: Command) -> int:
        user = command["user"]
        with Path(command["log"]).open("ab") as log:
            self._server = subprocess.Popen(
                command["argv"],
                env=command["environment"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=Path(command["log"]).parent,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
        return self._server.pid

    def _alive(self) -> bool:
        return self._server is not None and self._server.poll() is None


def descendants() -> list[int]:
    """Return the processes that this one started, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            # proc(5), stat: pid (name) state ppid ...; the name may hold anything, parentheses among it.
            with contextlib.suppress(OSError):
                parent = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    found = list(children.get(os.getpid(), []))
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def _signal_all(number: int) -> None:
    for pid in descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _next_command(parent: int) -> Command | None:
    """Return the next command, or None where there will be none."""
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([0, parent], [], [])
        chunk = os.read(0, 65536) if 0 in readable else b""
        if not chunk:
            return None
        line += chunk
    return cast(Command, json.loads(line))


def main(folder: str, discard_signal: str) -> None:
    """Obey commands until the parent is gone, then end the server and delete ``folder``."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.pidfd_open(os.getppid())
    guard = Guard()
    try:
        while (command := _next_command(parent)) is not None:
            try:
                answer = guard.obey(command)
            except (OSError, LookupError, subprocess.SubprocessError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
    finally:
        guard.stop(int(discard_signal), _DISCARD_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
