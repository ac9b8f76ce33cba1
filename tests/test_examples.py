"""The examples and the README do what they say: each is run as its reader would run it, in an empty folder."""

import dataclasses
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gemstone_events
from gemstone_events import Event, MicroService, RetryPolicy, event_handler, exposed_method
from gemstone_events.cli import gemstone
from gemstone_events.configuration import default_configurables
from gemstone_events.settings import Settings

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
EXPECTED = EXAMPLES / "expected"
DEADLINE_SECONDS = 60.0

SCRIPTS = {
    "publish_subscribe": [],
    "work_queue": [],
    "periodic_task": [],
    "plugins": [],
    "containers": [],
    "calls": [],
    "private_methods": [],
    "typed_services": [],
    "retries": [],
    "web_pages": ["--once"],
}


def script(name: str) -> Path:
    """Where an example begins."""
    folder = EXAMPLES / name
    return folder / f"{name}.py" if folder.is_dir() else EXAMPLES / f"{name}.py"


def blocks(page: str) -> list[str]:
    """The Python programs on a page of the documentation, in order."""
    found: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return found


def environment() -> dict[str, str]:
    """A newcomer's: without settings of ours, and with warnings as errors."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GEMSTONE_")}
    return {**clean, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1"}


@contextmanager
def running(folder: Path, *argv: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program in ``folder``, and kill it at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, *map(str, argv)],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_every_example_is_tested() -> None:
    there = {path.stem for path in EXAMPLES.glob("*.py")} | {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    there -= {"expected", "__pycache__", ".ruff_cache", ".mypy_cache"}
    assert there == {*SCRIPTS, "hello_world", "shop"}
    assert {path.stem for path in EXPECTED.iterdir()} == {*SCRIPTS}


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_prints_what_is_kept_beside_it(name: str, tmp_path: Path) -> None:
    with running(tmp_path, script(name), *SCRIPTS[name]) as process:
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 0, errors
    # Services work at the same time, so the order of the lines is free.
    assert sorted(output.splitlines()) == sorted((EXPECTED / f"{name}.txt").read_text().splitlines())


def block_of_the_readme(line: str) -> str:
    """The program in the README that has this line."""
    return next(block for block in blocks("README.md") if line in block)


def test_the_readme_shows_the_hello_world_that_is_there_in_15_lines() -> None:
    shown = block_of_the_readme("class Hello(")

    assert shown == (EXAMPLES / "hello_world.py").read_text()
    assert len(shown.splitlines()) <= 15


def ready_line(process: subprocess.Popen[str], pattern: str) -> str:
    """Read what a program says on standard error up to a line with ``pattern``, and return the pattern's group."""
    assert process.stderr is not None
    log = ""
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found[1]
        log += line
    raise AssertionError(f"it ended and never said {pattern}:\n{log}")


def test_the_hello_world_of_the_readme_answers_its_curl_and_ends_on_sigterm(tmp_path: Path) -> None:
    program = tmp_path / "hello.py"
    program.write_text(block_of_the_readme("class Hello("))
    curl = re.search(r"curl (\S+) (.*?) -d '(.*?)'", (ROOT / "README.md").read_text())
    assert curl is not None
    assert curl[1] == "http://127.0.0.1:8000/api"
    assert curl[2] == "-H 'Content-Type: application/json'"

    with running(tmp_path, program, "--port", "0") as process:
        request = urllib.request.Request(
            ready_line(process, r"is ready: (\S+);"), curl[3].encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:
            answer = json.load(response)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)

    assert answer == {"jsonrpc": "2.0", "id": 1, "result": "Hello, world!"}
    assert process.returncode == 0, errors


def test_the_events_of_the_readme_flow(tmp_path: Path) -> None:
    (tmp_path / "billing.py").write_text(block_of_the_readme("class Billing("))
    command = ["-m", "gemstone_events.cli"]

    with (
        running(tmp_path, "billing.py") as service,
        running(tmp_path, *command, "tail", "--limit", "2", "--json", "--timeout", DEADLINE_SECONDS) as tail,
    ):
        ready_line(service, r"is (ready): no HTTP;")
        ready_line(tail, "(watching)")
        emitted = re.search(r"gemstone (emit order.placed id=42 total=250)\n", (ROOT / "README.md").read_text())
        assert emitted is not None
        with running(tmp_path, *command, *emitted[1].split()) as emit:
            _, errors = emit.communicate(timeout=DEADLINE_SECONDS)
        assert emit.returncode == 0, errors
        output, errors = tail.communicate(timeout=DEADLINE_SECONDS)

    events = {event["type"]: event["data"] for event in map(json.loads, output.splitlines())}
    assert events == {"order.placed": {"id": 42, "total": 250}, "invoice.issued": {"order": 42, "total": 250}}, errors


