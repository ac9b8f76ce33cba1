"""The ``gemstone`` command as people run it: real processes, real buses, stores, services and brokers."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from gemstone_events.testing.private_server import free_port

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
        self._running: list["Running"] = []

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

    def start(self, *arguments: str) -> "Running":
        """Start the command in the background."""
        self._running.append(Running(self.folder, arguments))
        return self._running[-1]

    def end(self) -> None:
        """Kill what is still running."""
        for running in self._running:
            running.end()


class Running:
    """A command in the background; its standard output and standard error are one stream of lines."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=ENVIRONMENT,
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


@pytest.fixture
def gemstone(tmp_path: Path) -> Iterator[Gemstone]:
    """The command, in a folder with the service ``shop``."""
    made = Gemstone(tmp_path)
    made.write("shop.py", SHOP)
    yield made
    made.end()


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


# Help.


@pytest.mark.parametrize(
    "words", ["run", "emit", "tail", "call", "call_raw", "dead-letters", "transports", "doctor", "dead-letters show"]
)
def test_every_command_explains_itself_with_an_example(gemstone: Gemstone, words: str) -> None:
    printed, _ = gemstone(*words.split(), "--help")
    assert f"gemstone {words.split('_')[0]} " in printed.replace("gemstone transports\n", "gemstone transports ")
    assert "Example" in printed or " " in words


def test_the_first_page_lists_the_commands(gemstone: Gemstone) -> None:
    printed, _ = gemstone("--help")
    for words in ("run", "emit", "tail", "call", "dead-letters", "transports", "doctor"):
        assert re.search(rf"│ {words} ", printed)
    assert gemstone("--version")[0].startswith("gemstone_events, version ")


# run


@pytest.mark.parametrize("target", ["shop", "shop:Shop", "shop.py", "./shop.py:Shop"])
def test_a_service_runs_until_sigterm_and_ends_well(gemstone: Gemstone, target: str) -> None:
    shop = gemstone.start("run", target)
    line = shop.wait_for(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    gemstone_events: shop is ready: (\S+);")
    assert gemstone("call", line[1], "add", "a=2") == ("42\n", "")
    shop.signal(signal.SIGTERM)
    assert shop.status() == 0
    assert shop.lines[-1].endswith("stopping")


def test_ctrl_c_ends_a_service_well(gemstone: Gemstone) -> None:
    shop, _ = start_shop(gemstone)
    shop.interrupt()
    assert shop.status() == 0


def test_a_file_inside_a_package_is_imported_as_its_module(gemstone: Gemstone) -> None:
    package = gemstone.folder / "store"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "names.py").write_text("NAME = 'inner'\n")
    (package / "inner.py").write_text(
        "from gemstone_events import MicroService\nfrom .names import NAME\n\n"
        "class Inner(MicroService):\n    name = NAME\n    port = None\n"
    )
    gemstone.start("run", "store/inner.py").wait_for("inner is ready: no HTTP")


def test_options_go_before_the_environment_and_the_environment_before_the_file(gemstone: Gemstone) -> None:
    gemstone.write("gemstone.toml", 'host = "file"\nendpoint = "/file"\naccessible_at = "http://file"\n')
    environment = {"GEMSTONE_ENDPOINT": "/environment", "GEMSTONE_SHOP_HOST": "environment"}
    error = fails(gemstone, "run", "shop", "--host", "option.invalid", environment=environment)
    assert "'option.invalid'" in error
    error = fails(gemstone, "run", "shop", environment=environment)
    assert "'environment'" in error


def test_several_services_share_a_process_and_an_assignment_is_for_one(gemstone: Gemstone) -> None:
    gemstone.write("other.py", SHOP.replace("Shop", "Other").replace('"shop"', '"other"'))
    port = free_port()
    both = gemstone.start("run", "shop", "other.py", "--port=none", f"--set=other.port={port}", "--log_level=warning")
    eventually(
        lambda: re.match("version", gemstone_call(gemstone, f"http://127.0.0.1:{port}", "greet")),
        lambda: f"{both.lines}",
    )
    both.signal(signal.SIGTERM)
    assert both.status() == 0
    assert both.lines == []


def gemstone_call(gemstone: Gemstone, *arguments: str) -> str:
    """Call a method that may not be there yet, and return what is printed."""
    done = subprocess.run(command("call", *arguments), capture_output=True, text=True, env=ENVIRONMENT, check=False)
    return done.stdout


