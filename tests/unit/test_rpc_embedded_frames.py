"""Frames, URLs and names of the embedded bus's wire, without a socket."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ServerSettings
from gemstone_events.rpc.wires.embedded.folder import label_of, parse_service_url, parse_url
from gemstone_events.rpc.wires.embedded.frames import (
    FROM_CLIENT,
    MAX_HEADER_BYTES,
    Frame,
    FrameError,
    FrameReader,
    Kind,
    read_headers,
    write_frame,
    write_headers,
)
from gemstone_events.rpc.wires.embedded.server import open_url

LIMIT = 1000


def feed(pieces: Sequence[bytes]) -> list[Frame]:
    """Return the frames that come of pieces."""
    reader = FrameReader(FROM_CLIENT, LIMIT)
    return [frame for piece in pieces for frame in reader.feed(piece)]


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=50), st.binary(max_size=LIMIT + 50)), max_size=5),
    st.data(),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    calls: list[tuple[int, bytes, bytes]], data: st.DataObject
) -> None:
    raw = b"".join(write_frame(Kind.CALL, number, headers, body, 17.5) for number, headers, body in calls)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    frames = feed(pieces)
    assert [(frame.call, frame.headers, frame.expires) for frame in frames] == [(n, h, 17.5) for n, h, _ in calls]
    assert [frame.length for frame in frames] == [len(body) for _, _, body in calls]
    assert [frame.body for frame in frames] == [body if len(body) <= LIMIT else b"" for _, _, body in calls]
    assert [frame.is_too_long for frame in frames] == [len(body) > LIMIT for _, _, body in calls]


def test_a_frame_that_comes_byte_by_byte_comes_once_and_whole() -> None:
    raw = write_frame(Kind.CALL, 7, b"{}", b"hello") + write_frame(Kind.ASK, 8)
    frames = feed([bytes([byte]) for byte in raw])
    assert frames == [
        Frame(Kind.CALL, 7, math.inf, b"{}", b"hello", 5),
        Frame(Kind.ASK, 8, math.inf, b"", b"", 0),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /",
        write_frame(Kind.HELLO),
        write_frame(Kind.CALL, 1, b"x" * (MAX_HEADER_BYTES + 1)),
        b"\x02" + write_frame(Kind.CALL)[1:],
        b"\x01\xff" + write_frame(Kind.CALL)[2:],
    ],
    ids=["HTTP", "from the other side", "long headers", "another version", "unknown kind"],
)
def test_what_is_no_frame_is_an_error(raw: bytes) -> None:
    with pytest.raises(FrameError):
        feed([raw])


@given(st.dictionaries(st.text("abc-", max_size=9), st.text(st.characters(codec="utf-8"), max_size=20), max_size=5))
def test_headers_come_out_as_they_went_in(headers: dict[str, str]) -> None:
    assert read_headers(write_headers(headers)) == headers


def test_names_of_headers_come_out_in_lower_case() -> None:
    assert read_headers(b'{"X-Tenant": "Blue"}') == {"x-tenant": "Blue"}


@pytest.mark.parametrize(
    "raw", [b"x", b"[]", b'{"a": 1}', b'{"a": null}', b'{"a": {}}', b'{"a": "1", "a": "2"}', b"[" * 999]
)
def test_headers_that_are_no_texts_are_an_error(raw: bytes) -> None:
    with pytest.raises(FrameError):
        read_headers(raw)


def test_headers_that_are_too_long_are_not_written() -> None:
    with pytest.raises(ValueError, match="16384"):
        write_headers({"x": "y" * MAX_HEADER_BYTES})


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sqlite:///.gemstone/bus.db#orders", "sqlite:///.gemstone/bus.db#orders"),
        ("sqlite:////var/lib/bus.db#orders.eu", "sqlite:////var/lib/bus.db#orders.eu"),
        ("sqlite:///with%20space%23.db#o", "sqlite:///with%20space%23.db#o"),
    ],
)
def test_three_slashes_are_relative_and_four_absolute(url: str, address: str) -> None:
    assert str(parse_service_url(url)) == address


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "sqlite:///",
        "sqlite://bus.db#orders",
        "sqlite://host/bus.db#orders",
        "sqlite:///folder/#orders",
        "sqlite:///a%00b#orders",
        "sqlite:///a\nb.db#orders",
        "sqlite://[a/bus.db#orders",
        "sqlite:///bus.db?mode=ro#orders",
        "sqlite:///bus.db#my orders",
        "sqlite:///bus.db#a/b",
        "redis:///bus.db#orders",
    ],
)
def test_a_url_with_anything_unknown_is_an_error(url: str) -> None:
    with pytest.raises(ServiceConfigurationError):
        parse_url(url)


def test_a_bus_is_not_called_and_a_service_not_served_on() -> None:
    settings = ServerSettings(service="orders", presence=lambda: Presence(service="orders", instance="1"))
    with pytest.raises(ServiceConfigurationError, match="#service"):
        parse_service_url("sqlite:///bus.db")
    with pytest.raises(ServiceConfigurationError, match="remove the #"):
        open_url("sqlite:///bus.db#orders", settings)


def test_labels_are_short_and_tell_all_names_apart() -> None:
    names = ["a", "a.b", "b", "a" * 28, "a" * 29, "a" * 30, "a" * 200]
    labels = {label_of(namespace, service) for namespace in names for service in names}
    assert len(labels) == len(names) ** 2
    assert max(len(label) for label in labels) <= 58
