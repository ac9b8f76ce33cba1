"""kombu's blocking AMQP connection, for one thread at a time: connecting, logging in, declaring, starting to consume.

What must be quick afterwards does not happen here: ``hand_over`` gives the socket to the asyncio loop, and nothing of
kombu or py-amqp touches it again. py-amqp is not safe for two threads (P13), and one owner at a time needs no lock.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import amqp
from amqp.method_framing import frame_handler
from amqp.transport import SSLTransport, TCPTransport
from kombu.connection import Connection
from kombu.transport import pyamqp

from gemstone_events.amqp_url import Broker
from gemstone_events.errors import TransportError, TransportRefusedError, TransportUnavailableError
from gemstone_events.transports.amqp_frames import BASIC_DELIVER, BODY, HEADER, METHOD, frame

CONNECT_TIMEOUT = 5.0
"""Seconds for a TCP connection, and for each step of the handshake."""
ANSWER_TIMEOUT = 10.0
"""Seconds to wait for each answer afterwards; declaring a quorum queue waits for a majority of the nodes."""
HEARTBEAT = 10
"""Seconds, as proposed to the broker, which may lower it."""
USER_TIMEOUT = 15_000
"""Milliseconds that sent bytes may stay unacknowledged (TCP_USER_TIMEOUT); py-amqp's default of 1,000 cuts connections
that a moment's congestion holds up."""

_SOCKET_OPTIONS = {
    socket.TCP_NODELAY: 1,
    socket.TCP_USER_TIMEOUT: USER_TIMEOUT,
    socket.TCP_KEEPIDLE: 60,
    socket.TCP_KEEPINTVL: 10,
    socket.TCP_KEEPCNT: 9,
}

# What no retry mends. 404 is none of them: it also means that a queue's node is not up yet.
_REFUSALS = (
    amqp.AccessRefused,
    amqp.NotAllowed,
    amqp.PreconditionFailed,
    amqp.ResourceLocked,
    amqp.AMQPNotImplementedError,
    amqp.UnexpectedFrame,
    ssl.SSLCertVerificationError,
)

_Result = TypeVar("_Result")
_Frame: TypeAlias = tuple[int, int, bytes]
_DELIVER = BASIC_DELIVER.to_bytes(4, "big")


class _PatientTCP(TCPTransport):  # type: ignore[misc]
    """py-amqp's TCP transport, whose socket obeys a timeout; SO_RCVTIMEO is retried for ever in mid-frame."""

    def _setup_transport(self) -> None:
        super()._setup_transport()
        self.sock.settimeout(ANSWER_TIMEOUT)


class _CheckingTLS(SSLTransport):  # type: ignore[misc]
    """py-amqp's TLS transport with a context of ours: it would check the chain, but not the host name (P61)."""

    def _wrap_socket(self, sock: socket.socket, context: ssl.SSLContext, server_hostname: str) -> ssl.SSLSocket:
        return context.wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)

    def _setup_transport(self) -> None:
        super()._setup_transport()
        self.sock.settimeout(ANSWER_TIMEOUT)

    def _shutdown_transport(self) -> None:
        """Skip TLS's own goodbye, which would wait for a peer that may be gone."""


class _AmqpConnection(pyamqp.Connection):
    """kombu's AMQP connection over the transports above."""

    def Transport(
        self, host: str, connect_timeout: float, ssl: object = False, *_: object, **options: object
    ) -> TCPTransport | SSLTransport:
        """Make the transport; py-amqp calls this in ``connect``."""
        kind = _CheckingTLS if ssl else _PatientTCP
        return kind(host, connect_timeout=connect_timeout, ssl=ssl, socket_settings=_SOCKET_OPTIONS)

    def connect(self, callback: Callable[[], object] | None = None) -> None:
        """Connect, and leave no socket behind where the broker refuses; py-amqp does so after a broken one."""
        try:
            super().connect(callback)
        except BaseException:
            self.collect()
            raise


class _KombuTransport(pyamqp.Transport):
    Connection = _AmqpConnection


@dataclass(frozen=True, slots=True)
class HandOver:
    """A connected socket, ready for its next owner.

    Attributes:
        frame_max: bytes of the largest frame, as negotiated.
        heartbeat: seconds, as negotiated; 0 for none.
        held: frames with deliveries that came before the hand-over, in order.
    """

    sock: socket.socket
    frame_max: int
    heartbeat: float
    held: bytes


