"""The request of a call as methods and ``authenticate_request`` see it, alike on every wire."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import overload

from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPServerRequest, RequestStartLine

from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.errors import AccessDenied
from gemstone_events.rpc.methods import Method
from gemstone_events.rpc.protocol import JsonRpcRequest, JsonRpcResponse, Params

_CALL = RequestStartLine("POST", "/", "HTTP/1.0")
CURRENT_USER = "what strangers may not see"
"""What a caller is identified for where nothing is denied to strangers."""


class RpcHandler:
    """The request of a call.

    Methods declared with ``requires_handler_reference`` get it: over HTTP one that is a Tornado ``RequestHandler``
    too. ``authenticate_request`` gets one without, on every wire, for it is asked before there is a response.

    Attributes:
        request: its ``headers`` (looked up in any case of letters), its ``body``, and as ``remote_ip`` who calls, as
            far as the wire knows. Path and query are HTTP's only.
    """

    request: HTTPServerRequest
    _dispatcher: Dispatcher
    _context: CallContext

    @property
    def wire(self) -> str:
        """How the request came: "http", "amqp", or the name of another wire."""
        return self._context.wire

    @property
    def is_repeated(self) -> bool:
        """Whether the wire, not the caller, brings the body a second time: an instance that had it is gone."""
        return self._context.is_repeated

    @overload
    def get_cookie(self, name: str, default: str) -> str: ...

    @overload
    def get_cookie(self, name: str, default: None = None) -> str | None: ...

    def get_cookie(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a cookie of the request."""
        morsel = self.request.cookies.get(name)
        return default if morsel is None else morsel.value

    @property
    def current_user(self) -> object:
        """What ``get_current_user`` returns."""
        return self.get_current_user()

    def get_current_user(self) -> object:
        """Return what the service's ``authenticate_request`` says of the caller, also as ``current_user``.

        Nobody, None, is also who failed too often and is not looked at for a while.

        Raises:
            ServiceConfigurationError: ``authenticate_request`` is a coroutine, and has not been awaited, as it is
                before each private method.
        """
        caller = self._context.caller
        try:
            return None if caller is None else caller.identify_now(CURRENT_USER)
        except AccessDenied:
            return None

    async def identify(self) -> object:
        """Return what ``get_current_user`` does, also where ``authenticate_request`` is a coroutine."""
        caller = self._context.caller
        try:
            return None if caller is None else await caller.identify(CURRENT_USER)
        except AccessDenied:
            return None

    def sent_body(self, digest: bytes) -> bool:
        """Tell whether the body's SHA-256 is ``digest``.

        With ``require_authentication`` HTTP authenticates before it reads the body. The answer is True then, and the
        caller is a stranger after all if the body turns out to be another.
        """
        caller = self._context.caller
        return caller is not None and caller.sent_body(digest)

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


class WireHandler(RpcHandler):
    """The request of a call where there is no HTTP response to write to.

    Args:
        dispatcher: runs further calls.
        context: where the call comes from.
        request: what was sent.
    """

    def __init__(self, dispatcher: Dispatcher, context: CallContext, request: HTTPServerRequest) -> None:
        self._dispatcher = dispatcher
        self._context = context
        self.request = request

    def __getattr__(self, name: str) -> object:
        raise AttributeError(
            f"this request has no {name!r}: only methods that are called over HTTP get a Tornado handler, with a "
            f"response that they can change; this came by {self.wire!r}, or is being authenticated"
        )


def make_request(body: bytes, context: CallContext) -> HTTPServerRequest:
    """Return a body that came by another wire than HTTP as Tornado shows requests.

    Headers that HTTP could not carry are left out, so that nothing in them can be taken for a line of its own.
    """
    headers = HTTPHeaders()
    for name, value in context.headers.items():
        if name.lower() == "host":
            continue  # it would have to be one, and says nothing here
        try:
            headers.add(name, value)
        except HTTPInputError:
            continue
    request = HTTPServerRequest(headers=headers, body=body, start_line=_CALL)
    request.remote_ip = context.peer
    request.protocol = context.wire
    return request