def call(url: str, method: str, params: dict[str, object], token: str = "") -> dict[str, object]:
    """Call a method, and return the answer."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=DEADLINE_SECONDS) as response:
        answer: dict[str, object] = json.load(response)
    return answer


def test_the_complete_service_of_the_api_page_works(tmp_path: Path) -> None:
    (tmp_path / "stock.py").write_text(blocks("docs/api.md")[-1])
    receipt = {"receipt": "R1", "article": "pen", "count": 10}

    with running(tmp_path, "stock.py", "--token", "secret", "--port", "0") as service:
        url = ready_line(service, r"is ready: (\S+);")
        assert call(url, "stock.receive", receipt)["error"] == {"code": -32001, "message": "Access denied"}
        assert call(url, "stock.receive", receipt, "guessed")["error"] == {"code": -32001, "message": "Access denied"}
        for _ in range(2):  # whoever gets no answer asks again
            assert call(url, "stock.receive", receipt, "secret")["result"] == "R1"
        assert ready_line(service, r"(stock.received): \{'receipt': 'R1'")
        for order in ("A1", "A2"):
            arguments = (f"order={order}", "article=pen", "count=3")
            with running(tmp_path, "-m", "gemstone_events.cli", "emit", "order.placed", *arguments) as emit:
                _, errors = emit.communicate(timeout=DEADLINE_SECONDS)
            assert emit.returncode == 0, errors
            assert ready_line(service, r"stock.reserved: \{'order': '(\w+)'") == order
        assert call(url, "stock.count", {"article": "pen"})["result"] == {"article": "pen", "count": 4}
        unknown = {"code": 1001, "message": "Unknown article", "data": {"article": "ink"}}
        assert call(url, "stock.count", {"article": "ink"})["error"] == unknown
        assert call(url, "stock.calls", {})["result"] == 5
        service.send_signal(signal.SIGTERM)
        _, errors = service.communicate(timeout=DEADLINE_SECONDS)

    assert service.returncode == 0, errors


def test_the_first_service_of_the_api_page_and_the_old_names_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "minimal.py").write_text(blocks("docs/api.md")[0])
    (tmp_path / "old_names.py").write_text(blocks("docs/from-gemstone.md")[0])
    with running(tmp_path, "-c", "import minimal, old_names; minimal.Stock()") as process:
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, errors


def test_the_tests_on_the_page_about_testing_pass(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    files = re.findall(r"`(\w+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)```", page, re.DOTALL)
    for name, content in files:
        (tmp_path / name).write_text(content)
    tests = {"test_billing.py", "test_on_rabbitmq.py", "test_contract.py", "test_wire_contract.py"}
    named = {"pytest.ini", "billing.py", *tests}
    assert {name for name, _ in files} == named

    with running(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider") as process:
        output, errors = process.communicate(timeout=2 * DEADLINE_SECONDS)

    assert process.returncode == 0, output + errors
    assert re.search(r"\d+ passed", output)


def test_every_parameter_and_field_is_on_the_api_page() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    for function in (event_handler, exposed_method, MicroService.emit_event):
        for name in inspect.signature(function).parameters.keys() - {"self"}:
            assert re.search(rf"^\| `{name}`", text, re.MULTILINE), f"{function.__name__}: {name}"
    for name in [field.name for kind in (RetryPolicy, Event) for field in dataclasses.fields(kind)]:
        assert re.search(rf"^\|[^|]*`{name}`", text, re.MULTILINE), name
    for field in dataclasses.fields(RetryPolicy):
        row = re.search(rf"^\| `{field.name}` \|([^|]*)\|", text, re.MULTILINE)
        assert row is not None
        assert not isinstance(field.default, int | float) or str(field.default) in row[1], field.name


def test_every_public_name_is_on_the_api_page() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    assert [name for name in gemstone_events.__all__ if name not in text] == []


def test_every_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"gemstone ([a-z][a-z_-]+)", (ROOT / "README.md").read_text()))
    assert named >= {"run", "tail", "emit", "call", "dead-letters", "transports", "doctor"}
    assert named <= gemstone.commands.keys()


def test_every_link_of_the_readme_and_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)", page.read_text())]
    assert links
    broken = [f"{page.name}: {link}" for page, link in links if "://" not in link and not (page.parent / link).exists()]
    assert not broken


def test_the_documentation_lists_every_setting() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    outside, _, in_code = text.partition("## What is set in code")
    listed_outside = re.findall(r"^\| `(\w+)` \|", outside, re.MULTILINE)
    assert listed_outside == [configurable.name for configurable in default_configurables()]
    listed = {*listed_outside, *re.findall(r"^\| `(\w+)` \|", in_code, re.MULTILINE)}
    assert listed == set(Settings.__annotations__)


def test_the_demonstration_survives_the_kill_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(tmp_path, EXAMPLES / "shop" / "demo.py", "--orders", "60") as process:
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 0, output + errors
    for row in ("orders placed.*60", "invoiced.*60", "shipped.*60", "lost.* 0", "duplicated.* 0", r"recovered.*\d s"):
        assert re.search(row, output), f"{row} is not in\n{output}"
    assert_gone(output)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demonstration_and_all_that_it_started(number: signal.Signals, tmp_path: Path) -> None:
    with running(tmp_path, EXAMPLES / "shop" / "demo.py", "--orders", "100000") as process:
        assert process.stdout is not None
        output = ""
        while "order.placed" not in output:
            line = process.stdout.readline()
            assert line, f"it ended too early:\n{output}"
            output += line
        process.send_signal(number)
        process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 130
    assert_gone(output)


def assert_gone(output: str) -> None:
    """Fail unless the processes that the demonstration named have ended."""
    pids = [int(pid) for pid in re.findall(r"process (\d+)", output)]
    assert len(pids) >= 3
    deadline = time.monotonic() + DEADLINE_SECONDS
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.02)
