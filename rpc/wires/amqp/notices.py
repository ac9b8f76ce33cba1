"""Notifications on their way: nothing comes back but the broker's confirm."""

from collections.abc import Callable
from functools import partial
from itertools import takewhile

from gemstone_events.rpc.call_errors import ServiceNotFoundError, ServiceUnreachableError
from gemstone_events.rpc.wires.amqp.channel import MessageChannel
from gemstone_events.rpc.wires.amqp.connection import AmqpConnection
from gemstone_events.rpc.wires.amqp.incoming import Properties, Received
from gemstone_events.rpc.wires.amqp.pending import PendingCall, PendingCalls


class NoticeChannel:
    """Sends notifications on a channel of their own, where the broker confirms each (RabbitMQ, Publisher Confirms).

    Calls that are answered go by another channel without confirms: their answer is the better one, and a confirm for
    each would wake both ends of the connection once more per call.

    Args:
        pending: where the notifications are kept until they are confirmed.

    Attributes:
        channel: where they go; there after ``open``.
    """

    channel: MessageChannel

    def __init__(self, pending: PendingCalls) -> None:
        self._pending = pending
        self._unconfirmed: dict[int, str] = {}
        self._published = 0

    async def open(self, connection: AmqpConnection) -> None:
        """Open the channel. Whatever aiormq raises comes through."""
        self.channel = await connection.messages(self, 0, confirms=True)

    def send(self, call: PendingCall, write: Callable[[], bytes]) -> None:
        """Send a notification; ``write`` returns its frames, or nothing where it is given up meanwhile."""
        self.channel.outbox.put(partial(self._write, call, write))

    def on_message(self, message: Received) -> None:
        """Nothing: nobody consumes on this channel."""

    def on_return(self, reason: str, properties: Properties) -> None:
        """Take note of a notification that found no queue. The broker's confirm follows, and means nothing then."""
        call = self._pending.get(properties.message_id)
        if call is not None:
            self._pending.fail(call, not_found(call.service))

    def on_confirm(self, number: int, multiple: bool, taken: bool) -> None:
        """Take note of notifications that the broker has, or refuses."""
        for one in list(takewhile(number.__ge__, self._unconfirmed)) if multiple else [number]:
            call = self._pending.get(self._unconfirmed.pop(one, None))
            if call is not None and taken:
                self._pending.succeed(call, None)
            elif call is not None:
                self._pending.fail(call, ServiceUnreachableError(f"{call.service} was not called: the broker refused"))

    def _write(self, call: PendingCall, write: Callable[[], bytes]) -> bytes:
        """Return the frames, and count the message as the broker does."""
        frames = write()
        if frames:
            self._published += 1
            self._unconfirmed[self._published] = call.id
        return frames


def not_found(service: str) -> ServiceNotFoundError:
    """Return the error for a service that nobody serves."""
    return ServiceNotFoundError(f"{service} was not called: there is no such service, or none of its instances runs")
