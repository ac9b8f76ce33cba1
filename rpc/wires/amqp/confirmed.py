"""Messages that the broker confirms, one by one (RabbitMQ, Consumer Acknowledgements and Publisher Confirms)."""

from functools import partial
from itertools import takewhile

from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.wires.amqp.channel import MessageChannel
from gemstone_events.rpc.wires.amqp.connection import AmqpConnection
from gemstone_events.rpc.wires.amqp.incoming import Properties, Received, Receiver
from gemstone_events.rpc.wires.amqp.outbox import Write
from gemstone_events.rpc.wires.amqp.pending import PendingCalls


class ConfirmedChannel:
    """Sends on a channel where the broker says of each message whether it has it.

    A notification is done when it is confirmed; a call waits for its answer, and fails at once where the broker refuses
    it. Everything that is published on the channel has to go through ``send``, for the broker counts.

    Args:
        pending: where calls and notifications are kept.
        receiver: who takes all else that comes.

    Attributes:
        channel: there after ``open``.
    """

    channel: MessageChannel

    def __init__(self, pending: PendingCalls, receiver: Receiver) -> None:
        self._pending = pending
        self._receiver = receiver
        self._unconfirmed: dict[int, str] = {}
        self._published = 0

    async def open(self, connection: AmqpConnection, body_bytes: int) -> None:
        """Open the channel, for messages of ``body_bytes`` at most. Whatever aiormq raises comes through."""
        self.channel = await connection.messages(self, body_bytes, confirms=True)

    def send(self, identity: str, write: Write) -> None:
        """Send what is pending under ``identity``; a callable returns its frames, or nothing where it was given up."""
        self.channel.outbox.put(partial(self._write, identity, write))

    def on_message(self, message: Received) -> None:
        """Take an answer."""
        self._receiver.on_message(message)

    def on_return(self, reason: str, properties: Properties) -> None:
        """Take note of what found no queue. The broker's confirm follows, and means nothing then."""
        self._receiver.on_return(reason, properties)

    def on_confirm(self, number: int, multiple: bool, taken: bool) -> None:
        """Take note of what the broker has, or refuses."""
        for one in list(takewhile(number.__ge__, self._unconfirmed)) if multiple else [number]:
            call = self._pending.get(self._unconfirmed.pop(one, None))
            if call is None:
                continue
            if not taken:
                self._pending.fail(call, ServiceUnreachableError(f"{call.service} was not called: the broker refused"))
            elif not call.is_answered:
                self._pending.succeed(call, None)

    def _write(self, identity: str, write: Write) -> bytes:
        """Return the frames, and count the message as the broker does."""
        frames = write if isinstance(write, bytes) else write()
        if frames:
            self._published += 1
            self._unconfirmed[self._published] = identity
        return frames
