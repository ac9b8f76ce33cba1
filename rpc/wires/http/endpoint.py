"""The wire "http": collects the body of a call, has it dispatched, and writes the answer."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
    format_timestamp,
)
from tornado.log import access_log
from tornado.web import Application, HTTPError

from gemstone_events.deadlines import Deadlines
from gemstone_events.rpc.authentication.caller import Authentication, BodySender, TooManyFailedAttempts
from gemstone_events.rpc.call_context import CallContext, Caller, read_timeout
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.errors import AccessDenied
from gemstone_events.rpc.request_handler import RpcHandler, WireHandler
from gemstone_events.rpc.wires.http.handlers import TornadoJsonRpcHandler
from gemstone_events.rpc.wires.http.in_flight import InFlight
from gemstone_events.rpc.wires.http.refusal import LingeringConnections, Refusal, RefusalDelegate

WIRE = "http"

_logger = logging.getLogger("gemstone_events.rpc.http")

_OK = ResponseStartLine("HTTP/1.1", 200, "OK")
_NO_CONTENT = ResponseStartLine("HTTP/1.1", 204, "No Content")


class Endpoint:
    """What all calls to an endpoint have in common.

    Args:
        dispatcher: answers them.
        in_flight: keeps account of them.
        body_bytes: size of a body; beyond it 413.
        body_timeout: seconds for a body to come; beyond it the connection is closed.
        authentication: finds out who calls.
        lingering: keeps connections that are refused in the middle of a request.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        in_flight: InFlight,
        *,
        body_bytes: int,
        body_timeout: float,
        authentication: Authentication,
        lingering: LingeringConnections,
    ) -> None:
        self.dispatcher = dispatcher
        self.in_flight = in_flight
        self.body_bytes = body_bytes
        self.body_deadlines: Deadlines[EndpointDelegate] = Deadlines(EndpointDelegate.cut_off)
        self.body_timeout = body_timeout
        self.authentication = authentication
        self.lingering = lingering

    def too_large(self) -> Refusal:
        """Return the answer to a body beyond ``body_bytes``."""
        return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {self.body_bytes} bytes at most")

    async def refuse_stranger(self, caller: Caller) -> Refusal | None:
        """Return the answer to a caller who may call nothing, known from the headers alone; None for one who may."""
        try:
            async with asyncio.timeout(self.dispatcher.limits.call_timeout):
                user = await caller.identify("any method")
        except TooManyFailedAttempts as error:
            return Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"too many failed attempts: try again in {error.retry_after} seconds",
                {"Retry-After": str(error.retry_after)},
            )
        except AccessDenied:
            user = None
        except (Exception, SystemExit):  # no caller may end the process
            _logger.exception("authenticate_request failed")
            explanation = "who calls cannot be found out: see the service's log"
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, explanation, {"Retry-After": "1"})
        if user:
            return None
        explanation = "this service answers only callers that it knows: send credentials, or other ones"
        return Refusal(HTTPStatus.UNAUTHORIZED, explanation, {"WWW-Authenticate": self.authentication.challenge})


