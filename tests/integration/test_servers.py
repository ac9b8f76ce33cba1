"""The private servers: they keep their data, and go with whoever started them."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import amqp
import pytest

from gemstone_events.testing.private_server import PrivateServer, free_port
from gemstone_events.testing.servers import PostgreSQL, RabbitMQ, Redis, ServerFailedError, ServerMissingError

DEADLINE = 30.0

# A program that starts a server, says where it is, and waits to be ended.
# The tests may run where SIGINT is ignored, as a shell does for what it runs in the background.
STARTER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from gemstone_events.testing import servers
server = getattr(servers, sys.argv[1])()
server.start()
print(server.folder, server.port, flush=True)
if sys.argv[2] == "leave":
    sys.exit(3)
sys.stdin.read()
"""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def processes_of(folder: Path) -> list[str]:
    """The living processes of the server with this folder: they run in it, or their environment names it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (process / "environ").read_bytes()
            if (process / "cwd").readlink() == folder or str(folder).encode() in environment:
                found.append((process / "comm").read_text())
    return found


def redis_says(redis: Redis, command: str) -> str:
    argv = ["redis-cli", "-p", str(redis.port), *command.split()]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def declare_and_publish(url: str, queue: str) -> None:
    with amqp.Connection(url.split("@")[1].rstrip("/"), confirm_publish=True) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        channel.basic_publish_confirm(amqp.Message(b"kept", delivery_mode=2), routing_key=queue)


def take(url: str, queue: str) -> bytes:
    taken: list[bytes] = []
    with amqp.Connection(url.split("@")[1].rstrip("/")) as connection:
        channel = connection.channel()

        def look() -> bool:
            message = channel.basic_get(queue, no_ack=True)
            if message is not None:
                taken.append(bytes(message.body, "utf-8") if isinstance(message.body, str) else message.body)
            return bool(taken)

        until(look, f"a message in {queue}")
    return taken[0]


def test_redis_keeps_what_it_confirmed_through_a_kill() -> None:
    with Redis() as redis:
        url = redis.url
        redis_says(redis, "set kept yes")
        redis.kill()
        assert not redis.running
        redis.start()
        assert redis.url == url
        assert redis_says(redis, "get kept") == "yes"
        redis.restart()
        assert redis_says(redis, "get kept") == "yes"


def test_postgresql_keeps_what_it_committed_through_a_kill() -> None:
    with PostgreSQL() as postgresql:

        def says(sql: str) -> str:
            done = subprocess.run(["psql", postgresql.url, "-Atc", sql], capture_output=True, text=True, check=True)
            return done.stdout.strip()

        says("create table kept as select 'yes' as answer")
        postgresql.kill()
        assert not postgresql.running
        postgresql.start()
        assert says("select answer from kept") == "yes"
        postgresql.restart()
        assert says("select answer from kept") == "yes"


def test_rabbitmq_keeps_what_it_confirmed_through_a_kill(rabbitmq_node: RabbitMQ) -> None:
    declare_and_publish(rabbitmq_node.url, "kept")
    rabbitmq_node.settle()
    rabbitmq_node.kill()
    assert not rabbitmq_node.running
    assert processes_of(rabbitmq_node.folder) == []
    rabbitmq_node.start()
    assert take(rabbitmq_node.url, "kept") == b"kept"


def test_a_reset_node_holds_nothing_of_before(rabbitmq_node: RabbitMQ) -> None:
    declare_and_publish(rabbitmq_node.url, "forgotten")
    rabbitmq_node.ctl("add_vhost", "other")
    rabbitmq_node.ctl("add_user", "mallory", "secret")
    rabbitmq_node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    rabbitmq_node.reset()
    assert "forgotten" not in rabbitmq_node.ctl("list_queues", "name")
    assert rabbitmq_node.ctl("list_vhosts", "--no-table-headers").split() == ["/"]
    assert rabbitmq_node.ctl("list_users", "--no-table-headers").split()[0::2] == ["guest"]
    # It takes publishes again: the memory alarm is gone.
    declare_and_publish(rabbitmq_node.url, "new")
    assert take(rabbitmq_node.url, "new") == b"kept"


def test_a_failing_ctl_says_what_failed(rabbitmq_node: RabbitMQ) -> None:
    with pytest.raises(ServerFailedError, match="delete_queue no-such-queue failed"):
        rabbitmq_node.ctl("delete_queue", "no-such-queue")


def test_the_session_broker_answers(rabbitmq_url: str, namespace: str) -> None:
    declare_and_publish(rabbitmq_url, namespace)
    assert take(rabbitmq_url, namespace) == b"kept"


@pytest.mark.parametrize("make", [Redis, PostgreSQL])
def test_a_closed_server_leaves_neither_process_nor_file(make: Callable[[], PrivateServer]) -> None:
    server = make()
    server.close()
    server.start()
    folder = server.folder
    assert processes_of(folder)
    server.close()
    server.close()
    assert not folder.exists()
    assert processes_of(folder) == []
    assert not server.running


def test_starting_a_running_server_and_stopping_a_stopped_one_is_harmless() -> None:
    with Redis() as redis:
        redis_says(redis, "set kept yes")
        redis.start()
        assert redis_says(redis, "get kept") == "yes"
        redis.stop()
        redis.stop()
        redis.kill()
        redis.start()
        assert redis_says(redis, "get kept") == "yes"


def test_a_paused_server_is_silent_until_it_is_resumed() -> None:
    with Redis() as redis:
        redis.pause()
        client = subprocess.Popen(["redis-cli", "-p", str(redis.port), "ping"], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            client.wait(0.2)
        redis.resume()
        assert client.communicate(timeout=DEADLINE)[0] == "PONG\n"


def test_a_paused_server_can_be_closed() -> None:
    with Redis() as redis:
        redis.pause()
        folder = redis.folder
    assert processes_of(folder) == []


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, "leave"], ids=str)
@pytest.mark.parametrize("name", ["Redis", "PostgreSQL"])
def test_a_server_ends_with_the_process_that_started_it(name: str, end: "signal.Signals | str") -> None:
    ends_with_its_starter(name, end)


def test_a_broker_ends_with_the_process_that_started_it_be_it_killed() -> None:
    ends_with_its_starter("RabbitMQ", signal.SIGKILL)


def ends_with_its_starter(name: str, end: "signal.Signals | str") -> None:
    argv = [sys.executable, "-c", STARTER, name, end if isinstance(end, str) else "wait"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as starter:
        assert starter.stdout is not None
        folder = Path(starter.stdout.readline().split()[0])
        if not isinstance(end, str):
            assert processes_of(folder)
            starter.send_signal(end)
        starter.wait(DEADLINE)
    until(lambda: not processes_of(folder), f"all processes of {name} are gone")
    until(lambda: not folder.exists(), f"the folder of {name} is gone")


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PATH", str(tmp_path))
    return None


@pytest.mark.usefixtures("empty_path")
def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(ServerMissingError, match=r"'redis-server' is not installed.*apt-get install redis-server"):
        Redis().start()


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ServerFailedError, match=r"(?s)RabbitMQ ended instead.*no_such_setting"):
        RabbitMQ(config="no_such_setting = 1").start()


def test_a_taken_port_is_an_error_that_says_so() -> None:
    with Redis() as first:
        second = Redis()
        second.port = first.port
        with pytest.raises(ServerFailedError, match=r"Redis cannot listen on port .*in use"):
            second.start()


def test_free_ports_are_not_those_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < lowest for port in (free_port() for _ in range(50)))
