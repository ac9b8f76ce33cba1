"""The client's side of the wire "amqp": calls through RabbitMQ.

A request goes to the default exchange with the service's queue as routing key, as plain JSON-RPC, with ``reply_to`` and
``correlation_id``; the answer comes by direct reply-to. What is promised:

- Every call ends by its deadline, whatever becomes of the broker, and with the truth: ``ServiceUnreachableError`` means
  that the request was not written to the connection, or that the broker did not take it.
- A service that nobody serves is an error at once. Its durable queue outlives it, so a call goes out only where the
  queue has a consumer, or somebody answered within the last second.
- A pending call of a service whose last instance is gone fails within some seconds, not at its deadline.
- Nothing is sent twice.

The broker confirms notifications. Calls are published without confirms, for their answer is a better one; where an
operator limits the length of a service's queue with ``reject-publish``, the calls that the broker drops so end at their
deadline, as unknown. With the option ``?confirms=all`` in the service's URL they are confirmed too, and fail at once.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gemstone_events.amqp_url import Broker
from gemstone_events.rpc.call_errors import ServiceNotFoundError, ServiceUnreachableError
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings, WireCounts, WireRequest
from gemstone_events.rpc.wires.amqp.address import parse_any_url, parse_service_url
from gemstone_events.rpc.wires.amqp.link import AmqpLink
from gemstone_events.rpc.wires.amqp.questions import Question
from gemstone_events.rpc.wires.amqp.session import ClientSession

_MAX_TARGETS = 1000
_FIND_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class _Target:
    link: AmqpLink
    service: str


class AmqpClientWire:
    """Calls services through RabbitMQ, over one connection per broker and user; calls with ``?confirms=all`` over another.

    Args:
        settings: the caller's.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.counts = WireCounts()
        self._settings = settings
        self._links: dict[tuple[Broker, bool], AmqpLink] = {}
        self._targets: dict[str, _Target] = {}

    def address(self, url: str) -> str:
        """Return the service's URL without credentials and options; see ``ClientWire.address``."""
        return parse_service_url(url).shown

    async def call(self, url: str, request: WireRequest) -> bytes | None:
        """Take a request to a service and return the answer; see ``ClientWire.call``."""
        target = self._targets.get(url) or self._target(url)
        due = asyncio.get_running_loop().time() + request.timeout
        session = target.link.current
        if session is None or not session.is_served(target.service):
            session = await self._ready(target, due)
        return await session.call(target.service, request, due)

    async def find(self, url: str, pattern: str, patience: float, *, all_of_them: bool = True) -> Sequence[Presence]:
        """Return who serves calls now, on the broker of ``url``; see ``ClientWire.find``."""
        session = await self._link(parse_any_url(url)).session(_FIND_TIMEOUT)
        return await session.ask(Question(pattern), patience, all_of_them=all_of_them)

    async def close(self) -> None:
        """Disconnect. What is pending fails. Twice is harmless."""
        links, self._links = self._links, {}
        self._targets.clear()
        await asyncio.gather(*(link.close() for link in links.values()))

    async def _ready(self, target: _Target, due: float) -> ClientSession:
        """Return a session by which the service was seen to be served.

        Raises:
            ServiceCommunicationException: see ``call``.
        """
        loop = asyncio.get_running_loop()
        session = await target.link.session(due - loop.time())
        if not session.is_served(target.service) and not await session.check_served(target.service, due - loop.time()):
            raise ServiceNotFoundError(f"{target.service} was not called: none of its instances runs")
        if session.ended:
            raise ServiceUnreachableError(f"{target.service} was not called: the connection to the broker is lost")
        return session

    def _target(self, url: str) -> _Target:
        address = parse_service_url(url)
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        target = self._targets[url] = _Target(self._link(address.broker, address.confirms_calls), address.service)
        return target

    def _link(self, broker: Broker, confirms_calls: bool = False) -> AmqpLink:
        link = self._links.get((broker, confirms_calls))
        if link is None:
            link = AmqpLink(broker, self._settings, self.counts, confirms_calls=confirms_calls)
            self._links[broker, confirms_calls] = link
        return link
