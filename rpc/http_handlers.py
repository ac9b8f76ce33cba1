"""The Tornado request handlers of a service: what methods get to see of a request, and the base of pages."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import TypeAlias

from tornado.web import RequestHandler

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.methods import Method
from gemstone_events.rpc.protocol import JsonRpcRequest, JsonRpcResponse, Params

Authenticate: TypeAlias = Callable[[RequestHandler], object]


class GemstoneCustomHandler(RequestHandler):
    """Base of the Tornado handlers in ``extra_handlers``: pages and endpoints of the author's own.

    Attributes:
        microservice: the service that serves the request.
    """

    def initialize(self, microservice: object) -> None:
        """Take the service."""
        self.microservice = microservice


class TornadoJsonRpcHandler(RequestHandler):
    """The HTTP request of a call, for methods that take the handler, and for ``authenticate_request``.

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
        authenticate: Authenticate | None,
    ) -> None:
        """Take what runs calls, and the promise of the answer."""
        self._dispatcher = dispatcher
        self._context = context
        self._answer = answer
        self._authenticate = authenticate

    async def post(self) -> None:
        """Write the answer when there is one: 200, or 204 where there is nothing to answer."""
        answer = await self._answer
        if answer is None:
            self.set_status(204)
        else:
            self.set_header("Content-Type", "application/json")
            self.write(answer)

    def get_current_user(self) -> object:
        """Return what the service's ``authenticate_request`` says of this request (Tornado's ``current_user``).

        Raises:
            ServiceConfigurationError: ``authenticate_request`` is a coroutine, which a property cannot await.
        """
        user = self._authenticate(self) if self._authenticate is not None else None
        if isawaitable(user):
            if asyncio.iscoroutine(user):
                user.close()
            raise ServiceConfigurationError("authenticate_request is a coroutine: await it instead of current_user")
        return user

    async def handle_single_request(self, request_object: JsonRpcRequest) -> JsonRpcResponse | None:
        """Run a request with the rights of this one; ``None`` for a notification."""
        return await self._dispatcher.handle(request_object, self._context)

    async def handle_batch_request(self, request_objects: Sequence[JsonRpcRequest]) -> list[JsonRpcResponse]:
        """Run requests one after the other; notifications have no response."""
        responses = [await self.handle_single_request(request) for request in request_objects]
        return [response for response in responses if response is not None]

    def prepare_method_call(self, method: Callable[..., object], args: Params) -> Callable[[], object]:
        """Return ``method`` with positional or named arguments filled in."""
        return partial(method, **args) if isinstance(args, Mapping) else partial(method, *args)

    async def call_method(self, method: Callable[[], object]) -> object:
        """Call a function as exposed methods are called: in a unit of work, in a thread unless it is ``async``."""
        return await self._dispatcher.invoke(Method("call_method", method), (), {}, self._context)
