"""CloudEvents over AMQP: what we write is what py-amqp reads, and whatever strangers write is survived."""

from datetime import UTC, datetime

import amqp
import pytest
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st

from gemstone_events import codec
from gemstone_events.errors import DecodeError
from gemstone_events.message import Message
from gemstone_events.transports.amqp_frames import BODY, HEADER, METHOD, FrameSplitter, arguments_of
from gemstone_events.transports.amqp_messages import AttributeDecoder, MessageEncoder

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.sampled_from(
    ["id", "type", "source", "specversion", "time", "subject", "traceparent", "sequence", "color", "partitionkey"]
)
ATTRIBUTES = st.dictionaries(NAMES, TEXT, max_size=10)


def encoder(frame_max: int = 4096) -> MessageEncoder:
    return MessageEncoder(5, frame_max, "ns.events", lambda name: f"ns.work.{name}", "billing")


def frames_of(stream: bytes) -> list[tuple[int, bytes]]:
    seen: list[tuple[int, bytes]] = []
    FrameSplitter({5: lambda kind, data, start, end: seen.append((kind, data[start:end]))}, 131072).feed(stream)
    return seen


def decoded(payload: bytes, decoder: AttributeDecoder | None = None) -> dict[str, str]:
    return (decoder or AttributeDecoder()).attributes(payload, 0, len(payload), b"route")


def header(properties: bytes) -> bytes:
    """A content header's payload as another client would build it."""
    return b"\x00\x3c\x00\x00" + (3).to_bytes(8, "big") + properties


def foreign(**properties: object) -> bytes:
    return header(amqp.Message(b"abc", **properties)._serialize_properties())


@given(ATTRIBUTES, st.binary(max_size=10_000), st.booleans())
def test_a_message_comes_back_as_it_was(attributes: dict[str, str], body: bytes, broadcast: bool) -> None:
    kinds, payloads = zip(*frames_of(encoder().frames(Message(attributes, body, broadcast))), strict=True)
    assert kinds[:2] == (METHOD, HEADER)
    assert set(kinds[2:]) <= {BODY}
    assert max(map(len, payloads)) <= 4096 - 8
    assert b"".join(payloads[2:]) == body
    # An empty type or id is written into the properties, and so is found there where there was none.
    found = {name: value for name, value in decoded(payloads[1]).items() if value or name in attributes}
    assert found == attributes


@given(ATTRIBUTES)
def test_py_amqp_reads_what_we_write(attributes: dict[str, str]) -> None:
    frames = frames_of(encoder().frames(Message({**attributes, "datacontenttype": "application/json"}, b"abc")))
    read = amqp.Message()
    read.inbound_header(frames[1][1])
    assert read.properties["application_headers"] == {f"cloudEvents:{key}": attributes[key] for key in attributes}
    assert read.properties["content_type"] == "application/json"
    assert read.properties["delivery_mode"] == 2
    assert read.properties.get("message_id") == attributes.get("id", "")
    assert read.properties["type"] == attributes.get("type", "")
    assert read.properties["app_id"] == "billing"
    assert read.body_size == 3


def test_broadcasts_go_to_the_exchange_and_work_to_its_queue_or_back() -> None:
    for broadcast, expected in ((True, ["ns.events", "a.b", False]), (False, ["", "ns.work.a.b", True])):
        payload = frames_of(encoder().frames(Message({"type": "a.b"}, b"", broadcast)))[0][1]
        assert arguments_of(payload, 0, len(payload), "Bssb")[1:] == expected


@given(st.lists(ATTRIBUTES, min_size=1, max_size=8))
def test_what_was_remembered_of_one_message_never_shows_in_another(messages: list[dict[str, str]]) -> None:
    writer, reader = encoder(), AttributeDecoder()
    for attributes in [*messages, *messages]:
        payload = frames_of(writer.frames(Message(attributes, b"")))[1][1]
        found = {name: value for name, value in decoded(payload, reader).items() if value or name in attributes}
        assert found == attributes


