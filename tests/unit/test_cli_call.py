"""What ``gemstone call`` reads and prints."""

import json

import pytest
import rich_click as click

from gemstone_events.cli.arguments import read_headers
from gemstone_events.cli.call import outcome_of, read_params, show
from gemstone_events.cli.command import Failure
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
