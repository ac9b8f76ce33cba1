"""``gemstone emit``, ``tail`` and ``call``, as people run them: on real buses, stores, services and brokers."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.integration.cli_process import Gemstone, fails, start_shop


@pytest.fixture
def gemstone(tmp_path: Path) -> Iterator[Gemstone]:
    """The command, in a folder with the service ``shop``."""
    with Gemstone(tmp_path) as made:
        yield made


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
        order, invoice = (json.loads(line) for line in tail.lines if line.startswith("{"))
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
    assert tail.lines[-1].endswith('last.one  gemstone-cli  {"a":[true]}')
    start_shop(gemstone)
    gemstone("tail", "--store=sqlite:///.gemstone/shop.db", "--from-start", "--limit=2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_tail_well(gemstone: Gemstone, number: signal.Signals) -> None:
    tail = gemstone.start("tail")
    tail.wait_for("watching")
    tail.signal(number)
    assert tail.status() == 0
    assert tail.lines[-1].startswith("watching")


def test_a_tail_that_saw_too_little_in_time_says_so(gemstone: Gemstone) -> None:
    assert gemstone("tail", "--timeout=0.2")[0] == ""
    _, error = gemstone("tail", "--timeout=0.2", "--limit=3", status=1)
    assert error.splitlines()[-1] == "error: 0 of 3 events came within 0.2 seconds"


def test_a_new_bus_is_pointed_out(gemstone: Gemstone) -> None:
    assert "note: no service has used the bus" in gemstone("emit", "a.b")[1]
    assert gemstone("emit", "a.b", "--id=7") == ("7\n", "")


def test_an_event_that_is_not_confirmed_is_a_failure_that_names_its_id(gemstone: Gemstone) -> None:
    gemstone("emit", "a.b")
    other = apsw.Connection(str(gemstone.folder / ".gemstone" / "bus.db"))
    other.execute("BEGIN IMMEDIATE")
    error = fails(gemstone, "emit", "a.b", "--id=7", "--timeout=1")
    assert re.match(r"error: not confirmed, (refused|unknown): .*Its id is 7$", error)
    other.execute("ROLLBACK")
    other.close()
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


# call


def test_a_method_is_called_by_name_and_by_place(gemstone: Gemstone) -> None:
    _, url = start_shop(gemstone)
    assert gemstone("call", url, "add", "a=1", "b=[]", status=1)[1].startswith("error: Internal error (code -32603)")
    assert gemstone("call", url, "add", "1", "2", "--json") == ("3\n", "")
    assert gemstone("call", url.removesuffix("/api"), "add", "a=x", "b=y") == ("xy\n", "")
    printed, timing = gemstone("call_raw", url, "add", "a=1")
    assert (printed, bool(re.fullmatch(r"the call took \d+\.\d{5} seconds\n", timing))) == ("41\n", True)
    assert json.loads(gemstone("call", url, "get_service_specs")[0])["name"] == "shop"
    assert gemstone("call", url, "add", "1", "--notify") == ("", "")


def test_an_error_of_the_service_is_shown_with_code_message_and_data(gemstone: Gemstone) -> None:
    _, url = start_shop(gemstone)
    printed, error = gemstone("call", url, "sell", status=1)
    assert (printed, error.split("\n", 1)[0]) == ("", "error: Out of stock (code 1001)")
    assert json.loads(error.split("\n", 1)[1]) == {"left": 0}
    printed, error = gemstone("call", url, "sell", "--json", status=1)
    assert (printed, json.loads(error)["error"]["code"]) == ("", 1001)
    assert "Method not found (code -32601)" in fails(gemstone, "call", url, "fly")


def test_a_service_that_cannot_be_called_is_a_clear_error(gemstone: Gemstone) -> None:
    assert "http://127.0.0.1:1/api cannot be reached" in fails(gemstone, "call", "http://me:secret@127.0.0.1:1", "x")
    _, url = start_shop(gemstone)
    assert "HTTP 404 Not Found" in fails(gemstone, "call", f"{url}/elsewhere", "add", "1")
    assert "HTTP 403" in fails(gemstone, "call", url, "add", "1", "--header", "Origin: https://evil.example")
    assert "HTTP 403" in fails(
        gemstone, "call", url, "add", "1", "--notify", "--header", "Origin: https://evil.example"
    )


# RabbitMQ


def test_events_go_through_rabbitmq(gemstone: Gemstone, rabbitmq_url: str, namespace: str) -> None:
    where = ("--transport", rabbitmq_url, "--namespace", namespace)
    tail = gemstone.start("tail", "order.*", "--limit=1", "--json", *where)
    tail.wait_for("watching")
    gemstone("emit", "invoice.issued", *where)
    event_id = gemstone("emit", "order.placed", "id=42", *where)[0].strip()
    assert tail.status() == 0
    assert json.loads(tail.lines[1])["id"] == event_id
    assert "guest:guest" not in "\n".join(tail.lines)


@pytest.mark.parametrize("words", [["emit", "a.b"], ["tail"], ["run", "shop"]])
def test_a_wrong_password_is_a_clear_error_that_does_not_show_it(
    gemstone: Gemstone, rabbitmq_url: str, words: list[str]
) -> None:
    option = "--event-transports" if words[0] == "run" else "--transport"
    _, error = gemstone(*words, option, rabbitmq_url.replace("guest:guest", "guest:wrong-one"), status=1)
    assert error.splitlines()[-1].startswith("error: ")
    assert "wrong-one" not in error