def test_attributes_that_no_frame_has_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match="one AMQP frame"):
        encoder().frames(Message({"type": "a", "subject": "x" * 4096}, b""))
    with pytest.raises(ValueError, match="255"):
        encoder().frames(Message({"type": "a" * 256}, b""))
    with pytest.raises(ValueError, match="255"):
        encoder().frames(Message({"n" * 250: "x"}, b""))
    with pytest.raises(ValueError, match="surrogates"):
        encoder().frames(Message({"type": "a", "source": "\ud800"}, b""))


def test_both_prefixes_of_the_binding_are_read_and_other_headers_left_alone() -> None:
    payload = foreign(
        content_type="application/json",
        application_headers={"cloudEvents_source": "a", "cloudEvents:subject": "b", "x-tries": 3, "specversion": "no"},
    )
    assert decoded(payload) == {"source": "a", "subject": "b", "datacontenttype": "application/json"}


def test_values_that_are_no_text_are_written_as_cloudevents_does() -> None:
    headers = {
        "flag": True,
        "off": False,
        "number": -5,
        "large": 2**40,
        "moment": datetime(2026, 1, 2, 3, 4, 5),
        "nested": {"a": 1},
        "many": [1, 2],
        "float": 1.5,
        "nothing": None,
    }
    payload = foreign(application_headers={f"cloudEvents:{name}": value for name, value in headers.items()})
    assert decoded(payload) == {
        "flag": "true",
        "off": "false",
        "number": "-5",
        "large": str(2**40),
        "moment": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).isoformat(),
    }


def test_a_message_without_headers_keeps_what_a_plain_client_can_say() -> None:
    payload = foreign(
        content_type="application/json",
        content_encoding="UTF-8",
        delivery_mode=2,
        priority=1,
        correlation_id="c",
        reply_to="r",
        expiration="9",
        message_id="m-1",
        timestamp=1_767_225_600,
        type="order.placed",
        user_id="guest",
    )
    assert decoded(payload) == {"id": "m-1", "type": "order.placed", "datacontenttype": "application/json"}
    assert decoded(foreign()) == {}


EVENT = {
    "cloudEvents:specversion": "1.0",
    "cloudEvents:id": "1",
    "cloudEvents:type": "a",
    "cloudEvents:source": "s",
    "cloudEvents:datacontenttype": "application/json",
}


@pytest.mark.parametrize(
    "payload",
    [
        foreign(content_type="application/json", content_encoding="gzip", application_headers=EVENT),
        foreign(content_encoding="gzip", application_headers=EVENT),
        foreign(content_type="application/json", application_headers={**EVENT, "compression": "bzip2"}),
        foreign(application_headers={"compression": "application/x-gzip", **EVENT}),
        foreign(content_type="application/x-python-serialize", application_headers=EVENT),
    ],
)
def test_encoded_or_compressed_content_is_never_taken_for_json(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="content type"):
        codec.decode(Message(decoded(payload), b"{}"))


def test_a_header_that_is_not_utf8_makes_the_message_undecodable_and_nothing_worse() -> None:
    payload = header(b"\x20\x00" + dumps("F", [{"cloudEvents:id": "1", "cloudEvents:source": "????"}]))
    payload = payload.replace(b"????", b"\xff\xfe\xfd\xfc")
    with pytest.raises(DecodeError):
        codec.decode(Message(decoded(payload), b"{}"))
    assert decoded(payload)["id"] == "1"


@given(st.binary(max_size=200))
def test_no_header_bytes_are_fatal(properties: bytes) -> None:
    assert isinstance(decoded(header(properties)), dict)


@given(st.data())
def test_no_damage_to_a_header_is_fatal(data: st.DataObject) -> None:
    payload = bytearray(foreign(content_type="application/json", application_headers={**EVENT, "n": 1}, message_id="9"))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(12, len(payload) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(decoded(bytes(payload)), dict)
