"""Where the services of an embedded bus listen: Unix sockets in the folder ``<bus file>.rpc``, one for each instance.

A name in the folder with the suffix ``.sock`` has a listening process from the moment at which it appears, because the
socket is bound and listens under another name before it is renamed. So whatever refuses a connection is dead, and may
be removed by anybody who finds it; names are never used twice.
"""

import errno
import hashlib
import os
import socket
import stat
import struct
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote, unquote

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.names import check_name
from gemstone_events.rpc.wires.urls import split_url

_SUFFIX = ".sock"
_STARTING_SUFFIX = ".new"
_STARTING_SECONDS = 60.0
_SEPARATOR = "~"  # is in no name: gemstone_events.names
_HASHED = "="
_PART_BYTES = 28
_PATH_BYTES = 107  # sun_path of Linux has 108, with the closing zero; see unix(7)
_DESCRIPTORS = Path("/proc/self/fd")
_SETTLED_SECONDS = 0.1
_GONE = (errno.ECONNREFUSED, errno.ENOENT)


class InstanceGoneError(Exception):
    """Nobody listens at a name of the folder any more; what was to be sent there is not sent."""


@dataclass(frozen=True, slots=True)
class BusAddress:
    """A bus, and a service on it where the URL names one."""

    path: Path
    service: str = ""

    def __str__(self) -> str:
        """Return the URL. It holds no credentials, for this bus knows none."""
        url = f"sqlite:///{quote(str(self.path))}"
        return f"{url}#{self.service}" if self.service else url


def parse_url(url: str) -> BusAddress:
    """Read ``sqlite:///relative/path`` or ``sqlite:////absolute/path``, with ``#service`` or without.

    Raises:
        ServiceConfigurationError: it is neither.
    """
    parts = split_url(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or parts.netloc or not path or path.endswith("/") or "\0" in path:
        raise ServiceConfigurationError(
            f"{url!r} names no bus: write sqlite:///relative/path#service or, with four slashes, "
            "sqlite:////absolute/path#service"
        )
    if parts.query:
        raise ServiceConfigurationError(
            f"the embedded bus knows no options, and {url!r} has {parts.query!r}: remove it"
        )
    return BusAddress(Path(path), check_name("service", parts.fragment) if parts.fragment else "")


def parse_service_url(url: str) -> BusAddress:
    """Read the URL of a service.

    Raises:
        ServiceConfigurationError: it is none.
    """
    address = parse_url(url)
    if not address.service:
        raise ServiceConfigurationError(f"{url!r} names a bus but no service on it: write {address}#service")
    return address


def label_of(namespace: str, service: str) -> str:
    """Return what the names of a service's sockets begin with.

    Raises:
        InvalidNameError: a name breaks the rules.
    """
    return _SEPARATOR.join((_part(check_name("namespace", namespace)), _part(check_name("service", service)), ""))


class BusFolder:
    """The folder of the sockets of one bus.

    Args:
        bus: path of the bus file, which need not exist.

    Attributes:
        path: where it is.
        key: the same as text: equal for all that mean one folder.
    """

    def __init__(self, bus: Path) -> None:
        self._bus = Path(os.path.realpath(bus))  # as SQLite does: a link to the file means the same bus
        self.path = self._bus.with_name(f"{self._bus.name}.rpc")
        self.key = str(self.path)
        self._listed: tuple[int, Sequence[str]] = (-1, ())

    @property
    def why_empty(self) -> str:
        """What people should know where nobody is found: a mistyped path looks like a service that does not run."""
        return (
            "" if self.path.exists() else f": no service has ever been called on the bus {self._bus}; is that the path?"
        )

    def make(self) -> None:
        """Make it where it is missing, and remove what the dead have left.

        Raises:
            ServiceConfigurationError: it cannot be used; the message says how to mend it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            _check_owner(self.path, self.path.lstat())
            for name in os.listdir(self.path):
                if name.endswith((_SUFFIX, _STARTING_SUFFIX)):
                    self._remove_if_dead(name)
        except OSError as error:
            raise ServiceConfigurationError(
                f"the services on {self._bus} cannot listen in {self.path}: {error.strerror or error}; "
                "the folder has to be writable for them"
            ) from error

    def listen(self, label: str, backlog: int) -> tuple[socket.socket, Path]:
        """Return a listening socket for one more instance of a service, and its file. It blocks for no time to speak of.

        Raises:
            ServiceConfigurationError: the path is too long for this system, or cannot be used.
        """
        stem = f"{label}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        starting, path = self.path / f"{stem}{_STARTING_SUFFIX}", self.path / f"{stem}{_SUFFIX}"
        try:
            with ExitStack() as undo:
                listening = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                listening.setblocking(False)
                with _reachable(starting) as short:
                    listening.bind(short)
                undo.callback(starting.unlink)
                starting.chmod(0o600)
                listening.listen(backlog)
                starting.rename(path)
                undo.pop_all()
        except OSError as error:
            raise ServiceConfigurationError(f"{path} cannot be listened on: {error.strerror or error}") from error
        return listening, path

    def instances(self, label: str) -> list[str]:
        """Return the names of a service's instances, in a stable order.

        Raises:
            OSError: the folder cannot be read.
            ServiceConfigurationError: it is not safe to be used.
        """
        return [name for name in self._names() if name.startswith(label)]

    def matching(self, namespace: str, pattern: str) -> list[str]:
        """Return the names of instances whose service may match a glob pattern: long names are not readable here.

        Raises:
            OSError: the folder cannot be read.
            ServiceConfigurationError: it is not safe to be used.
        """
        wanted = _part(check_name("namespace", namespace))
        found = []
        for name in self._names():
            parts = name.split(_SEPARATOR)
            if len(parts) == 3 and parts[0] == wanted and (parts[1][:1] == _HASHED or fnmatchcase(parts[1], pattern)):
                found.append(name)
        return found

    def connect(self, name: str) -> socket.socket:
        """Return a connection to an instance, without waiting.

        Raises:
            InstanceGoneError: it is gone; what it has left is removed.
            BlockingIOError: too many others wait to be let in: try again later.
            OSError: there is no way in.
            ServiceConfigurationError: the path is too long for this system.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            with _reachable(self.path / name) as short:
                connection.connect(short)
            # A child that a dead service had forked may still hold its socket, and serves nobody.
            if is_dead(process_of(connection)):
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError) and error.errno in _GONE:
                with suppress(OSError):
                    (self.path / name).unlink(missing_ok=True)
                raise InstanceGoneError(name) from error
            raise
        return connection

    def _names(self) -> Sequence[str]:
        """List the folder, which is the dearest part of a call, only where it has changed."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return ()
        if found.st_mtime_ns != self._listed[0]:
            _check_owner(self.path, found)
            names = tuple(sorted(name for name in os.listdir(self.path) if name.endswith(_SUFFIX)))
            # The file system's clock ticks slowly: a name may come in the tick in which the folder was listed.
            settled = time.time() - found.st_mtime > _SETTLED_SECONDS
            self._listed = (found.st_mtime_ns if settled else -1, names)
        return self._listed[1]

    def _remove_if_dead(self, name: str) -> None:
        path = self.path / name
        with suppress(InstanceGoneError, OSError):  # somebody else may remove or rename it meanwhile
            if name.endswith(_STARTING_SUFFIX) and time.time() - path.lstat().st_mtime < _STARTING_SECONDS:
                return  # it does not listen yet
            self.connect(name).close()


def _part(name: str) -> str:
    """Return a name as it stands in a file's name: as it is, or where it is long its digest."""
    return name if len(name) <= _PART_BYTES else _HASHED + hashlib.sha256(name.encode()).hexdigest()[: _PART_BYTES - 1]


