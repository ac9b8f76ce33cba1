"""``gemstone --help`` and ``gemstone run``, as people run them."""

import asyncio
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemstone_events import Principal, TokenTable
from gemstone_events.cli.reloading import Reloader
from gemstone_events.testing.private_server import free_port
from tests.integration.cli_process import SECONDS, SHOP, Gemstone, command, eventually, fails, start_shop

UNMADE = """
from gemstone_events import MicroService
class Unmade(MicroService):
    name = "unmade"
    def __init__(self):
        undefined
class Sum(MicroService):
    name = "sum"
    def __init__(self):
        1 + None
class Needy(MicroService):
    name = "needy"
    def __init__(self, database):
        super().__init__()
"""


@pytest.fixture
def gemstone(tmp_path: Path) -> Iterator[Gemstone]:
    """The command, in a folder with the service ``shop``."""
    with Gemstone(tmp_path) as made:
        yield made


# Help.


@pytest.mark.parametrize(
    "words",
    [
        "run",
        "emit",
        "tail",
        "call",
        "call_raw",
        "services",
        "registry",
        "new-token",
        "dead-letters",
        "transports",
        "doctor",
        "dead-letters show",
    ],
)
def test_every_command_explains_itself_with_an_example(gemstone: Gemstone, words: str) -> None:
    printed, _ = gemstone(*words.split(), "--help")
    assert re.search(rf"gemstone {words}\s", printed)
    assert "Example" in printed or " " in words


def test_the_first_page_lists_the_commands(gemstone: Gemstone) -> None:
    printed, _ = gemstone("--help")
    for words in ("run", "emit", "tail", "call", "services", "registry", "dead-letters", "transports", "doctor"):
        assert re.search(rf"│ {words} ", printed)
    assert "gemstone call http://127.0.0.1:8000 greet who=world" in printed
    assert gemstone("--version")[0].startswith("gemstone_events, version ")


# new-token


def test_a_token_is_new_each_time_and_comes_with_its_hash(gemstone: Gemstone) -> None:
    tokens = set()
    for _ in range(2):
        printed = re.fullmatch(r"token: (\S{43})\nhash:  (\S+)\n", gemstone("new-token")[0])
        assert printed is not None
        assert TokenTable({"shop": printed[2]})(printed[1]) == Principal("shop")
        tokens.add(printed[1])
    assert len(tokens) == 2


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
    gemstone.write("gemstone.toml", 'endpoint = "/file"\nevent_store = "memory:file"\ndata_dir = "file"\n')
    environment = {"GEMSTONE_ENDPOINT": "/environment", "GEMSTONE_SHOP_EVENT_STORE": "sqlite:///environment.db"}
    shop = gemstone.start("run", "shop", "--endpoint", "/option", environment=environment)
    shop.wait_for(
        r"http://127.0.0.1:\d+/option; calls: sqlite:///file/bus.db#shop; events: sqlite:///file/bus.db; "
        r"store: sqlite:///environment.db"
    )


def test_several_services_share_a_process_and_an_assignment_is_for_one(gemstone: Gemstone) -> None:
    gemstone.write("other.py", SHOP.replace("Shop", "Other").replace('"shop"', '"other"'))
    port = free_port()
    both = gemstone.start("run", "shop", "other.py", "--port=none", f"--set=other.port={port}", "--log_level=warning")
    call = command("call", f"http://127.0.0.1:{port}", "greet")
    eventually(
        lambda: re.match("version", subprocess.run(call, capture_output=True, text=True, check=False).stdout),
        lambda: f"{both.lines}",
    )
    both.signal(signal.SIGTERM)
    assert both.status() == 0
    assert both.lines == []


def test_two_services_on_one_port_are_a_clear_error(gemstone: Gemstone) -> None:
    gemstone.write("other.py", SHOP.replace("Shop", "Other").replace('"shop"', '"other"'))
    port = free_port()
    error = fails(gemstone, "run", "shop", "other", "--port", str(port))
    assert error == f"error: shop and other both want port {port}: use --set other.port=NUMBER"


