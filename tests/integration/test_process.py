"""Services as processes: what signals do, and what the outside sees."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

PREAMBLE = """
import asyncio, sys, time
from gemstone_events import MicroService, RetryPolicy, event_handler, exposed_method

class Service(MicroService):
    name = "service"
    port = 0
    async def on_service_start(self):
        asyncio.get_running_loop().call_later(0, self.report)
    def report(self):
        if not self.bound_port:
            asyncio.get_running_loop().call_later(0.01, self.report)
        else:
            print("at", self.url, flush=True)
"""


class Process:
    """A service in a process of its own."""

    def __init__(self, folder: Path, code: str, *arguments: str) -> None:
        script = folder / "service.py"
        script.write_text(PREAMBLE + code)
        self.popen = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        """Wait until it is ready and return its URL."""
        line = self.line()
        assert line.startswith("at "), line + self.popen.communicate(timeout=10)[1]
        return line.split()[1]

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def end(self, *numbers: int) -> tuple[int, str, str]:
        """Send signals and return exit status, output and log."""
        for number in numbers:
            self.popen.send_signal(number)
        out, err = self.popen.communicate(timeout=30)
        return self.popen.returncode, out, err


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a service from code; it dies with the test."""
    started = []

    def start(code: str, *arguments: str) -> Process:
        process = Process(tmp_path, code, *arguments)
        started.append(process)
        return process

    yield start
    for process in started:
        process.popen.kill()
        process.popen.communicate()


def call(url: str, method: str, **params: object) -> object:
    """Call a method over HTTP."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_with_status_0(start, number):
    process = start(
        """
class Slow(Service):
    @event_handler("work")
    async def work(self, body):
        print("begun", flush=True)
        await asyncio.sleep(0.5)
        print("done", flush=True)
    @exposed_method()
    async def begin(self):
        self.emit_event("work", 1)
Slow().start()
"""
    )
    call(process.url(), "begin")
    assert process.line() == "begun"
    status, out, _ = process.end(number)
    assert (status, out) == (0, "done\n")


def test_a_second_signal_ends_the_draining_and_the_event_is_handled_after_the_next_start(start):
    code = """
class Slow(Service):
    @event_handler("work")
    async def work(self, body):
        print("begun", flush=True)
        if "quick" not in sys.argv:
            await asyncio.sleep(60)
        print("done", flush=True)
    @exposed_method()
    async def begin(self):
        self.emit_event("work", 1)
Slow(skip_configuration=True).start()
"""
    process = start(code)
    call(process.url(), "begin")
    assert process.line() == "begun"
    process.popen.send_signal(signal.SIGTERM)
    while "stopping" not in (line := process.popen.stderr.readline()):
        assert line
    assert process.end(signal.SIGTERM)[0] == 0
    again = start(code, "quick")
    lines = [again.line() for _ in range(3)]
    assert sorted(lines)[1:] == ["begun", "done"]
    assert again.end(signal.SIGTERM)[0] == 0


def test_a_signal_ends_a_start_that_takes_for_ever(start):
    process = start(
        """
class Waiting(Service):
    async def on_service_start(self):
        print("begun", flush=True)
        await asyncio.Event().wait()
Waiting().start()
"""
    )
    assert process.line() == "begun"
    assert process.end(signal.SIGTERM)[0] == 0


def test_a_blocking_handler_that_never_ends_does_not_keep_the_process(start):
    process = start(
        """
class Stuck(Service):
    shutdown_timeout = 0.2
    @event_handler("work")
    def work(self, body):
        print("begun", flush=True)
        time.sleep(600)
    @exposed_method()
    async def begin(self):
        self.emit_event("work", 1)
Stuck().start()
"""
    )
    call(process.url(), "begin")
    assert process.line() == "begun"
    status, _, log = process.end(signal.SIGTERM)
    assert status == 1
    assert "did not end in time" in log


def test_a_blocking_handler_does_not_block_the_loop(start):
    process = start(
        """
class Busy(Service):
    @event_handler("work")
    def work(self, body):
        print("begun", flush=True)
        time.sleep(3)
    @exposed_method()
    async def begin(self):
        self.emit_event("work", 1)
    @exposed_method()
    def answer(self):
        return 42
Busy().start()
"""
    )
    url = process.url()
    call(url, "begin")
    assert process.line() == "begun"
    assert call(url, "answer") == {"jsonrpc": "2.0", "id": 1, "result": 42}
    process.popen.kill()


def test_a_killed_service_has_done_everything_once_after_its_restart(start):
    code = """
class Ledger(Service):
    def on_service_start(self):
        self.unit_of_work.execute("create table if not exists entries (n)")
        return super().on_service_start()
    @event_handler("entry", concurrency=3)
    async def book(self, body):
        await asyncio.sleep(0.01)
        self.unit_of_work.execute("insert into entries values (?)", (body,))
    @exposed_method()
    async def add(self, numbers):
        for number in numbers:
            self.emit_event("entry", number)
    @exposed_method()
    async def entries(self):
        return [n for (n,) in await self.unit_of_work.query("select n from entries order by n")]
Ledger().start()
"""
    process = start(code)
    url = process.url()
    call(url, "add", numbers=list(range(100)))
    for _ in range(3):
        booked = len(call(url, "entries")["result"])
        deadline = time.monotonic() + 15
        while booked < 100 and len(call(url, "entries")["result"]) <= booked:
            assert time.monotonic() < deadline
        process.popen.kill()
        process.popen.communicate()
        process = start(code)
        url = process.url()
    deadline = time.monotonic() + 30
    while len(entries := call(url, "entries")["result"]) < 100:
        assert time.monotonic() < deadline, len(entries)
        time.sleep(0.05)
    assert entries == list(range(100))


def test_readiness_is_said_over_http(start):
    process = start("Service().start()")
    url = process.url().removesuffix("/api")
    with urllib.request.urlopen(f"{url}/health/ready", timeout=10) as response:
        assert json.load(response) == {"status": "ok", "service": "service", "trouble": {}}


def test_a_broker_that_is_down_keeps_nobody_from_starting_and_emitting(start, tmp_path):
    process = start(
        """
class Emitting(Service):
    event_transports = ["amqp://guest:secret@127.0.0.1:1//"]
    @exposed_method()
    async def emit(self):
        self.emit_event("a", 1)
Emitting().start()
"""
    )
    url = process.url()
    assert call(url, "emit")["result"] is None
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("/api", "/health/ready"), timeout=10)
    report = json.load(refused.value)
    assert refused.value.code == 503
    assert "amqp://127.0.0.1:1" in str(report)
    assert "secret" not in str(report)
    status, _, log = process.end(signal.SIGTERM)
    assert status == 0
    assert "secret" not in log


def test_a_wrong_signature_is_found_at_start_up(start):
    process = start(
        """
class Wrong(Service):
    @event_handler("a")
    def handle(self, body, something):
        pass
Wrong().start()
"""
    )
    status, _, log = process.end()
    assert status == 1
    assert "Wrong.handle" in log
    assert "annotated Event" in log
    assert "Traceback" not in log


def test_settings_come_from_the_command_line(start):
    process = start("Service().start()", "--endpoint=/rpc")
    assert process.url().endswith("/rpc")
    assert process.end(signal.SIGTERM)[0] == 0
