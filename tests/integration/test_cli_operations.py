"""``gemstone dead-letters``, ``transports`` and ``doctor``, as people run them."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemstone_events.amqp_url import parse_url
from gemstone_events.cli.connections import store_option
from tests.integration.cli_process import ENVIRONMENT, SHOP, Gemstone, Running, command, fails, start_shop

NOBODY = 65534
# Root without its powers: its own files are open to it, and another user's are not.
WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture
def gemstone(tmp_path: Path) -> Iterator[Gemstone]:
    """The command, in a folder with the service ``shop``."""
    with Gemstone(tmp_path) as made:
        yield made


def levels(findings: list[dict[str, str]], text: str) -> list[str]:
    """Return how bad the findings that hold ``text`` are."""
    return [finding["level"] for finding in findings if re.search(text, f"{finding['subject']}: {finding['detail']}")]


def bury(gemstone: Gemstone, count: int) -> Running:
    """Start the service and have it give up ``count`` events."""
    shop, _ = start_shop(gemstone)
    for number in range(count):
        gemstone("emit", "order.broken", f"number={number}")
    shop.wait_for("(?s)" + "gave up event.*" * count)
    return shop


# dead-letters


def test_dead_letters_are_listed_shown_redriven_and_purged(gemstone: Gemstone) -> None:
    shop = bury(gemstone, 2)
    letters = json.loads(gemstone("dead-letters", "list", "--json")[0])
    assert [(letter["event"], letter["reason"], letter["attempts"]) for letter in letters] == [
        ("order.broken", "exhausted", 1)
    ] * 2
    table = gemstone("dead-letters", "list")[0].splitlines()
    assert table[0].split()[:4] == ["ID", "SERVICE", "DIED", "EVENT"]
    assert table[1].split()[:2] == [letters[0]["id"], "shop"]
    assert table[1].rstrip().endswith("ValueError: there is no such order")

    shown = gemstone("dead-letters", "show", letters[0]["id"])[0]
    assert '"number": 1' in shown
    assert "Traceback (most recent call last)" in shown
    whole = json.loads(gemstone("dead-letters", "show", letters[0]["id"], "--json")[0])
    assert (whole["message"]["data"], whole["message"]["source"]) == ({"number": 1}, "gemstone-cli")

    seen = len(shop.lines)
    assert gemstone("dead-letters", "redrive", letters[0]["id"]) == ("1 redriven\n", "")
    shop.wait_for(f"gave up event {letters[0]['event_id']}", seen)
    assert len(json.loads(gemstone("dead-letters", "list", "--json")[0])) == 2
    assert gemstone("dead-letters", "redrive", "--all", "--event", "other.*", "--json") == (
        '{"redriven":0,"found":0}\n',
        "",
    )

    assert "nothing was deleted" in gemstone("dead-letters", "purge", "--all", stdin="n\n", status=1)[1]
    assert gemstone("dead-letters", "purge", "--all", status=1)[1].splitlines() == [
        "Delete all dead letters of events that match # for ever? [y/N]: ",
        "error: nothing was deleted, for nobody answered: give --yes",
    ]
    assert gemstone("dead-letters", "purge", letters[1]["id"], "--yes") == ("1 purged\n", "")
    assert gemstone("dead-letters", "purge", "--all", "--event=order.#", stdin="y\n")[0] == "1 purged\n"
    assert gemstone("dead-letters", "list") == ("no dead letters\n", "")


def test_an_unknown_dead_letter_stops_the_whole_command(gemstone: Gemstone) -> None:
    bury(gemstone, 1)
    letter = json.loads(gemstone("dead-letters", "list", "--json")[0])[0]["id"]
    assert "there is no dead letter 'x'" in fails(gemstone, "dead-letters", "purge", letter, "x", "--yes")
    assert "there is no dead letter 'x'" in fails(gemstone, "dead-letters", "show", "x")
    assert len(json.loads(gemstone("dead-letters", "list", "--json")[0])) == 1


def test_looking_takes_all_stores_and_changing_asks_for_one(gemstone: Gemstone) -> None:
    assert "there is no store in .gemstone/" in fails(gemstone, "dead-letters", "list")
    gemstone.write("other.py", SHOP.replace("Shop", "Other").replace('"shop"', '"other"'))
    both = gemstone.start("run", "shop", "other")
    both.wait_for("other is ready")
    gemstone("emit", "order.broken")
    both.wait_for("(?s)gave up event.*gave up event")
    letters = json.loads(gemstone("dead-letters", "list", "--json")[0])
    assert {letter["service"] for letter in letters} == {"shop", "other"}
    for letter in letters:
        assert re.search(rf"service +{letter['service']}\n", gemstone("dead-letters", "show", letter["id"])[0])
    assert len(json.loads(gemstone("dead-letters", "list", "--json", "--limit=1")[0])) == 1
    error = fails(gemstone, "dead-letters", "redrive", "--all", status=2)
    assert error.endswith("there are 2 stores: choose one with --service NAME (other, shop)")
    (other,) = json.loads(gemstone("dead-letters", "list", "--store=sqlite:///.gemstone/other.db", "--json")[0])
    assert other["service"] is None
    assert gemstone("dead-letters", "purge", "--all", "--yes", "--service=other") == ("1 purged\n", "")
    assert "there is no store .gemstone/third.db" in fails(gemstone, "dead-letters", "list", "--service", "third")


def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(gemstone: Gemstone) -> None:
    before = (gemstone.folder / "shop.py").read_bytes()
    error = fails(gemstone, "dead-letters", "list", "--store", "sqlite:///shop.py")
    assert "shop.py" in error
    fails(gemstone, "tail", "--store", "sqlite:///shop.py")
    assert (gemstone.folder / "shop.py").read_bytes() == before
    gemstone("emit", "a.b")
    assert fails(gemstone, "dead-letters", "list", "--store", "sqlite:///.gemstone/bus.db")


# transports


def test_transports_shows_what_each_can_keep_and_third_parties_too(gemstone: Gemstone) -> None:
    folder = gemstone.folder / "pigeons-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[gemstone_events.transports]\ncarrier-pigeon = pigeons:open_url\n"
        "[gemstone_events.rpc_clients]\nsmoke = gemstone_events.rpc.wires.memory.client:MemoryClientWire\n"
        "[gemstone_events.rpc_servers]\ncarrier-pigeon = pigeons:serve\n"
    )
    found = json.loads(gemstone("transports", "--json")[0])
    assert found["transports"]["sqlite"] == {
        "durable": True,
        "across_processes": True,
        "across_machines": False,
        "work_queues": True,
        "redelivers": True,
    }
    assert found["transports"]["memory"]["across_processes"] is False
    assert found["transports"]["amqps"]["across_machines"] is True
    assert found["stores"] == {**found["stores"], "memory": {"durable": False}, "sqlite": {"durable": True}}
    assert "No module named 'pigeons'" in found["transports"]["carrier-pigeon"]["error"]
    assert found["calls"]["amqps"] == {"callable": True, "in_rpc_transports": True}
    assert found["calls"]["https"] == found["calls"]["smoke"] == {"callable": True, "in_rpc_transports": False}
    assert "No module named 'pigeons'" in found["calls"]["carrier-pigeon"]["error"]
    table = gemstone("transports")[0]
    assert re.search(r"(?m)^smoke: +yes +no", table)
    assert re.search(r"(?m)^sqlite: +yes +yes +no +yes +yes", table)
    assert re.search(r"(?m)^carrier-pigeon: .* cannot be used: ", table)
    assert "carrier-pigeon" in fails(gemstone, "emit", "a.b", "--transport", "carrier-pigeon://loft")
    assert not (gemstone.folder / ".gemstone").exists()
    assert not list(gemstone.folder.glob("*.db"))


# doctor


def test_a_healthy_service_has_no_problem(gemstone: Gemstone) -> None:
    bury(gemstone, 1)
    report = json.loads(gemstone("doctor", "shop:Shop", "--json")[0])
    findings = report["findings"]
    assert report["ok"] is True
    assert not levels(findings, "nowhere")
    assert levels(findings, "^Python: 3") == levels(findings, "^SQLite: 3") == levels(findings, "^tornado: ") == ["ok"]
    assert levels(findings, "^shop: declared well: 2 event handlers, 4 methods") == ["ok"]
    assert levels(findings, "bus.db: reachable in") == levels(findings, "shop.db: opened, and intact") == ["ok"]
    assert levels(findings, "GiB free") == levels(findings, "no retries wait") == ["ok"]
    assert levels(findings, "dead letters: 1") == ["warning"]
    assert levels(findings, "relay to sqlite:///.gemstone/bus.db has published everything") == ["ok"]
    table = gemstone("doctor")[0]
    assert re.search(
        r"(?m)^WARNING +sqlite:///.gemstone/shop.db +dead letters: 1 -> see 'gemstone dead-letters list --service shop'",
        table,
    )


def test_doctor_creates_nothing(gemstone: Gemstone) -> None:
    printed, _ = gemstone("doctor", "shop.py")
    assert "does not exist yet" in printed
    assert not (gemstone.folder / ".gemstone").exists()


def test_events_that_wait_for_a_broker_are_a_relay_behind(gemstone: Gemstone) -> None:
    broker = "amqp://me:secret@127.0.0.1:1//"
    gemstone.write("gemstone.toml", f'event_transports = ["sqlite:///.gemstone/bus.db", "{broker}"]\n')
    start_shop(gemstone)
    gemstone("emit", "order.placed", "--transport=sqlite:///.gemstone/bus.db")
    gemstone("tail", "--store=sqlite:///.gemstone/shop.db", "--from-start", "--limit=2")
    printed, error = gemstone("doctor", "shop", "--json", status=1)
    findings = json.loads(printed)["findings"]
    assert levels(findings, r"127\.0\.0\.1:1.* cannot be used now") == ["problem"]
    assert levels(findings, r"the relay to amqp://127\.0\.0\.1:1/%2F is 2 positions behind") == ["warning"]
    assert "secret" not in printed + error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere: there is no module"),
        (["shop", "--store", "sqlite:///shop.py"], "shop.py"),
        (["shop", "--store", "stone://tablet"], "no store answers to"),
        (["--transport", "amqp://127.0.0.1:1//"], "cannot be used now"),
        (["--transport", "sqlite:///shop.py"], "not an intact SQLite database"),
        (["open.py"], "without authentication"),
        (["clash.py"], "declared wrongly|disagree on concurrency"),
    ],
)
def test_what_is_wrong_is_a_problem_and_status_1(gemstone: Gemstone, arguments: list[str], says: str) -> None:
    service = "from gemstone_events import MicroService, event_handler\nclass S(MicroService):\n    name = 's'\n"
    gemstone.write("open.py", f"{service}    host = '0.0.0.0'\n")
    handlers = "    @event_handler('a.b')\n    def a(self, b): ...\n    @event_handler('a.b', concurrency=1)\n    def c(self, b): ...\n"
    gemstone.write("clash.py", service + handlers)
    report = json.loads(gemstone("doctor", *arguments, "--json", status=1)[0])
    assert report["ok"] is False
    problems = [finding for finding in report["findings"] if finding["level"] == "problem"]
    assert len(problems) == 1
    assert levels(problems, says) == ["problem"]
    # What is wrong with a file says itself how to mend it.
    assert bool(problems[0]["remedy"]) is ("sqlite:///shop.py" not in arguments)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_named_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    folder = tmp_path / ".gemstone"
    folder.mkdir(mode=0o700)
    for name in ("bus.db", "shop.db"):
        (folder / name).touch()
    os.chown(folder, NOBODY, NOBODY)
    refusal = (
        ".gemstone/ cannot be looked into (Permission denied): "
        "run this as the user of the service, or give this user access to the folder"
    )

    def run(words: str) -> "subprocess.CompletedProcess[str]":
        argv = [*WITHOUT_CAPABILITIES, *command(*words.split())]
        return subprocess.run(argv, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    for words in ("emit a.b", "tail", "dead-letters list", "dead-letters list --service shop"):
        done = run(words)
        assert (done.returncode, done.stderr) == (1, f"error: {refusal}\n")
    for words in ("doctor --json", "doctor --json --store sqlite:///.gemstone/shop.db"):
        done = run(words)
        problems = [finding for finding in json.loads(done.stdout)["findings"] if finding["level"] == "problem"]
        assert done.returncode == 1
        assert [(found["detail"], found["remedy"]) for found in problems] == [(refusal, "")] * 2


@pytest.mark.parametrize(
    ("url", "option"),
    [
        ("sqlite:///.gemstone/shop.billing.db", "--service shop.billing"),
        ("sqlite:////elsewhere/shop.db", "--store sqlite:////elsewhere/shop.db"),
        ("sqlite:///.gemstone/no name.db", "--store 'sqlite:///.gemstone/no name.db'"),
        ("postgresql://me:secret@db/x", "--store 'postgresql://me:***@db/x'"),
    ],
)
def test_a_store_is_named_by_the_shortest_option_that_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_option(url) == option


def test_a_broken_configuration_file_is_a_problem(gemstone: Gemstone) -> None:
    gemstone.write("gemstone.toml", "port = ")
    findings = json.loads(gemstone("doctor", "--json", status=1)[0])["findings"]
    assert levels(findings, "gemstone.toml is not TOML") == ["problem"]


def test_a_rabbitmq_broker_is_reachable_or_its_refusal_is_a_problem(gemstone: Gemstone, rabbitmq_url: str) -> None:
    printed, _ = gemstone("doctor", "--transport", rabbitmq_url, "--json")
    assert levels(json.loads(printed)["findings"], f"^{parse_url(rabbitmq_url).address}: reachable in") == ["ok"]
    printed, _ = gemstone(
        "doctor", "--transport", rabbitmq_url.replace("guest:guest", "guest:wrong"), "--json", status=1
    )
    problems = [finding for finding in json.loads(printed)["findings"] if finding["level"] == "problem"]
    assert len(problems) == 1
    assert "password" in problems[0]["remedy"]
    assert "guest:wrong" not in printed
