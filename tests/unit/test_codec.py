"""Events to messages and back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemstone_events.codec import MAX_ATTRIBUTE_BYTES, MAX_BODY_BYTES, decode, encode
from gemstone_events.errors import DecodeError, InvalidEventError, InvalidNameError
from gemstone_events.event import Event, new_id
from gemstone_events.message import Message
from gemstone_events.strict_json import JsonValue

EVENT = Event(id="0199", type="order.placed", source="orders", data={"order": 7}, time=datetime(2026, 1, 2, tzinfo=UTC))
ATTRIBUTES = {
    "specversion": "1.0",
    "id": "0199",
    "type": "order.placed",
    "source": "orders",
    "time": "2026-01-02T00:00:00+00:00",
    "datacontenttype": "application/json",
}

word = st.from_regex(r"[A-Za-z0-9_-]{1,10}", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)
maybe = st.none() | text
bodies: st.SearchStrategy[JsonValue] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
events = st.builds(
    Event,
    id=st.builds(new_id) | text,
    type=st.lists(word, min_size=1, max_size=4).map(".".join),
    source=text,
    data=bodies,
    time=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))])),
    subject=maybe,
    dataschema=maybe,
    correlationid=maybe,
    causationid=maybe,
    traceparent=maybe,
    partitionkey=maybe,
    sequence=maybe,
    extensions=st.dictionaries(st.from_regex(r"ext[a-z]{1,8}", fullmatch=True), text, max_size=3),
)


@given(event=events, broadcast=st.booleans())
def test_what_is_encoded_is_decoded_to_the_same_event(event: Event, broadcast: bool) -> None:
    message = encode(event, broadcast=broadcast)
    assert decode(message) == event
    assert message.broadcast is broadcast
    assert (message.id, message.type) == (event.id, event.type)


def test_a_message_has_the_attribute_names_of_cloudevents() -> None:
    message = encode(EVENT)
    assert message.attributes == ATTRIBUTES
    assert message.body == b'{"order":7}'


@pytest.mark.parametrize("missing", ["specversion", "id", "type", "source"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_message_without_a_required_attribute_is_no_event(missing: str, empty: bool) -> None:
    attributes = {name: value for name, value in ATTRIBUTES.items() if name != missing}
    with pytest.raises(DecodeError, match=f"attributes {missing} are missing"):
        decode(Message({**attributes, missing: ""} if empty else attributes, b"1"))


def test_a_message_without_attributes_names_all_that_is_missing() -> None:
    with pytest.raises(DecodeError, match="specversion, id, type, source"):
        decode(Message({}, b""))


def test_time_is_optional_and_then_the_time_of_reading() -> None:
    before = datetime.now(UTC)
    event = decode(Message({name: value for name, value in ATTRIBUTES.items() if name != "time"}, b"1"))
    assert before <= event.time <= datetime.now(UTC)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"]
)
def test_a_content_type_may_have_parameters_and_any_case(content_type: str) -> None:
    assert decode(Message({**ATTRIBUTES, "datacontenttype": content_type}, b"1")).data == 1


def test_a_content_type_is_optional() -> None:
    attributes = {name: value for name, value in ATTRIBUTES.items() if name != "datacontenttype"}
    assert decode(Message(attributes, b"1")).data == 1


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("specversion", "0.3", "specversion '0.3' is unknown; this program reads 1.0"),
        ("specversion", "9" * 1000, "specversion '9{20}' is unknown"),
        ("datacontenttype", "application/x-python-serialize", "content type .* is not application/json"),
        ("datacontenttype", "application/json+x", "is not application/json"),
        ("type", "no name", "event name 'no name' is not a valid name"),
        ("type", "order.*", "is not a valid name"),
        ("time", "yesterday", "cannot be read"),
        ("time", "2026-01-02T00:00:00", "no offset from UTC"),
        ("subject", "s" * (MAX_ATTRIBUTE_BYTES + 1), "longer than 8192 characters"),
        ("extra", "s" * (MAX_ATTRIBUTE_BYTES + 1), "longer than 8192 characters"),
    ],
)
def test_a_wrong_attribute_is_named(attribute: str, value: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(Message({**ATTRIBUTES, attribute: value}, b"1"))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value"),
        (b"\x80\x04K\x01.", "not UTF-8"),
        (b"{'a': 1}", "at character 1"),
        (b'{"a": 1, "a": 2}', "repeats a key"),
        (b"NaN", "NaN is not JSON"),
        (b"[" * 33 + b"]" * 33, "more than 32 levels"),
        (b" " * (MAX_BODY_BYTES + 1), "takes 1048577 bytes and at most 1048576 are allowed"),
    ],
    ids=lambda value: ascii(value[:12]) if isinstance(value, bytes) else None,
)
def test_a_body_that_is_not_strict_json_is_no_event(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(Message(ATTRIBUTES, body))


def test_the_largest_body_is_the_callers_to_choose() -> None:
    assert decode(encode(replace(EVENT, data="a" * 8), max_body=10), max_body=10).data == "a" * 8
    with pytest.raises(InvalidEventError, match="takes 11 bytes and at most 10 are allowed: put large data elsewhere"):
        encode(replace(EVENT, data="a" * 9), max_body=10)
    with pytest.raises(DecodeError, match="takes 11 bytes and at most 10"):
        decode(encode(replace(EVENT, data="a" * 9)), max_body=10)


def too_deep() -> JsonValue:
    value: JsonValue = 1
    for _ in range(33):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": float("nan")}, "'order.placed' is not strict JSON"),
        ({"data": 2**64}, "more than 64 bits"),
        ({"data": b"bytes"}, "bytes is not JSON serializable"),
        ({"data": too_deep()}, "more than 32 levels"),
        ({"subject": "s" * (MAX_ATTRIBUTE_BYTES + 1)}, "attribute subject is longer than 8192"),
        ({"extensions": {"mine": "s" * (MAX_ATTRIBUTE_BYTES + 1)}}, "attribute mine is longer than 8192"),
        ({"partitionkey": 5}, "attribute partitionkey is a text, not 5"),
        ({"id": ["x"]}, "attribute id is a text"),
        ({"extensions": {"id": "forged", "type": "other"}}, "may not replace the attributes id, type"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_nobody_could_decode_is_not_encoded(change: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidEventError, match=reason):
        encode(replace(EVENT, **change))  # type: ignore[arg-type]


def test_an_event_needs_a_valid_name() -> None:
    with pytest.raises(InvalidNameError, match="event name 'order placed'"):
        encode(replace(EVENT, type="order placed"))


def test_ids_are_unique_and_rise() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert {made[14] for made in ids} == {"7"}