def _check_owner(path: Path, found: os.stat_result) -> None:
    """Refuse a folder where others could put sockets of theirs, to be taken for services of ours."""
    user = os.geteuid()
    if not stat.S_ISDIR(found.st_mode):
        raise ServiceConfigurationError(f"{path} has to be a folder, and no link to one: remove it")
    if found.st_uid != user and user != 0:
        raise ServiceConfigurationError(
            f"{path} belongs to user {found.st_uid}, and this process runs as user {user}: the services on one bus, "
            "and who calls them, run as one user"
        )
    if found.st_mode & 0o022:
        raise ServiceConfigurationError(f"other users may write into {path}, and pose as services: chmod 700 it")


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """Give a path to a socket that is short enough for the system call: through its folder's descriptor, if need be."""
    if len(os.fsencode(path)) <= _PATH_BYTES:
        yield str(path)
        return
    if not _DESCRIPTORS.is_dir():
        raise ServiceConfigurationError(
            f"{path} is longer than the {_PATH_BYTES} bytes that this system takes for a socket: "
            "move the bus file to a folder with a shorter path"
        )
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(_DESCRIPTORS / str(descriptor) / path.name)
    finally:
        os.close(descriptor)


def peer_of(connection: socket.socket) -> tuple[int, int] | None:
    """Return process and user at the other end of a Unix socket, as the kernel knows them; None where it does not."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    process, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return process, user


def process_of(connection: socket.socket) -> int:
    """Return the process at the other end of a Unix socket; 0 where it is not known."""
    peer = peer_of(connection)
    return 0 if peer is None else peer[0]


def is_dead(process: int) -> bool:
    """Tell whether a process is known to be gone; 0 is one of another container, of which nothing is known."""
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
