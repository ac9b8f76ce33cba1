"""A connection to RabbitMQ through aio-pika, and what its failures mean."""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable, Coroutine
from typing import TypeVar, cast

import aio_pika
import aiormq
from aio_pika.connection import make_url
from aiormq.exceptions import (
    AuthenticationError,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from gemstone_events.amqp_url import Broker
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.wires.amqp.channel import MessageChannel
from gemstone_events.rpc.wires.amqp.incoming import Receiver
from gemstone_events.rpc.wires.amqp.reader import FrameTransport

CONNECT_TIMEOUT = 10.0
"""Seconds to connect and log in."""
CLOSE_TIMEOUT = 4.0
"""Seconds for the broker to say goodbye."""
HEARTBEAT = 10
"""Seconds; aiormq takes a broker for dead that was silent for three of these, and three seconds more."""
SHORTEST_PAUSE = 0.1

_REFUSALS = (
    AuthenticationError,
    ProbableAuthenticationError,
    ConnectionNotAllowed,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelPreconditionFailed,
)


_Result = TypeVar("_Result")


class AmqpConnection:
    """One connection, logged in. It is never mended: who needs it makes a new one, and knows of the loss.

    Args:
        connection: what aio-pika made.
        transport: below it.
    """

    def __init__(self, connection: aio_pika.Connection, transport: FrameTransport) -> None:
        self._connection = connection
        self._transport = transport

    async def channel(self, *, confirms: bool) -> aiormq.Channel:
        """Open a channel of the layer under aio-pika, whose own wrappers take twice as long per message."""
        channel = await self._connection.channel(publisher_confirms=confirms)
        return cast(aiormq.Channel, await channel.get_underlay_channel())

    async def messages(self, receiver: Receiver, body_bytes: int, *, confirms: bool) -> MessageChannel:
        """Open a channel for messages: ``receiver`` takes what comes, with bodies of ``body_bytes`` at most."""
        channel = await self.channel(confirms=confirms)
        transport = self._transport
        assert transport.transport is not None  # a channel was opened through it
        return MessageChannel(channel, transport.reader, transport.transport, receiver, body_bytes)

    async def close(self) -> None:
        """Say goodbye, for ``CLOSE_TIMEOUT`` seconds at most, then close the socket in any case. Twice is harmless."""
        try:
            # aiormq raises whatever ended the connection before.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await undisturbed(self._connection.close())
        finally:
            self._transport.abort()
            await _finish(self._connection)


async def undisturbed(work: Coroutine[object, object, _Result]) -> _Result:
    """Return what something of aiormq returns, in a task of its own.

    aiormq cancels whatever waits for a connection that is lost, and a cancellation that is not his own would end who
    waits here.

    Raises:
        ConnectionError: aiormq cancelled it.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    if task.cancelled():
        raise ConnectionError("the connection was lost meanwhile")
    return task.result()


def watch(channel: aiormq.Channel, ended: Callable[[str], object]) -> None:
    """Call ``ended`` with the reason, for people, when a channel is no more, or its connection."""

    def tell(closing: asyncio.Future[object]) -> None:
        error = None if closing.cancelled() else closing.exception()
        ended("closed" if error is None or isinstance(error, asyncio.CancelledError) else said(error))

    channel.closing.add_done_callback(tell)


async def connect(broker: Broker, name: str) -> AmqpConnection:
    """Connect and log in, within ``CONNECT_TIMEOUT`` seconds.

    Args:
        broker: where.
        name: shown where the broker lists its connections.

    Raises:
        ServiceConfigurationError: the broker answered with a refusal, or its certificate does not hold.
        ServiceUnreachableError: it cannot be reached, or gave no answer.
    """
    _quieten_libraries()
    try:
        context = broker.tls_context() if broker.tls else None
    except OSError as error:
        raise ServiceConfigurationError(
            f"{broker.address}: the TLS files cannot be used ({error}): mend cafile, certfile or keyfile in the URL"
        ) from None
    url = make_url(
        host=broker.host,
        port=broker.port,
        login=broker.user,
        password=broker.password,
        virtualhost=broker.virtual_host,
        ssl=broker.tls,
        heartbeat=HEARTBEAT,
    )
    # What aio_pika.connect does, but for the transport.
    connection = aio_pika.Connection(url, ssl_context=context, client_properties={"connection_name": name})
    transport = connection.kwargs["transport_factory"] = FrameTransport()
    try:
        await connection.connect(timeout=CONNECT_TIMEOUT)
    except BaseException as error:
        transport.abort()
        await _finish(connection)
        if isinstance(error, Exception):
            raise translated(broker, "connecting", error) from error
        raise
    return AmqpConnection(connection, transport)


def _quieten_libraries() -> None:
    """Keep aiormq and aio-pika from logging failures, which the wires report themselves and callers get as exceptions.

    Who wants their lines nevertheless sets the level of these loggers.
    """
    for name in ("aiormq", "aio_pika"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)


async def _finish(connection: aio_pika.Connection) -> None:
    """Let aio-pika know that a connection is over.

    One that failed to connect, or was not closed in time, would otherwise close itself when it is forgotten, wherever
    that happens: "coroutine 'Connection.close' was never awaited".
    """
    connection.transport = None
    await connection.close()


def translated(broker: Broker, doing: str, error: Exception) -> ServiceConfigurationError | ServiceUnreachableError:
    """Return what an error of aiormq, the socket or TLS means: refused for good, or just not possible now."""
    if isinstance(error, ServiceConfigurationError | ServiceUnreachableError):
        return error
    where = broker.address
    if isinstance(error, AuthenticationError | ProbableAuthenticationError):
        return ServiceConfigurationError(
            f"{where}: the broker refuses user or password of {broker.user!r}: mend the URL"
        )
    # aiormq does not read the refusal of a virtual host: it only sees that it is none of the answers it expects.
    if isinstance(error, InvalidFrameError) and "Connection.Close " in str(error):
        return ServiceConfigurationError(
            f"{where}: the broker refuses the virtual host {broker.virtual_host!r} to the user {broker.user!r}: "
            "create it, or grant the user permissions in it"
        )
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ServiceConfigurationError(f"{where}: the broker's certificate does not hold: {cause.verify_message}")
    if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
        return ServiceConfigurationError(f"{where}: no TLS is spoken at this port")
    if isinstance(error, _REFUSALS):
        return ServiceConfigurationError(f"{where}: {doing} was refused: {said(error)}")
    if isinstance(error, TimeoutError) and not str(error):
        return ServiceUnreachableError(f"{where}: {doing} failed: no answer within {CONNECT_TIMEOUT:g} s")
    return ServiceUnreachableError(f"{where}: {doing} failed: {said(error)}")


def said(error: BaseException) -> str:
    """Return an error's own words."""
    words = [str(argument) for argument in error.args if isinstance(argument, str) and argument]
    return " ".join(words) or str(error) or type(error).__name__


def pause(failures: int, longest: float) -> float:
    """Return seconds to wait after so many failures in a row: exponential with full jitter, ``longest`` at most."""
    return random.uniform(0.0, min(longest, SHORTEST_PAUSE * 2 ** min(failures, 16)))
