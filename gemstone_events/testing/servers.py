"""Private RabbitMQ, Redis and PostgreSQL servers for tests: own ports on loopback, own folder, no trace left.

    with RabbitMQ() as rabbitmq:
        service = Billing(event_transports=[rabbitmq.url])
        ...
        rabbitmq.kill()       # SIGKILL of everything: the broker is gone without a word
        rabbitmq.start()      # the same ports, the same data

The methods block; call them from fixtures, or through ``asyncio.to_thread``. They need the programs of Debian's
packages ``rabbitmq-server``, ``redis-server`` and ``postgresql``, not their system services, and work for root and
for any other user. A server ends with the process that started it, even where that is killed: see ``guard``.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gemstone_events.testing.private_server import (
    LOOPBACK,
    PrivateServer,
    ServerFailedError,
    ServerMissingError,
    find_program,
    free_port,
)

__all__ = ["PostgreSQL", "RabbitMQ", "Redis", "ServerFailedError", "ServerMissingError"]

# Debian's /usr/sbin/rabbitmq-server and its like switch to the user rabbitmq; these do not.
_RABBITMQ_FOLDERS = ("/usr/lib/rabbitmq/bin",)

# Whatever a test changed on the node is undone: virtual hosts with all they hold, users, alarms, parameters.
_RESET = """
lists:foreach(fun(Host) -> rabbit_vhost:delete(Host, <<"test">>) end, rabbit_vhost:list_names()),
lists:foreach(fun(User) -> rabbit_auth_backend_internal:delete_user(proplists:get_value(user, User), <<"test">>) end,
    rabbit_auth_backend_internal:list_users()),
rabbit_vhost:add(<<"/">>, <<"test">>),
rabbit_auth_backend_internal:add_user(<<"guest">>, <<"guest">>, <<"test">>),
rabbit_auth_backend_internal:set_tags(<<"guest">>, [administrator], <<"test">>),
rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>),
vm_memory_monitor:set_vm_memory_high_watermark(0.4),
rabbit_disk_monitor:set_disk_free_limit("50MB"),
ok.
"""

_SETTLE = "lists:foreach(fun dets:sync/1, dets:all())."


class RabbitMQ(PrivateServer):
    """A RabbitMQ node, with an Erlang port mapper of its own; without the management plugin."""

    def __init__(self, *, config: str = "", schedulers: int = 1, boot_timeout: float = 90.0) -> None:
        """Choose ports and start nothing.

        Args:
            config: more lines for ``rabbitmq.conf``.
            schedulers: Erlang's scheduler threads: how many processors the broker may use.
            boot_timeout: seconds that ``start`` waits until the broker answers.
        """
        super().__init__(boot_timeout=boot_timeout)
        self._dist_port = free_port()
        self._epmd_port = free_port()
        self._config = config
        self._schedulers = schedulers

    @property
    def url(self) -> str:
        """The default virtual host, for the user ``guest``."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}//"

    def settle(self) -> None:
        """Have the running node write down which quorum queues it has. Call it between their declaration and ``kill``.

        RabbitMQ 3.10 keeps that in memory for about a second after a declaration. Killed within it, it starts again with
        a queue that has lost its confirmed messages and elects no leader, so that whoever uses it waits for ever.
        """
        self.ctl("eval", _SETTLE)

    def ctl(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run ``rabbitmqctl`` against this node and return what it prints.

        Raises:
            ServerFailedError: it failed or took longer than ``timeout`` seconds.
        """
        program = find_program("rabbitmqctl", "rabbitmq-server", _RABBITMQ_FOLDERS)
        try:
            done = subprocess.run(
                [program, "-q", *arguments],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise self._failed(f"gave rabbitmqctl {' '.join(arguments)} no answer within {timeout:g} s") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise ServerFailedError(f"rabbitmqctl {' '.join(arguments)} failed ({done.returncode}): {said}")
        return done.stdout

    def reset(self) -> None:
        """Make the running node as good as new, in a second instead of a boot: nothing declared, only ``guest``."""
        self.ctl("eval", _RESET)

    def _argv(self) -> Sequence[str]:
        return [find_program("rabbitmq-server", "rabbitmq-server", _RABBITMQ_FOLDERS)]

    def _prepare(self) -> None:
        lines = [f"listeners.tcp.1 = {LOOPBACK}:{self.port}", "log.console = false", self._config]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "enabled_plugins").write_text("[].\n")

    def _environment(self) -> Mapping[str, str]:
        folder = self.folder
        return {
            **super()._environment(),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_NODENAME": f"gemstone-{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"+S {self._schedulers}:{self._schedulers} +sbwt none -kernel inet_dist_use_interface {{127,0,0,1}}"
            ),
        }

    def _answers(self, connection: socket.socket) -> bool:
        # AMQP 0-9-1, section 4.2.2: the server answers the protocol header with a method frame on channel 0.
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return connection.recv(3) == b"\x01\x00\x00"


class Redis(PrivateServer):
    """A Redis server that confirms a write after it reached the disk."""

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def _argv(self) -> Sequence[str]:
        return [find_program("redis-server", "redis-server", ()), "redis.conf"]

    def _prepare(self) -> None:
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"dir {self.folder}",
            "appendonly yes",
            "appendfsync always",
            'save ""',
        ]
        (self.folder / "redis.conf").write_text("\n".join(lines) + "\n")

    def _answers(self, connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(5) == b"+PONG"


class PostgreSQL(PrivateServer):
    """A PostgreSQL server; where root starts it, it runs as the user ``postgres``, as it demands."""

    stop_signal = signal.SIGINT
    discard_signal = signal.SIGQUIT

    @property
    def url(self) -> str:
        """The database ``postgres``, for its superuser, without a password."""
        return f"postgresql://postgres@{LOOPBACK}:{self.port}/postgres"

    def kill(self) -> None:
        """SIGKILL all its processes, as a crash would, and keep its data. Harmless where it does not run."""
        super().kill()
        # The killed server cannot free its shared memory segment; the kernel keeps it for ever.
        with contextlib.suppress(OSError, LookupError, ServerFailedError):
            segment = (self.folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], capture_output=True, check=False)

    def _argv(self) -> Sequence[str]:
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "logging_collector": "off",
        }
        settings = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        return [_postgres_program("postgres"), "-D", "data", *settings]

    def _prepare(self) -> None:
        data = self.folder / "data"
        if (data / "PG_VERSION").exists():
            return
        data.mkdir(mode=0o700, exist_ok=True)
        user = self._user()
        if user is not None:
            shutil.chown(data, user, user)
        argv = [_postgres_program("initdb"), "-D", "data", "-U", "postgres", "-A", "trust", "--no-sync"]
        done = subprocess.run(
            [*argv, "--encoding=UTF8", "--locale=C.UTF-8"],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerFailedError(f"initdb failed ({done.returncode}): {done.stderr.strip()}")

    def _user(self) -> str | None:
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam("postgres").pw_name
        except KeyError:
            raise ServerMissingError(
                "PostgreSQL does not run as root, and there is no user 'postgres': apt-get install postgresql"
            ) from None

    def _answers(self, connection: socket.socket) -> bool:
        # Frontend/Backend Protocol, "Start-up": R asks for authentication or grants it; E is an error, for example that
        # the database system is starting up.
        body = b"\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
        connection.sendall((len(body) + 4).to_bytes(4, "big") + body)
        return connection.recv(1) == b"R"


def _postgres_program(program: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _version(path.parent.name))
    return find_program(program, "postgresql", [str(folder) for folder in reversed(folders)])


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
