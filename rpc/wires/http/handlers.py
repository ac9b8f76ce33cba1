"""The Tornado request handlers of a service: what methods get to see of a request, and the base of pages."""

import asyncio

from tornado.web import RequestHandler

from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.request_handler import RpcHandler


class GemstoneCustomHandler(RequestHandler):
    """Base of the Tornado handlers in ``extra_handlers``: pages and endpoints of the author's own.

    Attributes:
        microservice: the service that serves the request.
    """

    def initialize(self, microservice: object) -> None:
        """Take the service."""
        self.microservice = microservice


class TornadoJsonRpcHandler(RpcHandler, RequestHandler):
    """The HTTP request of a call, for methods that take the handler.

    With it they can read the request (``self.request``, ``get_cookie``), set headers and cookies of the response, ask
    ``current_user``, and run further calls as if they had come with the same request. They must not write or finish
    the response: the dispatcher's answer is it.

    It is made when it is first asked for; most calls need none.
    """

    def initialize(
        self,
        dispatcher: Dispatcher,
        context: CallContext,
        answer: "asyncio.Future[bytes | None]",
    ) -> None:
        """Take what runs calls, and the promise of the answer."""
        self._dispatcher = dispatcher
        self._context = context
        self._answer = answer

    async def post(self) -> None:
        """Write the answer when there is one: 200, or 204 where there is nothing to answer."""
        answer = await self._answer
        if answer is None:
            self.set_status(204)
        else:
            self.set_header("Content-Type", "application/json")
            self.write(answer)