class EndpointDelegate(HTTPMessageDelegate):
    """One call: its body within the limits of size and time, then its answer.

    It writes the answer itself, and makes a Tornado handler only for methods and checks that ask for one: that takes
    as long as all the rest.

    Args:
        application: makes the handlers.
        endpoint: where the call came in.
        request: the call's, without its body.
        headers: sent with the answer, whatever it is.
    """

    def __init__(
        self, application: Application, endpoint: Endpoint, request: HTTPServerRequest, headers: Mapping[str, str]
    ) -> None:
        self._headers = headers
        self._application = application
        self._endpoint = endpoint
        self._request = request
        self._connection = cast(HTTP1Connection, request.connection)
        self._caller = BodySender(endpoint.authentication, self._make_checked)
        self._began = time.monotonic()
        self._context = CallContext(
            WIRE,
            request.headers,
            request.remote_ip or "",
            self._make_handler,
            read_timeout(request.headers),
            caller=self._caller,
        )
        self._refused: RefusalDelegate | None = None
        self._chunks: list[bytes] = []
        self._received = 0
        self._handler: TornadoJsonRpcHandler | None = None
        self._handlers_answer: asyncio.Future[bytes | None] | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Start the clock for the body; where all callers have to be known, find out first who this one is."""
        if self._endpoint.authentication.required:
            return self._admit(start_line, headers)
        self._expect_body(headers)
        return None

    async def _admit(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        # Tornado reads the body when this is done.
        refusal = await self._endpoint.refuse_stranger(self._caller)
        if refusal is None:
            self._expect_body(headers)
            return
        self._refused = RefusalDelegate(self._request, refusal.with_headers(self._headers), self._endpoint.lingering)
        self._refused.headers_received(start_line, headers)

    def _expect_body(self, headers: HTTPHeaders) -> None:
        # Not Tornado's body timeout, which costs a task and two turns of the event loop per request.
        due = asyncio.get_running_loop().time() + self._endpoint.body_timeout
        self._endpoint.body_deadlines.begin(self, due)
        if "Content-Length" not in headers:  # a length that is not announced is counted here, and answered with 413
            self._connection.set_max_body_size(sys.maxsize)

    def cut_off(self) -> None:
        """Wait for the body no longer."""
        self._connection.close()

    def data_received(self, chunk: bytes) -> None:
        """Keep a part of the body, or answer and drop the rest where it is too much."""
        limit = self._endpoint.body_bytes
        before, self._received = self._received, self._received + len(chunk)
        if self._received <= limit:
            self._chunks.append(chunk)
        elif before <= limit:
            self._chunks.clear()
            self._connection.write_headers(*self._endpoint.too_large().with_headers(self._headers).response())
        elif self._received > 2 * limit:
            self._connection.close()

    def finish(self) -> None:
        """Run the call: its body is complete. What arrived in time is run to its end, even if the client leaves."""
        if self._refused is not None:
            self._refused.finish()
            self._endpoint.in_flight.end(self._request.server_connection)
            return
        self._endpoint.body_deadlines.end(self)
        if self._received <= self._endpoint.body_bytes:
            call = asyncio.get_running_loop().create_task(self._answer())
            self._endpoint.in_flight.begin_call(call)
        else:
            self._connection.finish()
            self._endpoint.in_flight.end(self._request.server_connection)

    def on_connection_close(self) -> None:
        """Forget a call whose body never came whole."""
        self._endpoint.body_deadlines.end(self)
        self._chunks.clear()

    async def _answer(self) -> None:
        body = self._request.body = b"".join(self._chunks)
        try:
            self._caller.body_came(body)
            self._write(await self._endpoint.dispatcher.dispatch(body, self._context_now()))
        except Exception:
            _logger.exception("a call failed in a way that has no answer")
            self._connection.close()
        except asyncio.CancelledError:
            self._connection.close()
            raise
        finally:
            if self._handlers_answer is not None and not self._handlers_answer.done():
                # Not 503: it was begun, and nobody knows how far it came.
                self._handlers_answer.set_exception(HTTPError(HTTPStatus.INTERNAL_SERVER_ERROR))

    def _context_now(self) -> CallContext:
        """Return where the call comes from; its caller has waited already while he was looked at and his body came."""
        if self._context.timeout is None:
            return self._context
        return replace(self._context, timeout=self._context.timeout - (time.monotonic() - self._began))

    def _make_checked(self) -> RpcHandler:
        return WireHandler(self._endpoint.dispatcher, self._context, self._request)

    def _make_handler(self, context: CallContext) -> TornadoJsonRpcHandler:
        if self._handler is None:
            self._handlers_answer = asyncio.get_running_loop().create_future()
            arguments = {
                "dispatcher": self._endpoint.dispatcher,
                "context": context,
                "answer": self._handlers_answer,
            }
            delegate = self._application.get_handler_delegate(self._request, TornadoJsonRpcHandler, arguments)
            delegate.execute()
            self._handler = cast(TornadoJsonRpcHandler, delegate.handler)
        return self._handler

    def _write(self, answer: bytes | None) -> None:
        own = {**self._headers, "Connection": "close"} if self._endpoint.in_flight.draining else self._headers
        if self._handlers_answer is not None and self._handler is not None:
            for name, value in own.items():
                self._handler.set_header(name, value)
            self._handlers_answer.set_result(answer)
            return
        headers = HTTPHeaders(own)
        headers["Date"] = _http_date(int(time.time()))
        if answer is None:
            self._connection.write_headers(_NO_CONTENT, headers)
        else:
            headers["Content-Type"] = "application/json"
            headers["Content-Length"] = str(len(answer))
            self._connection.write_headers(_OK, headers, answer)
        self._connection.finish()
        self._endpoint.in_flight.end(self._request.server_connection)
        if access_log.isEnabledFor(logging.INFO):
            self._log(204 if answer is None else 200)

    def _log(self, status: int) -> None:
        request = self._request
        milliseconds = 1000 * request.request_time()
        access_log.info("%d POST %s (%s) %.2fms", status, request.uri, request.remote_ip, milliseconds)


@lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    return format_timestamp(second)