class BlockingConnection:
    """One connection, opened by ``open`` and owned by the thread that called it until ``hand_over``."""

    def __init__(self, broker: Broker, name: str) -> None:
        """``name`` is shown where the broker lists its connections."""
        self.address = broker.address
        self._broker = broker
        self._name = name
        self._held = bytearray()
        self._amqp: _AmqpConnection | None = None

    def open(self) -> None:
        """Connect and log in.

        Raises:
            TransportRefusedError: the broker answered with a refusal, or its certificate does not hold.
            TransportUnavailableError: it cannot be reached, or gave no answer.
        """
        broker = self._broker
        tls = {"context": self._tls_context(), "server_hostname": broker.host} if broker.tls else False
        settings = Connection(  # type: ignore[no-untyped-call]
            hostname=broker.host,
            port=broker.port,
            userid=broker.user,
            password=broker.password,
            virtual_host=broker.virtual_host,
            transport=_KombuTransport,
            ssl=tls,
            connect_timeout=CONNECT_TIMEOUT,
            heartbeat=HEARTBEAT,
            transport_options={
                "client_properties": {"product": "gemstone_events", "connection_name": self._name},
                "frame_handler": self._frame_handler,
            },
        )
        with translated(self.address, "connecting"):
            # kombu's own connect() tries twice, with a pause between; when to try again is decided elsewhere.
            self._amqp = settings.transport.establish_connection()

    def channel(self) -> amqp.Channel:
        """Open a channel; as a context manager it closes itself.

        Raises:
            TransportUnavailableError: the broker did not answer.
        """
        assert self._amqp is not None, "open() comes first"
        with translated(self.address, "opening a channel"):
            return self._amqp.channel()

    def hand_over(self) -> HandOver:
        """Give the socket away. The connection is of no use afterwards."""
        assert self._amqp is not None, "open() comes first"
        transport = self._amqp.transport
        sock, transport.sock = transport.sock, None
        sock.setblocking(False)
        held = HandOver(sock, self._amqp.frame_max, float(self._amqp.heartbeat), bytes(self._held))
        self.drop()
        return held

    def close(self) -> None:
        """Say goodbye to the broker and wait for its answer, ``ANSWER_TIMEOUT`` at most."""
        if self._amqp is not None:
            with contextlib.suppress(amqp.AMQPError, OSError):
                self._amqp.close()
        self.drop()

    def drop(self) -> None:
        """Close the socket without a word. Twice is harmless."""
        connection, self._amqp = self._amqp, None
        if connection is not None:
            connection.collect()

    def _tls_context(self) -> ssl.SSLContext:
        try:
            return self._broker.tls_context()
        except OSError as error:
            raise TransportRefusedError(
                f"{self.address}: the TLS files cannot be used ({error}): mend cafile, certfile or keyfile in the URL"
            ) from None

    def _frame_handler(self, connection: _AmqpConnection, callback: Callable[..., None]) -> Callable[[_Frame], bool]:
        """Hold deliveries back, for the next owner: a first consumer's come while the others are still declared."""
        handle = frame_handler(connection, callback)

        def on_frame(received: _Frame) -> bool:
            kind, channel, payload = received
            if kind in (HEADER, BODY) or (kind == METHOD and payload.startswith(_DELIVER)):
                self._held += frame(kind, channel, payload)
                return False
            return bool(handle(received))

        return on_frame


async def in_thread(
    function: Callable[..., _Result], *arguments: object, discard: Callable[[_Result], None] | None = None
) -> _Result:
    """Run blocking work in a thread of its own, which keeps neither the loop nor the process from ending.

    Args:
        discard: what to do, in that thread, with a result whose waiter was cancelled.
    """
    outcome: Future[_Result] = Future()
    outcome.set_running_or_notify_cancel()

    def work() -> None:
        try:
            outcome.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            outcome.set_exception(error)

    def discard_result(finished: Future[_Result]) -> None:
        if discard is not None and finished.exception() is None:
            discard(finished.result())

    threading.Thread(target=work, name="gemstone amqp", daemon=True).start()
    try:
        return await asyncio.wrap_future(outcome)
    except asyncio.CancelledError:
        outcome.add_done_callback(discard_result)
        raise


@contextlib.contextmanager
def short_connection(broker: Broker, name: str) -> Iterator[BlockingConnection]:
    """Connect for one errand; after an error in it, no word is said to the broker any more. Blocks.

    Raises:
        TransportRefusedError, TransportUnavailableError: see ``BlockingConnection.open``.
    """
    connection = BlockingConnection(broker, name)
    connection.open()
    try:
        yield connection
    except BaseException:
        connection.drop()
        raise
    connection.close()


@contextlib.contextmanager
def translated(address: str, doing: str, on_precondition: str = "") -> Iterator[None]:
    """Turn the exceptions of py-amqp and of sockets into the framework's.

    Args:
        on_precondition: what 406 means here, and how to mend it.
    """
    try:
        yield
    except TransportError:
        raise
    except amqp.PreconditionFailed as error:
        raise TransportRefusedError(f"{address}: {on_precondition or doing} ({_said(error)})") from error
    except _REFUSALS as error:
        raise TransportRefusedError(f"{address}: {doing} was refused: {_said(error)}") from error
    # struct.error and its like: what answers does not speak AMQP, or stopped in the middle of it.
    except (amqp.AMQPError, OSError, struct.error, LookupError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
            raise TransportRefusedError(f"{address}: {doing} was refused: no TLS is spoken at this port") from error
        raise TransportUnavailableError(f"{address}: {doing} failed: {_said(error)}") from error


def _said(error: Exception) -> str:
    if isinstance(error, amqp.AMQPError):
        return str(error.reply_text or error)
    return str(error) or type(error).__name__
