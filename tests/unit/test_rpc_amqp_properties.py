"""Properties to bytes and back, as pamqp writes and reads them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader

from gemstone_events.rpc.wires.amqp.properties import header_frame, read_properties

TEXTS = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "message_type",
    "user_id",
    "app_id",
)
short = st.text(min_size=1, max_size=60)
properties = st.builds(
    spec.Basic.Properties,
    **{name: st.none() | short for name in TEXTS},
    headers=st.none() | st.dictionaries(short, st.text(max_size=20) | st.integers(0, 100), min_size=1, max_size=3),
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(1, 9),
    timestamp=st.none() | st.just(datetime(2026, 11, 21, tzinfo=UTC)),
)


@given(properties, st.integers(0, 2**40))
def test_frames_are_those_of_pamqp(given_properties: spec.Basic.Properties, size: int) -> None:
    frame = header_frame(5, size, given_properties)
    assert frame == marshal(ContentHeader(properties=given_properties, body_size=size), 5)


@given(properties)
def test_what_is_read_is_what_pamqp_reads(given_properties: spec.Basic.Properties) -> None:
    frame = marshal(ContentHeader(properties=given_properties, body_size=7), 5)
    theirs = unmarshal(frame)[2]
    assert isinstance(theirs, ContentHeader)
    assert read_properties(frame[7:-1]) == theirs.properties


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="range"):
        header_frame(5, 0, spec.Basic.Properties(correlation_id="x" * 256))
