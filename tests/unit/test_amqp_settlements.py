"""Acks in as few frames as the protocol allows, held against what a broker would make of them."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from gemstone_events.transports.amqp_settlements import Settlements

ACK, NACK = 80, 120


class BrokerChannel:
    """What RabbitMQ keeps for a channel; like it, it refuses a tag that is not outstanding."""

    def __init__(self, deliveries: int) -> None:
        self.outstanding = list(range(1, deliveries + 1))
        self.acked: set[int] = set()
        self.requeued: set[int] = set()
        self.frames = 0

    def take(self, frames: bytes) -> None:
        for kind, channel, size, class_id, method, tag, bits, end in struct.iter_unpack(">BHIHHQBB", frames):
            assert (kind, channel, size, class_id, end) == (1, 7, 13, 60, 0xCE)
            assert tag in self.outstanding, f"unknown delivery tag {tag}"
            self.frames += 1
            if method == ACK:
                settled = [known for known in self.outstanding if known == tag or (bits & 1 and known < tag)]
                self.acked.update(settled)
            else:
                assert (method, bits) == (NACK, 2)
                settled = [tag]
                self.requeued.add(tag)
            self.outstanding = [known for known in self.outstanding if known not in settled]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40), st.randoms(use_true_random=False))
def test_every_delivery_is_settled_as_asked_in_any_order(choices: list[tuple[bool, bool]], random: object) -> None:
    broker, settlements = BrokerChannel(len(choices)), Settlements(7)
    order = list(enumerate(choices, start=1))
    random.shuffle(order)  # type: ignore[attr-defined]
    for tag, (acked, flush) in order:
        (settlements.ack if acked else settlements.release)(tag)
        if flush:
            broker.take(settlements.frames())
    broker.take(settlements.frames())
    assert broker.outstanding == []
    assert broker.acked == {tag for tag, (acked, _) in order if acked}
    assert broker.requeued == {tag for tag, (acked, _) in order if not acked}
    assert settlements.frames() == b""


def test_what_is_done_without_a_gap_takes_one_frame() -> None:
    broker, settlements = BrokerChannel(100), Settlements(7)
    for tag in range(1, 101):
        settlements.ack(tag)
    broker.take(settlements.frames())
    assert (broker.frames, broker.outstanding) == (1, [])


def test_what_is_done_after_a_gap_does_not_settle_the_gap() -> None:
    broker, settlements = BrokerChannel(4), Settlements(7)
    for tag in (1, 3, 4):
        settlements.ack(tag)
    broker.take(settlements.frames())
    assert broker.outstanding == [2]
    settlements.ack(2)
    broker.take(settlements.frames())
    assert (broker.outstanding, broker.frames) == ([], 4)