def test_two_services_on_one_port_are_a_clear_error(gemstone: Gemstone) -> None:
    gemstone.write("other.py", SHOP.replace("Shop", "Other").replace('"shop"', '"other"'))
    port = free_port()
    _, error = gemstone("run", "shop", "other", "--port", str(port), status=1)
    assert error.splitlines()[-1].startswith(f"error: port {port} on '127.0.0.1' is in use by another program")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "there is no module 'nowhere'"),
        (["nowhere.deeper:Shop"], "there is no module 'nowhere'"),
        (["nowhere.py"], "there is no file nowhere.py"),
        (["shop:Chop"], "shop:Chop does not exist: shop has Shop"),
        (["shop:OutOfStock"], "is no service"),
        (["broken"], "importing broken failed: '(' was never closed"),
        (["failing"], r"importing failing failed: ZeroDivisionError: .*failing\.py, line 2; --debug shows"),
        (["lacking"], "importing lacking failed: ModuleNotFoundError: No module named 'not_installed'"),
        (["two.py"], "two.py has 2 services, One, Two: choose one as two.py:One"),
        (["empty"], "empty has no service"),
        (["nameless"], "No name defined for the microservice"),
        (["shop", "--event-transports", "carrier-pigeon://loft"], "no transport answers to 'carrier-pigeon://loft'"),
        (["shop", "--event-store", "stone://tablet"], "no store answers to 'stone://tablet'"),
        (["shop", "--port", "many"], "setting 'port' cannot be 'many'"),
        (["shop", "--log-level", "loud"], "log_level cannot be 'loud'"),
        (["shop", "--event-store", "sqlite:///shop.py"], r"shop\.py"),
        (["shop", "--event-transports", "sqlite:///shop.py"], r"shop\.py is not an intact SQLite database"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(gemstone: Gemstone, arguments: list[str], says: str) -> None:
    service = "from gemstone_events import MicroService\nclass {0}(MicroService):\n    name = {1}\n"
    gemstone.write("broken.py", "print(")
    gemstone.write("failing.py", "\n1 / 0\n")
    gemstone.write("lacking.py", "import not_installed\n")
    gemstone.write("two.py", service.format("One", "'one'") + service.format("Two", "'two'"))
    gemstone.write("empty.py", "")
    gemstone.write("nameless.py", service.format("Nameless", None))
    _, error = gemstone("run", *arguments, status=1)
    assert re.match(f"error: .*{says}", error.splitlines()[-1])
    assert [line for line in error.splitlines() if " INFO " not in line] == error.splitlines()[-1:]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "shop", "--prot=1"],
        ["run", "shop", "--set", "port=1"],
        ["run", "shop", "--set", "chop.port=1"],
        ["emit"],
        ["emit", "order.placed", "{"],
        ["emit", "order.placed", "a=1", "b"],
        ["emit", "order.placed", "--transport", "memory://shop"],
        ["tail", "--from-start"],
        ["call", "shop", "add"],
        ["call", "http://127.0.0.1:1", "add", "1", "b=2"],
        ["call", "http://127.0.0.1:1", "add", "--header", "nonsense"],
        ["dead-letters", "redrive", "--service", "shop"],
        ["dead-letters", "purge", "1", "--all"],
        ["sing"],
    ],
)
def test_wrong_usage_ends_with_status_2(gemstone: Gemstone, arguments: list[str]) -> None:
    assert fails(gemstone, *arguments, status=2)


