"""What all private servers have in common: a folder, a port, a guard, start, stop, kill, and start again."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, cast

from gemstone_events.errors import GemstoneError
from gemstone_events.testing import guard

LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 16_000


class ServerMissingError(GemstoneError):
    """A server's program is not installed; the message names the package to install."""


class ServerFailedError(GemstoneError):
    """A server did not start, stop or obey; the message ends with what it said last."""


class PrivateServer(ABC):
    """A server of one's own. ``start`` or ``with`` opens it; it can be started again with the same ports and data.

    Attributes:
        port: the port on 127.0.0.1 for clients.
    """

    stop_signal = signal.SIGTERM
    """What ends the server orderly."""
    discard_signal = signal.SIGKILL
    """What ends it where its data is not needed any more."""

    def __init__(self, *, boot_timeout: float = 90.0) -> None:
        """Choose a port and start nothing.

        Args:
            boot_timeout: seconds that ``start`` waits until the server answers.
        """
        self.port = free_port()
        self._boot_timeout = boot_timeout
        self._folder: Path | None = None
        self._guard: subprocess.Popen[str] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a client reaches the server, credentials included."""

    @property
    def folder(self) -> Path:
        """The server's data and its ``server.log``, from the first start until ``close``.

        Raises:
            ServerFailedError: before the first start and after ``close``.
        """
        if self._folder is None:
            raise ServerFailedError(f"{type(self).__name__} has no folder before its first start and after close")
        return self._folder

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._guard is not None and bool(self._tell({"do": "alive"})["alive"])

    def start(self) -> None:
        """Start the server with the data that it has, and return when it answers. Harmless where it runs.

        Where the first start fails, nothing is left; where a later one does, the data is.

        Raises:
            ServerMissingError: its program is not installed.
            ServerFailedError: it ended, or did not answer in time.
        """
        if self.running:
            return
        argv = self._argv()
        first = self._guard is None
        if first:
            self._folder = Path(tempfile.mkdtemp(prefix="gemstone-server-"))
            # Others may pass through: PostgreSQL runs as its own user where this runs as root.
            self._folder.chmod(0o711)
            self._guard = _start_guard(self._folder, self.discard_signal)
        try:
            self._check_port()
            self._prepare()
            self._run(argv)
            self._await_answer()
        except BaseException:
            if first:
                self.close()
            else:
                self.kill()
            raise

    def stop(self, *, timeout: float = 30.0) -> None:
        """End the server orderly and keep its data. Harmless where it does not run.

        Args:
            timeout: seconds until it is killed.

        Raises:
            ServerFailedError: it had to be killed.
        """
        if self._guard is None:
            return
        if not self._tell({"do": "stop", "signal": int(self.stop_signal), "seconds": timeout})["stopped"]:
            raise self._failed(f"did not stop within {timeout:g} s and was killed")

    def kill(self) -> None:
        """SIGKILL all its processes, as a crash would, and keep its data. Harmless where it does not run."""
        if self._guard is not None:
            self._tell({"do": "stop", "signal": int(signal.SIGKILL), "seconds": 0.0})

    def restart(self) -> None:
        """Stop and start: the same ports, the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP all its processes: its connections stay open and nothing answers, until ``resume``."""
        self._tell({"do": "signal", "signal": int(signal.SIGSTOP)})

    def resume(self) -> None:
        """End a ``pause``."""
        self._tell({"do": "signal", "signal": int(signal.SIGCONT)})

    def close(self) -> None:
        """End the server and delete its data. Twice is harmless."""
        if self._guard is not None:
            # The end of its input tells the guard to end the server and to delete the folder.
            self._guard.communicate()
            self._guard, self._folder = None, None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def _argv(self) -> Sequence[str]:
        """Return the command that runs the server in the foreground, or raise ServerMissingError."""

    @abstractmethod
    def _answers(self, connection: socket.socket) -> bool:
        """Tell whether the server is ready, through a connection just made."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make sure that the folder holds what the server needs."""

    def _environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def _user(self) -> str | None:
        """Who runs the server; None for the user of this process."""
        return None

    def _run(self, argv: Sequence[str]) -> None:
        self._tell(
            {
                "do": "start",
                "argv": list(argv),
                "environment": dict(self._environment()),
                "user": self._user(),
                "log": str(self.folder / "server.log"),
            }
        )

    def _check_port(self) -> None:
        # Otherwise whoever listens there would seem to be this server's answer.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, self.port))
            except OSError as error:
                raise ServerFailedError(f"{type(self).__name__} cannot listen on port {self.port}: {error}") from None

    def _await_answer(self) -> None:
        deadline = time.monotonic() + self._boot_timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), 5.0) as connection:
                connection.settimeout(5.0)
                if self._answers(connection):
                    return
            if not self.running:
                raise self._failed("ended instead of starting")
            time.sleep(_POLL_SECONDS)
        raise self._failed(f"did not answer on port {self.port} within {self._boot_timeout:g} s")

    def _tell(self, command: guard.Command) -> Mapping[str, object]:
        if self._guard is None or self._guard.stdin is None or self._guard.stdout is None:
            raise ServerFailedError(f"{type(self).__name__} is not started")
        try:
            self._guard.stdin.write(json.dumps(command) + "\n")
            self._guard.stdin.flush()
            line = self._guard.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ServerFailedError(f"the guard of {type(self).__name__} is gone: was it killed?")
        answer = cast(Mapping[str, object], json.loads(line))
        if "error" in answer:
            raise ServerFailedError(f"{type(self).__name__}: {answer['error']}")
        return answer

    def _failed(self, what: str) -> ServerFailedError:
        log = self.folder / "server.log"
        said = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip() if log.exists() else ""
        return ServerFailedError(f"{type(self).__name__} {what}. It said last:\n{said or '(nothing)'}")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on.

    It lies below the ports that the kernel gives to outgoing connections, so that none of these takes it while the
    server restarts.
    """
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = range(10_000, lowest_ephemeral) if lowest_ephemeral > 12_000 else range(20_000, 32_000)
    for port in random.SystemRandom().sample(ports, 200):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((LOOPBACK, port))
            return port
    raise ServerFailedError("no free port was found on 127.0.0.1")


def find_program(program: str, package: str, folders: Sequence[str]) -> str:
    """Return the path of a program, from ``folders`` before ``PATH``.

    Raises:
        ServerMissingError: it is in none of them; the message names the Debian ``package``.
    """
    found = shutil.which(program, path=os.pathsep.join((*folders, os.environ.get("PATH", os.defpath))))
    if found is None:
        raise ServerMissingError(
            f"the program {program!r} is not installed: install it (on Debian and Ubuntu: apt-get install {package})"
        )
    return found


def _start_guard(folder: Path, discard_signal: signal.Signals) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(folder), str(int(discard_signal))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C in the terminal is for the test run, which then ends the guard.
        start_new_session=True,
    )
