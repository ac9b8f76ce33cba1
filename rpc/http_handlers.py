"""The Tornado request handlers of a service: the JSON-RPC endpoint's, and the base of the author's own."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import TypeAlias

from tornado.web import RequestHandler

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.dispatcher import CallContext, Dispatcher
from gemstone_events.rpc.in_flight import InFlight
from gemstone_events.rpc.methods import Method
from gemstone_events.rpc.protocol import JsonRpcRequest, JsonRpcResponse, Params, write_batch, write_response

WIRE = "http"

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
    """Answers one HTTP request to the endpoint. Methods that take the handler get this object.

    With it they can read the request (``self.request``, ``get_cookie``), set headers and cookies of the response, ask
    ``current_user``, and run further calls as if they had come with the same request. They must not write or finish
    the response: that is the dispatcher's.
    """

    def initialize(self, dispatcher: Dispatcher, in_flight: InFlight, authenticate: Authenticate | None) -> None:
        """Take what answers."""
        self._dispatcher = dispatcher
        self._in_flight = in_flight
        self._authenticate = authenticate

    async def post(self) -> None:
        """Answer the body: 200 with a response or batch, 204 where there is nothing to answer."""
        with self._in_flight.running(self.request):
            answer = await self._dispatcher.dispatch(self.request.body, self.call_context)
        if self._in_flight.draining:
            self.set_header("Connection", "close")
        if answer is None:
            self.set_status(204)
        else:
            self._write_json(answer)

    @property
    def call_context(self) -> CallContext:
        """What methods get to know of this request."""
        return CallContext(WIRE, self, self.request.headers, self.request.remote_ip or "")

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
        """Run a request with this request's rights; ``None`` for a notification."""
        return await self._dispatcher.handle(request_object, self.call_context)

    async def handle_batch_request(self, request_objects: Sequence[JsonRpcRequest]) -> list[JsonRpcResponse]:
        """Run requests one after the other; notifications have no response."""
        responses = [await self.handle_single_request(request) for request in request_objects]
        return [response for response in responses if response is not None]

    def prepare_method_call(self, method: Callable[..., object], args: Params) -> Callable[[], object]:
        """Return ``method`` with positional or named arguments filled in."""
        return partial(method, **args) if isinstance(args, Mapping) else partial(method, *args)

    async def call_method(self, method: Callable[[], object]) -> object:
        """Call a function as exposed methods are called: in a unit of work, in a thread unless it is ``async``."""
        return await self._dispatcher.invoke(Method("call_method", method), (), {}, self.call_context)

    def write_single_response(self, response_obj: JsonRpcResponse) -> None:
        """Write a response as the answer of this request."""
        self._write_json(write_response(response_obj))

    def write_batch_response(self, *responses: JsonRpcResponse) -> None:
        """Write responses as the answer of this request."""
        self._write_json(write_batch([write_response(response) for response in responses]))

    def _write_json(self, raw: bytes) -> None:
        self.set_header("Content-Type", "application/json")
        self.write(raw)
