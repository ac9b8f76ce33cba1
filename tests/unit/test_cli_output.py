"""What commands and the log show of things that come from outside."""

import base64
import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gemstone_events import ServiceConfigurationError
from gemstone_events.cli.check_software import check_version
from gemstone_events.cli.check_transport import check_encryption
from gemstone_events.cli.findings import Level
from gemstone_events.cli.messages import body_line, structured
from gemstone_events.logs import LineFormatter, printable, printable_lines, setup_logging
from gemstone_events.message import Message


@contextmanager
def bare_root() -> Iterator[logging.Logger]:
    """The root logger as a new program has it: without handlers. pytest adds its own when a test's body begins."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_a_terminal_is_never_told_what_to_do() -> None:
    assert printable("a\x1b]0;title\x07\x9b\u202e\nÄ€ ") == r"a\x1b]0;title\x07\x9b\u202e\nÄ€ "
    assert printable_lines("a\tb\n\x1b[31m") == "a       b\n\\x1b[31m"


def test_a_message_is_shown_in_the_json_format_of_cloudevents() -> None:
    message = Message({"specversion": "1.0", "id": "7", "type": "a.b"}, b'{"x":[1]}', broadcast=False)
    assert structured(message) == {
        "specversion": "1.0",
        "id": "7",
        "type": "a.b",
        "broadcast": False,
        "data": {"x": [1]},
    }


def test_a_body_that_cannot_be_read_is_shown_all_the_same() -> None:
    message = Message({}, b"\xff\x1b")
    assert structured(message) == {"broadcast": True, "data_base64": base64.b64encode(b"\xff\x1b").decode()}
    assert body_line(message) == r"\xff\x1b"


def test_a_log_line_has_time_level_service_and_message() -> None:
    record = logging.makeLogRecord({"name": "gemstone_events.billing", "levelname": "INFO", "msg": "x\x1b[31m\ny"})
    line = LineFormatter().format(record)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    billing: x\\x1b\[31m\ny", line)


def test_logging_is_set_up_for_a_program_that_has_none() -> None:
    stream = io.StringIO()
    with bare_root():
        setup_logging("warning", stream)
        logging.getLogger("gemstone_events.billing").info("unseen")
        logging.getLogger("gemstone_events.billing").warning("seen")
    assert [line.split(" ", 2)[2] for line in stream.getvalue().splitlines()] == ["WARNING billing: seen"]


def test_logging_that_is_set_up_already_is_left_alone() -> None:
    own = logging.NullHandler()
    with bare_root() as root:
        root.addHandler(own)
        root.setLevel("ERROR")
        setup_logging("debug")
        assert (root.handlers, root.level) == ([own], logging.ERROR)


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ServiceConfigurationError, match="log_level cannot be 'loud': choose debug, info"):
        setup_logging("loud")


@pytest.mark.parametrize(
    ("installed", "bounds", "level"),
    [
        ("5.4.2", ">=5.4.2", Level.OK),
        ("5.10", ">=5.7,<6", Level.OK),
        ("6.0", ">=5.7,<6", Level.PROBLEM),
        ("5.4.1", ">=5.4.2", Level.PROBLEM),
        ("3.12.0rc1", ">=3.11", Level.OK),
        ("1.0", "", Level.OK),
    ],
)
def test_versions_are_compared_with_their_bounds(installed: str, bounds: str, level: Level) -> None:
    assert check_version("thing", installed, bounds).level is level


@pytest.mark.parametrize(
    ("url", "is_warned_of"),
    [
        ("amqp://user:secret@broker.example/shop", True),
        ("redis://broker.example", True),
        ("postgresql://db.example/x", True),
        ("postgresql://db.example/x?sslmode=verify-full", False),
        ("amqps://broker.example/shop", False),
        ("amqp://127.0.0.1//", False),
        ("amqp://[::1]//", False),
        ("sqlite:///.gemstone/bus.db", False),
    ],
)
def test_plaintext_beyond_this_machine_is_warned_of_without_the_password(url: str, is_warned_of: bool) -> None:
    findings = check_encryption(url)
    assert [finding.level for finding in findings] == [Level.WARNING] * is_warned_of
    assert not any("secret" in f"{finding}" for finding in findings)
