"""Frames out of a stream, however it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemstone_events.transports.amqp_frames import BODY, METHOD, FrameError, FrameSplitter, frame, short_string


class Seen:
    """Remembers the frames that came."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []

    def take(self, kind: int, data: bytes, start: int, end: int) -> None:
        self.frames.append((kind, data[start:end]))


@given(st.lists(st.binary(max_size=40), max_size=10), st.integers(min_value=1, max_value=50))
def test_frames_are_found_however_the_stream_is_cut(payloads: list[bytes], step: int) -> None:
    seen = Seen()
    splitter = FrameSplitter({3: seen.take}, 4096)
    stream = b"".join(frame(BODY, 3, payload) for payload in payloads)
    for at in range(0, len(stream), step):
        splitter.feed(stream[at : at + step])
    assert seen.frames == [(BODY, payload) for payload in payloads]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (frame(METHOD, 3, b"abc")[:-1] + b"\x00", "end mark"),
        (frame(METHOD, 4, b"abc"), "channel 4"),
        (b"\x01\x00\x03\xff\xff\xff\xff" + b"x" * 10, "larger than the agreed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "larger than the agreed"),
    ],
)
def test_a_broken_stream_is_an_error(stream: bytes, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        FrameSplitter({3: Seen().take}, 4096).feed(stream)


def test_a_short_string_has_255_bytes_at_most() -> None:
    assert short_string("ä" * 127)[0] == 254
    with pytest.raises(ValueError, match="255"):
        short_string("ä" * 128)
