"""What ``gemstone call`` reads and prints."""

import json
from pathlib import Path

import pytest
import rich_click as click

from gemstone_events.cli.call import outcome_of, read_params, show
from gemstone_events.cli.command import Failure
from gemstone_events.cli.credentials import read_headers, read_hmac_key
from gemstone_events.rpc.authentication.credentials import HmacKey
from gemstone_events.rpc.call_errors import CallTimeoutError, OutcomeUnknownError, called_service_error
from gemstone_events.strict_json import JsonValue


@pytest.mark.parametrize(
    ("texts", "params"),
    [
        ([], []),
        (["1", "Ada", '"1"', "[1]", "null"], [1, "Ada", "1", [1], None]),
        (["a=1", "b=Ada", "c="], {"a": 1, "b": "Ada", "c": ""}),
    ],
)
def test_parameters_go_by_place_or_by_name(texts: list[str], params: JsonValue) -> None:
    assert read_params(texts) == params


@pytest.mark.parametrize("texts", [["1", "a=2"], ["a=1", "2"], ["a=1", "a=2"]])
def test_parameters_that_go_both_ways_or_twice_are_a_wrong_usage(texts: list[str]) -> None:
    with pytest.raises(click.UsageError):
        read_params(texts)


def test_a_header_is_a_name_and_a_value() -> None:
    assert read_headers(["Authorization:  Bearer a:b "]) == {"authorization": "Bearer a:b"}


@pytest.mark.parametrize("text", ["nonsense", ":x", " : x", "a:b\nc", "a b:c"])
def test_what_is_no_header_is_a_wrong_usage(text: str) -> None:
    with pytest.raises(click.UsageError, match="KEY:VALUE"):
        read_headers([text])


def test_headers_of_a_file_are_sent_and_those_of_the_command_line_go_before_them(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("Authorization: Bearer a:b\n\nX-Api-Token:1\n")
    (tmp_path / "two").write_text("x-api-token: 2")
    files = [str(tmp_path / name) for name in ("one", "two")]
    assert read_headers([], files) == {"authorization": "Bearer a:b", "x-api-token": "2"}
    assert read_headers(["X-Api-Token: 3"], files)["x-api-token"] == "3"


def test_a_file_without_headers_is_told_by_line_and_not_by_what_is_in_it(tmp_path: Path) -> None:
    wrong = tmp_path / "headers"
    wrong.write_text("X-Key: 1\n\nsecret\n")
    with pytest.raises(Failure, match=f"line 3 of the header file {wrong} is no header: write KEY:VALUE") as caught:
        read_headers([], [str(wrong)])
    assert "secret" not in caught.value.message
    with pytest.raises(Failure, match="cannot be read: No such file"):
        read_headers([], [str(tmp_path / "nothing")])


SECRET = "a secret of more than 16 bytes"


@pytest.mark.parametrize(
    ("target", "audience", "signed_for"),
    [
        ("billing", None, "billing"),
        ("amqp://localhost#billing", None, "billing"),
        ("billing", "desk", "desk"),
        ("http://127.0.0.1:1/api", "", ""),
        ("b*", "billing", "billing"),
    ],
)
def test_a_call_is_signed_for_the_service_that_is_called(
    target: str, audience: str | None, signed_for: str, tmp_path: Path
) -> None:
    file = tmp_path / "a:b"
    file.write_text(f"{SECRET}\n")
    assert read_hmac_key(f"shop:{file}", audience, target) == HmacKey("shop", SECRET, signed_for)


def test_without_a_key_nothing_is_signed() -> None:
    assert read_hmac_key(None, None, "billing") is None


@pytest.mark.parametrize(
    ("key", "audience", "target", "told"),
    [
        ("shop", None, "billing", "--hmac-key takes ID:FILE"),
        (":file", None, "billing", "--hmac-key takes ID:FILE"),
        (None, "billing", "billing", "--audience goes with --hmac-key"),
        (
            "shop:file",
            None,
            "http://ada:pw@host/api",
            r"'http://ada:\*\*\*@host/api' does not say which service is called",
        ),
        ("shop:file", None, "b*", "--audience NAME"),
    ],
)
def test_a_key_that_cannot_be_meant_is_a_wrong_usage(
    key: str | None, audience: str | None, target: str, told: str
) -> None:
    with pytest.raises(click.UsageError, match=told):
        read_hmac_key(key, audience, target)


@pytest.mark.parametrize(
    ("result", "as_json", "printed"),
    [
        ("text", False, "text\n"),
        ("text", True, '"text"\n'),
        (None, False, "null\n"),
        ({"a": [1]}, True, '{"a":[1]}\n'),
        ({"a": 1}, False, '{\n  "a": 1\n}\n'),
    ],
)
def test_a_result_is_printed_as_text_or_as_json(
    result: JsonValue, as_json: bool, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(result, notify=False, as_json=as_json) == 0
    assert capsys.readouterr() == (printed, "")


def test_a_notification_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(None, notify=True, as_json=True) == 0
    assert capsys.readouterr() == ("", "")


def test_an_error_of_the_service_is_shown_with_all_that_it_says_and_obeyed_by_no_terminal() -> None:
    with pytest.raises(Failure) as caught:
        show(called_service_error(1001, "Out of\x1b[31m stock", {"left": 0}), notify=False, as_json=False)
    assert caught.value.message == 'Out of\\x1b[31m stock (code 1001)\n{\n  "left": 0\n}'


def test_an_error_of_the_service_is_an_object_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(called_service_error(1001, "Out of stock", {"left": 0}), notify=True, as_json=True) == 1
    printed, error = capsys.readouterr()
    assert printed == ""
    assert json.loads(error) == {"error": {"code": 1001, "message": "Out of stock", "data": {"left": 0}}}


async def fail_with(error: OutcomeUnknownError) -> JsonValue:
    """A call whose outcome is unknown."""
    raise error


@pytest.mark.parametrize(
    "said",
    [
        "the connection broke",
        "billing gave no answer in time; it may still carry it out",
        "no answer of billing within 1.000 s: it may have been carried out",
    ],
)
async def test_that_a_call_may_have_been_carried_out_is_said_once(said: str) -> None:
    with pytest.raises(Failure) as caught:
        await outcome_of(fail_with(CallTimeoutError(said)))
    assert caught.value.message.startswith(said)
    assert caught.value.message.count("it may ") == 1
