"""What wires other than HTTP hand the bodies to that they bring."""

from gemstone_events.rpc.authentication.caller import Authentication, BodySender
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.request_handler import WireHandler, make_request
from gemstone_events.rpc.wire import Answer


def make_answer(dispatcher: Dispatcher, authentication: Authentication) -> Answer:
    """Return what ``ServerWire.start`` takes: it has bodies dispatched, with a caller and a handler as HTTP's have.

    Args:
        dispatcher: carries bodies out; its ``authorize`` is that of ``authentication``.
        authentication: finds out who sent them.
    """

    async def answer(body: bytes, context: CallContext) -> bytes | None:
        return await dispatcher.dispatch(body, _Sent(dispatcher, authentication, body, context).context)

    return answer


class _Sent:
    """One body: its handler is made when it is first asked for, and once."""

    def __init__(
        self, dispatcher: Dispatcher, authentication: Authentication, body: bytes, context: CallContext
    ) -> None:
        self._dispatcher = dispatcher
        self._body = body
        self._handler: WireHandler | None = None
        caller = BodySender(authentication, self._handler_of_body, body)
        self.context = context.sent_by(caller, lambda _: self._handler_of_body())

    def _handler_of_body(self) -> WireHandler:
        if self._handler is None:
            self._handler = WireHandler(self._dispatcher, self.context, make_request(self._body, self.context))
        return self._handler
