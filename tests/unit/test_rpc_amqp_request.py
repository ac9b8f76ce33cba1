"""What messages ask for, and may."""

import pytest
from pamqp import commands as spec

from gemstone_events.rpc.wires.amqp.incoming import Received
from gemstone_events.rpc.wires.amqp.request import ForbiddenReplyError, ServedRequest, check_reply_to, read_request


def read(body: bytes | None = b"1", size: int = 1, **properties: object) -> ServedRequest:
    received = Received("calls", 1, False, spec.Basic.Properties(**properties), body, size)  # type: ignore[arg-type]
    return read_request(received, "shop", 10)


@pytest.mark.parametrize(
    "reply_to",
    ["shop.rpc.orders", "shop.rpc.presence.1", "shop.", "amq.topic", "amq.", "amq.rabbitmq.trace", "x" * 256],
)
def test_answers_go_to_no_queue_that_is_not_for_them(reply_to: str) -> None:
    with pytest.raises(ForbiddenReplyError):
        check_reply_to(reply_to, "shop")
    with pytest.raises(ForbiddenReplyError):
        read(reply_to=reply_to)


@pytest.mark.parametrize(
    "reply_to", ["amq.rabbitmq.reply-to.g1h2AA", "amq.gen-Xa2", "replies", "shopping.replies", "shop", "x" * 255]
)
def test_answers_go_to_queues_of_the_callers_own(reply_to: str) -> None:
    request = read(reply_to=reply_to, correlation_id="7")
    assert (request.reply_to, request.correlation_id, request.refusal) == (reply_to, "7", None)


@pytest.mark.parametrize(
    ("properties", "timeout"),
    [
        ({}, None),
        ({"headers": {"gemstone-timeout": "2.5"}}, 2.5),
        ({"headers": {"Gemstone-Timeout": 3}}, 3.0),
        ({"headers": {"gemstone-timeout": "0"}, "expiration": "5000"}, 0.0),
        ({"headers": {"gemstone-timeout": "soon"}, "expiration": "5000"}, 5.0),
        ({"headers": {"gemstone-timeout": True}}, None),
        ({"expiration": "250"}, 0.25),
        ({"expiration": "-1"}, None),
        ({"expiration": "1" * 30}, None),
    ],
)
def test_the_timeout_is_the_callers(properties: dict[str, object], timeout: float | None) -> None:
    assert read(**properties).context.timeout == timeout  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        (None, True),
        ("", True),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/plain", False),
        ("application/x-python-serialize", False),
        ("unreadable", False),
    ],
)
def test_only_json_is_taken(content_type: str | None, taken: bool) -> None:
    assert (read(content_type=content_type).refusal is None) is taken


@pytest.mark.parametrize(("encoding", "taken"), [(None, True), ("UTF-8", True), ("utf8", True), ("gzip", False)])
def test_only_plain_utf_8_is_taken(encoding: str | None, taken: bool) -> None:
    assert (read(content_encoding=encoding).refusal is None) is taken


def test_what_is_too_long_is_refused() -> None:
    assert read(b"1234567890", 10).refusal is None
    for refused in (read(None, 11), read(headers={"x": "y" * 16_384})):
        assert refused.refusal is not None
        assert refused.body == b""
    assert read(headers={"x": "y" * 16_383}).refusal is None


def test_headers_are_texts_by_names_in_lower_case() -> None:
    headers = {"A": "1", "b": 2, "c": 0.5, "d": b"bytes", "e": True, "f": None, "g": {}, "h": [], "i": "two\nlines"}
    assert read(headers=headers).context.headers == {"a": "1", "b": "2", "c": "0.5", "d": "bytes"}


def test_the_peer_is_the_user_that_the_broker_vouches_for() -> None:
    assert read(user_id="ann", app_id="shop").context.peer == "amqp:ann"
    assert read(user_id="a\nnn").context.peer == "amqp:ann"
    # Anybody can call himself anything there, and failed attempts are counted by the peer.
    assert read(app_id="shop").context.peer == "amqp:"
    assert read().context.peer == "amqp:"