def test_debug_shows_the_traceback(gemstone: Gemstone) -> None:
    gemstone.write("failing.py", "\n1 / 0\n")
    done = subprocess.run(command("run", "failing", "--debug"), cwd=gemstone.folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "Traceback" in done.stderr


def test_reload_starts_again_when_a_file_changes(gemstone: Gemstone) -> None:
    shop, url = start_shop(gemstone, "--reload")
    assert gemstone("call", url, "greet") == ("version 1\n", "")
    seen = len(shop.lines)
    gemstone.write("shop.py", SHOP.replace("version 1", "version two"))
    shop.wait_for(r"reload: changed: shop\.py; starting again", seen)
    url = shop.wait_for(r"shop is ready: (\S+);", seen)[1]
    assert gemstone("call", url, "greet") == ("version two\n", "")
    seen = len(shop.lines)
    gemstone.write("shop.py", "print(")
    shop.wait_for(r"error: importing shop failed: .*\nreload: ended with status 1; waiting for a change", seen)
    gemstone.write("shop.py", SHOP)
    shop.wait_for(r"shop is ready: ", seen)
    shop.interrupt()
    assert shop.status() == 0
    assert shop.lines[-1].endswith("stopping")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_reloader_drains_the_service(gemstone: Gemstone, number: signal.Signals) -> None:
    shop, _ = start_shop(gemstone, "--reload")
    shop.signal(number)
    assert shop.status() == 0
    assert shop.lines[-1].endswith("stopping")


def test_a_reloader_that_waits_for_a_change_ends_on_a_signal(gemstone: Gemstone) -> None:
    gemstone.write("shop.py", "print(")
    shop = gemstone.start("run", "shop", "--reload")
    shop.wait_for("waiting for a change")
    shop.signal(signal.SIGTERM)
    assert shop.status() == 1


# emit and tail


def test_an_event_emitted_by_hand_is_handled_and_seen_by_every_tail(gemstone: Gemstone) -> None:
    start_shop(gemstone)
    tails = [gemstone.start("tail", "order.*", "order.#", "invoice.*", "--json", "--limit=2") for _ in range(2)]
    for tail in tails:
        tail.wait_for(r"watching order\.\* order\.# invoice\.\* on sqlite:///\.gemstone/bus\.db")
    emitted = json.loads(gemstone("emit", "order.placed", "id=42", "name=Ada", "--json")[0])
    assert emitted["type"] == "order.placed"
    for tail in tails:
        assert tail.status() == 0
        order, invoice = (json.loads(line) for line in tail.lines[1:])
        assert (order["id"], order["source"], order["data"]) == (
            emitted["id"],
            "gemstone-cli",
            {"id": 42, "name": "Ada"},
        )
        assert (invoice["type"], invoice["source"], invoice["causationid"]) == ("invoice.issued", "shop", emitted["id"])


def test_the_log_of_a_store_is_read_from_the_start_or_from_now_with_its_work(gemstone: Gemstone) -> None:
    start_shop(gemstone)
    gemstone("emit", "order.placed", "1")
    log = gemstone.start("tail", "--store=sqlite:///.gemstone/shop.db", "--from-start", "--json", "--limit=4")
    log.wait_for("invoice.print")
    now = gemstone.start("tail", "invoice.issued", "--store=sqlite:///.gemstone/shop.db", "--limit=1")
    now.wait_for("watching")
    gemstone("emit", "order.placed", "2")
    assert (log.status(), now.status()) == (0, 0)
    events = [json.loads(line) for line in log.lines[1:]]
    assert [(e["position"], e["broadcast"], e["data"]) for e in events] == [
        (1, True, 1),
        (2, False, 1),
        (3, True, 2),
        (4, False, 2),
    ]
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  invoice\.issued  shop  2", now.lines[1])


def test_work_waits_in_its_queue_and_a_tail_does_not_see_it(gemstone: Gemstone) -> None:
    tail = gemstone.start("tail", "--limit=1")
    tail.wait_for("watching")
    gemstone("emit", "order.placed", "7", "--work")
    gemstone("emit", "last.one", "-", stdin='{"a": [true]}')
    assert tail.status() == 0
    assert tail.lines[1].endswith('last.one  gemstone-cli  {"a":[true]}')
    start_shop(gemstone)
    gemstone("tail", "--store=sqlite:///.gemstone/shop.db", "--from-start", "--limit=2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_tail_well(gemstone: Gemstone, number: signal.Signals) -> None:
    tail = gemstone.start("tail")
    tail.wait_for("watching")
    tail.signal(number)
    assert tail.status() == 0
    assert len(tail.lines) == 1


def test_a_tail_that_saw_too_little_in_time_says_so(gemstone: Gemstone) -> None:
    assert gemstone("tail", "--timeout=0.2")[0] == ""
    _, error = gemstone("tail", "--timeout=0.2", "--limit=3", status=1)
    assert error.splitlines()[-1] == "error: 0 of 3 events came within 0.2 seconds"


def test_a_new_bus_is_pointed_out(gemstone: Gemstone) -> None:
    assert "note: no service has used the bus" in gemstone("emit", "a.b")[1]
    assert gemstone("emit", "a.b", "--id=7") == ("7\n", "")


def test_commands_take_what_the_configuration_says(gemstone: Gemstone) -> None:
    gemstone.write("gemstone.toml", 'event_transports = ["sqlite:///elsewhere/bus.db"]\nnamespace = "staging"\n')
    assert json.loads(gemstone("emit", "a.b", "--json")[0])["transport"] == "sqlite:///elsewhere/bus.db"
    gemstone.write("gemstone.toml", 'event_transports = ["amqp://me:secret@a", "amqp://b"]\n')
    _, error = gemstone("emit", "a.b", status=2)
    assert "2 transports are configured" in error
    assert "amqp://me:***@a" in error
    assert "secret" not in error


@pytest.mark.parametrize("command_words", [["emit", "a.b"], ["tail"]])
@pytest.mark.parametrize(
    ("transport", "says"),
    [
        ("carrier-pigeon://me:secret@loft", "no transport answers to 'carrier-pigeon://me:\\*\\*\\*@loft'"),
        ("sqlite:///shop.py", "shop.py is not an intact SQLite database"),
        ("sqlite://shop.py", "names no file"),
        ("amqp://me:secret@127.0.0.1:1//", r"amqp://127\.0\.0\.1:1/%2F cannot be used now: "),
    ],
)
def test_a_transport_that_cannot_be_used_is_a_clear_error(
    gemstone: Gemstone, command_words: list[str], transport: str, says: str
) -> None:
    error = fails(gemstone, *command_words, "--transport", transport)
    assert re.search(says, error)
    assert "secret" not in error
