"""The ``gemstone`` command as people run it: real processes in a folder of their own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

SECONDS = 40.0
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GEMSTONE_")}
SHOP = """
from gemstone_events import MicroService, RetryPolicy, RpcError, event_handler, exposed_method


class OutOfStock(RpcError):
    code, message = 1001, "Out of stock"


class Shop(MicroService):
    name = "shop"
    port = 0
    is_mended = False

    @event_handler("order.placed")
    def place(self, body):
        self.emit_event("invoice.issued", body)
        self.emit_event("invoice.print", body, broadcast=False)

    @event_handler("order.broken", retry=RetryPolicy(attempts=1))
    def fail(self, body):
        raise ValueError("there is no such order")

    @exposed_method()
    def add(self, a, b=40):
        return a + b

    @exposed_method()
    def sell(self):
        raise OutOfStock(data={"left": 0})

    @exposed_method()
    def greet(self):
        return "version 1"
"""


class Gemstone:
    """Runs the command in a folder of its own, and ends what is left of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("shop.py", SHOP)
        self._running: list[Running] = []

    def write(self, name: str, text: str) -> None:
        """Write a file into the folder."""
        (self.folder / name).write_text(text)

    def __call__(
        self, *arguments: str, status: int = 0, stdin: str = "", environment: Mapping[str, str] | None = None
    ) -> tuple[str, str]:
        """Run the command to its end and return what it printed on standard output and standard error."""
        done = subprocess.run(
            command(*arguments),
            cwd=self.folder,
            env={**ENVIRONMENT, **(environment or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        return done.stdout, done.stderr

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> "Running":
        """Start the command in the background."""
        self._running.append(Running(self.folder, arguments, {**ENVIRONMENT, **(environment or {})}))
        return self._running[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for running in self._running:
            running.end()


class Running:
    """A command in the background; its standard output and standard error are one stream of lines."""

    def __init__(self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Return the first match in the lines from number ``after`` on, as soon as it is there."""
        return eventually(lambda: re.search(pattern, "\n".join(self.lines[after:])), lambda: f"{pattern}: {self.lines}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command alone."""
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """Press Ctrl-C: every process of the terminal gets it."""
        os.killpg(self._process.pid, signal.SIGINT)

    def status(self) -> int:
        """Wait for the end and return the exit status."""
        status = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        return status

    def end(self) -> None:
        """Kill it and all that it started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(SECONDS)
        self._reader.join(SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self.lines.append(line.rstrip("\n"))


def command(*arguments: str) -> list[str]:
    """Return the command line; a warning in it is an error."""
    return [sys.executable, "-W", "error", "-m", "gemstone_events.cli", *arguments]


def eventually(look: Callable[[], re.Match[str] | None], explain: Callable[[], str]) -> re.Match[str]:
    """Return what ``look`` finds, as soon as it finds it."""
    deadline = time.monotonic() + SECONDS
    while (found := look()) is None:
        assert time.monotonic() < deadline, explain()
        time.sleep(0.02)
    return found


def start_shop(gemstone: Gemstone, *options: str) -> tuple[Running, str]:
    """Start the service and return it with its URL."""
    shop = gemstone.start("run", "shop.py", *options)
    return shop, shop.wait_for(r"shop is ready: (\S+);")[1]


def fails(gemstone: Gemstone, *arguments: str, status: int = 1, environment: Mapping[str, str] | None = None) -> str:
    """Run what must fail, and return what it says: one line, and for a wrong usage where to read more."""
    printed, error = gemstone(*arguments, status=status, environment=environment)
    lines = error.splitlines()
    assert not printed
    assert lines[0].startswith("error: ")
    assert len(lines) == (2 if status == 2 and "--help" in error else 1)
    return lines[0]
