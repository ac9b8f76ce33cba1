"""Which deliveries of one channel are settled, and the fewest frames that tell the broker so."""

from gemstone_events.transports.amqp_frames import ack, give_back


class Settlements:
    """Gathers the acks and releases of a channel, whose delivery tags count up from 1 (section 1.8.3.13)."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._acked: set[int] = set()
        self._released: list[int] = []
        self._told: set[int] = set()
        self._floor = 0  # the broker was told of every tag up to this one

    def ack(self, tag: int) -> None:
        """Note that a delivery is done."""
        self._acked.add(tag)

    def release(self, tag: int) -> None:
        """Note that a delivery is given back."""
        self._released.append(tag)

    def frames(self) -> bytes:
        """Return what to send, and count it as sent: one ack for all that is done without a gap, the rest singly.

        What is given back goes first: an ack for all before it would cover it. And that ack must bear a tag that the
        broker still waits for, or it would close the channel.
        """
        parts = [give_back(self._channel, tag) for tag in self._released]
        told = self._told
        told.update(self._released)
        self._released.clear()
        acked, last, tag = self._acked, 0, self._floor + 1
        while True:
            if tag in acked:
                acked.remove(tag)
                last = tag
            elif tag in told:
                told.remove(tag)
            else:
                break
            tag += 1
        self._floor = tag - 1
        if last:
            parts.append(ack(self._channel, last, multiple=True))
        if acked:
            parts.extend(ack(self._channel, tag, multiple=False) for tag in sorted(acked))
            told |= acked
            acked.clear()
        return b"".join(parts)
