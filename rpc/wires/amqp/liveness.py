"""Whether anybody serves a service: its queue is durable and outlives it."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

import aiormq
from aiormq.exceptions import ChannelNotFoundEntity

from gemstone_events.cancellation import end
from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.wires.amqp.address import call_queue
from gemstone_events.rpc.wires.amqp.connection import AmqpConnection, said

FRESH = 1.0
"""Seconds that a sign of life is good for."""
ANSWER_TIMEOUT = 10.0
"""Seconds for the broker to say how many consumers a queue has."""


class Liveness:
    """Knows which services were heard of within the last second, and asks the broker for the others.

    Args:
        connection: on which to open a channel for the questions: one about a queue that is not there ends its channel.
        namespace: that of the services.
    """

    def __init__(self, connection: AmqpConnection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._loop = asyncio.get_running_loop()
        self._heard: dict[str, float] = {}
        self._checks: dict[str, asyncio.Task[bool]] = {}
        self._channel: aiormq.Channel | None = None
        self._turn = asyncio.Lock()

    def heard(self, service: str) -> None:
        """An instance of the service gave a sign of life just now."""
        self._heard[service] = self._loop.time()

    def is_fresh(self, service: str) -> bool:
        """Tell whether there was a sign of life within the last second."""
        heard = self._heard.get(service)
        return heard is not None and self._loop.time() - heard < FRESH

    async def check(self, service: str, timeout: float) -> bool:
        """Ask the broker whether a service's queue has a consumer; whoever asks meanwhile shares the answer.

        Raises:
            ServiceUnreachableError: the broker gives no answer within ``timeout`` seconds.
        """
        has_consumer = await self._share(service, partial(self._has_consumer, service), timeout)
        if has_consumer:
            self.heard(service)
        else:
            self._heard.pop(service, None)
        return has_consumer

    async def has_exchange(self, exchange: str, timeout: float = ANSWER_TIMEOUT) -> bool:
        """Ask the broker whether there is an exchange.

        Raises:
            ServiceUnreachableError: the broker gives no answer within ``timeout`` seconds.
        """
        return await self._share(exchange, partial(self._is_exchange, exchange), timeout)

    async def close(self) -> None:
        """Forget the questions that are asked."""
        await end(*self._checks.values())

    async def _share(self, what: str, ask: Callable[[], Coroutine[object, object, bool]], timeout: float) -> bool:
        check = self._checks.get(what)
        if check is None:
            check = self._checks[what] = self._loop.create_task(self._ask(what, ask))
            check.add_done_callback(lambda done: self._checked(what, done))
        # Not shield: where the connection is lost, the check is cancelled, and the caller is not.
        await asyncio.wait([check], timeout=timeout)
        if not check.done() or check.cancelled():
            raise ServiceUnreachableError(f"the broker was asked about {what!r} and did not answer in time")
        return check.result()

    async def _ask(self, what: str, ask: Callable[[], Coroutine[object, object, bool]]) -> bool:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT), self._turn:
                return await ask()
        except ChannelNotFoundEntity:
            self._channel = None
            return False
        except Exception as error:
            self._channel = None  # the broker or aiormq closes it, sooner or later
            raise ServiceUnreachableError(
                f"the broker was asked about {what!r} and did not answer: {said(error)}"
            ) from error

    async def _has_consumer(self, service: str) -> bool:
        channel = await self._open()
        answer = await channel.queue_declare(call_queue(self._namespace, service), passive=True)
        return bool(answer.consumer_count)

    async def _is_exchange(self, exchange: str) -> bool:
        channel = await self._open()
        await channel.exchange_declare(exchange, passive=True)
        return True

    async def _open(self) -> aiormq.Channel:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel(confirms=False)
        return self._channel

    def _checked(self, what: str, check: asyncio.Task[bool]) -> None:
        del self._checks[what]
        if not check.cancelled():
            check.exception()  # nobody may have waited for it