def test_a_port_of_another_program_is_a_clear_error(gemstone: Gemstone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        _, error = gemstone("run", "shop", "--port", str(port), status=1)
    assert error.splitlines()[-1].startswith(f"error: port {port} on '127.0.0.1' is in use by another program")


def test_a_service_that_starts_on_import_is_told_where_to_put_start(gemstone: Gemstone) -> None:
    gemstone.write("eager.py", f"{SHOP}\n\nShop().start()\n")
    error = fails(gemstone, "run", "eager.py")
    assert error == "error: eager.py starts its service on import: put start() under if __name__ == '__main__':"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "there is no module 'nowhere'"),
        (["nowhere.deeper:Shop"], "there is no module 'nowhere'"),
        (["nowhere.py"], "there is no file nowhere.py"),
        (["shop:Chop"], "shop:Chop does not exist: shop has Shop"),
        (["shop:OutOfStock"], "is no service"),
        (["broken"], "importing broken failed: '\\(' was never closed"),
        (["failing"], r"importing failing failed: ZeroDivisionError: .*failing\.py, line 2; --debug shows"),
        (
            ["lacking"],
            r"importing lacking failed: ModuleNotFoundError: No module named 'not_installed' \(.*lacking\.py, line 1;",
        ),
        (
            ["misspelt"],
            r"importing misspelt failed: ImportError: .* 'MicroServce' .* \(.*misspelt\.py, line 2; --debug shows",
        ),
        (["deep"], r"importing deep failed: InvalidPatternError: .*'a\.\.b'.* \(.*deep\.py, line 5; --debug shows"),
        (["json_deep.py"], r"importing json_deep failed: JSONDecodeError: .* \(.*json_deep\.py, line 2; --debug shows"),
        (["unread.py"], r"importing unread failed: SyntaxError: .* \(.*unread\.py, line 2; --debug shows"),
        (["null.py"], "importing null failed: .*null bytes"),
        (
            ["unmade:Unmade"],
            r"making unmade:Unmade failed: NameError: .*'undefined'.* \(.*unmade\.py, line 6; --debug shows",
        ),
        (["unmade:Sum"], r"making unmade:Sum failed: TypeError: .* \(.*unmade\.py, line 10; --debug shows"),
        (["unmade:Needy"], "unmade:Needy cannot be made without arguments: missing a required argument: 'database'"),
        (
            ["two.py"],
            "two.py has 2 services, One, Two: choose one as two.py:One, or run all: gemstone run two.py:One two.py:Two",
        ),
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
    gemstone.write("misspelt.py", "\nfrom gemstone_events import MicroServce\n")
    gemstone.write("json_deep.py", "import json\njson.loads('{')\n")
    gemstone.write("unread.py", "import ast\nast.literal_eval('1 +')\n")
    gemstone.write("null.py", "\0")
    handler = "from gemstone_events import event_handler\n    @event_handler('a..b')\n    def handle(self, body): ...\n"
    gemstone.write("deep.py", f"{service.format('Deep', repr('deep'))}    {handler}")
    gemstone.write("unmade.py", UNMADE)
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
        ["call", "shop", "add", "--broker", "memory://shop"],
        ["call", "shop", "add", "--broker", "amqp://localhost", "--registry", "http://localhost:8700"],
        ["call", "http://127.0.0.1:1", "add", "--broker", "amqp://localhost"],
        ["call", "http://127.0.0.1:1", ""],
        ["call", "http://127.0.0.1:1", "add", "1", "b=2"],
        ["call", "http://127.0.0.1:1", "add", "--header", "nonsense"],
        ["dead-letters", "redrive", "--service", "shop"],
        ["dead-letters", "purge", "1", "--all"],
        ["sing"],
    ],
)
def test_wrong_usage_ends_with_status_2(gemstone: Gemstone, arguments: list[str]) -> None:
    assert fails(gemstone, *arguments, status=2)


def test_output_that_cannot_be_written_is_a_failure() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("transports", "--json"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device (--debug shows where)\n")


def test_a_mistake_in_an_installed_service_is_told_with_its_own_line(gemstone: Gemstone) -> None:
    packages = gemstone.folder / "site-packages"
    (packages / "installed").mkdir(parents=True)
    (packages / "installed" / "__init__.py").write_text("import json\njson.loads('{')\n")
    error = fails(gemstone, "run", "installed:Shop", environment={"PYTHONPATH": str(packages)})
    assert re.search(
        r"importing installed failed: JSONDecodeError: .* \(.*installed/__init__\.py, line 2; --debug", error
    )


def test_debug_shows_the_traceback(gemstone: Gemstone) -> None:
    gemstone.write("failing.py", "\n1 / 0\n")
    done = subprocess.run(
        command("run", "failing", "--debug"), cwd=gemstone.folder, capture_output=True, text=True, check=False
    )
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


async def test_a_signal_while_a_service_is_being_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reloader = Reloader(["registry", "--port=0"], [tmp_path])
    start = asyncio.create_subprocess_exec
    children = []

    async def start_and_signal(*words: str) -> asyncio.subprocess.Process:
        children.append(await start(*words))
        reloader._on_signal()
        return children[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_and_signal)
    try:
        async with asyncio.timeout(SECONDS):
            assert await reloader.run() == 0
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                await child.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_reloader_that_waits_for_a_change_ends_well_on_a_signal(gemstone: Gemstone, number: signal.Signals) -> None:
    gemstone.write("shop.py", "print(")
    shop = gemstone.start("run", "shop", "--reload")
    shop.wait_for("waiting for a change")
    shop.signal(number)
    assert shop.status() == 0


def test_a_command_whose_output_is_closed_does_its_work_all_the_same(gemstone: Gemstone) -> None:
    for name in ("describe", "call"):
        target = ["shop.py"] if name == "describe" else [start_shop(gemstone)[1], "add", "2"]
        closed = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command(name, *target)]
        done = subprocess.run(closed, cwd=gemstone.folder, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
