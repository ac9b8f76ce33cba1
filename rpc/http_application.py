"""The Tornado application of a service: the JSON-RPC endpoint, health checks, static files and the author's pages.

All that can be refused is refused from the headers, before a byte of the body is read.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.log import access_log
from tornado.web import Application, RequestHandler, StaticFileHandler

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.health import ALWAYS_HEALTHY, LIVE_PATH, READY_PATH, HealthChecks, HealthHandler
from gemstone_events.rpc.http_guard import HttpGuard
from gemstone_events.rpc.http_handlers import Authenticate, GemstoneCustomHandler, TornadoJsonRpcHandler
from gemstone_events.rpc.http_refusal import LingeringConnections, Refusal, RefusalDelegate
from gemstone_events.rpc.in_flight import InFlight

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_STOPPING = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the service is stopping", {"Retry-After": "1"})
_FOREIGN_HOST = Refusal(HTTPStatus.FORBIDDEN, "this Host is not the service's: list it in allowed_hosts")
_FOREIGN_ORIGIN = Refusal(HTTPStatus.FORBIDDEN, "pages of this Origin may not call: list it in allowed_origins")
_MULTIPART = Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "multipart bodies are not accepted: see accept_multipart")
_NOT_POST = Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "JSON-RPC requests are POSTed", {"Allow": "POST"})
_NOT_JSON = Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type has to be application/json")
_ENCODED = Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body without Content-Encoding")
_NO_LENGTH = Refusal(HTTPStatus.LENGTH_REQUIRED, "send Content-Length, or Transfer-Encoding: chunked")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of what clients can make the server hold; see ``docs`` for what happens beyond each.

    Attributes:
        body_bytes: size of a request's body; beyond it 413.
        header_bytes: size of a request's head; beyond it the connection is closed.
        idle_timeout: seconds for the whole head of a request to come, counted from the end of the one before.
        body_timeout: seconds for the whole body to come.
        connections: how many may be open at once; further ones are answered 503 and closed.
        accept_multipart: let ``multipart/*`` bodies through to the author's own handlers; Tornado parses them whole.
    """

    body_bytes: int = 1024 * 1024
    header_bytes: int = 16 * 1024
    idle_timeout: float = 10.0
    body_timeout: float = 15.0
    connections: int = 1000
    accept_multipart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPages:
    """What a service serves besides its endpoint and health checks.

    Attributes:
        microservice: what handlers find as ``self.microservice``.
        extra_handlers: pairs of a URL, which is a regular expression as in Tornado, and a handler class.
        static_dirs: pairs of a URL and the directory whose files are served below it.
        template_dir: where ``RequestHandler.render`` looks for templates.
    """

    microservice: object = None
    extra_handlers: Sequence[tuple[str, type[GemstoneCustomHandler]]] = ()
    static_dirs: Sequence[tuple[str, str | Path]] = ()
    template_dir: str | Path | None = None


def make_application(
    dispatcher: Dispatcher,
    guard: HttpGuard,
    *,
    endpoint: str = "/api",
    limits: HttpLimits = HttpLimits(),
    pages: WebPages = WebPages(),
    health: HealthChecks = ALWAYS_HEALTHY,
    authenticate: Authenticate | None = None,
) -> "RpcApplication":
    """Return a Tornado application that serves ``dispatcher`` at ``endpoint``; give it to ``HttpServer``.

    ``authenticate`` is what ``current_user`` of the endpoint's handler calls, the service's ``authenticate_request``.
    The endpoint and the health checks come before whatever ``pages`` may match.

    Raises:
        ServiceConfigurationError: the endpoint, a handler or a directory cannot be used.
    """
    if not endpoint.startswith("/") or endpoint in (LIVE_PATH, READY_PATH):
        raise ServiceConfigurationError(f"endpoint {endpoint!r} has to begin with '/' and be no health check's path")
    return RpcApplication(dispatcher, guard, endpoint, limits, pages, health, authenticate)


class RpcApplication(Application):
    """A Tornado application with a JSON-RPC endpoint; ``make_application`` makes it.

    Attributes:
        in_flight: what is being answered.
        lingering: connections that were refused in the middle of a request.
        limits: bounds, which ``HttpServer`` keeps as well.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        guard: HttpGuard,
        endpoint: str,
        limits: HttpLimits,
        pages: WebPages,
        health: HealthChecks,
        authenticate: Authenticate | None,
    ) -> None:
        rules = [*_health_rules(health), *_static_rules(pages), *_extra_rules(pages)]
        super().__init__(rules, template_path=None if pages.template_dir is None else str(pages.template_dir))
        self.in_flight = InFlight()
        self.lingering = LingeringConnections()
        self.limits = limits
        self._guard = guard
        self._endpoint = endpoint
        self._handler_arguments = {
            "dispatcher": dispatcher,
            "in_flight": self.in_flight,
            "authenticate": authenticate,
        }

    def find_handler(self, request: HTTPServerRequest, **kwargs: object) -> HTTPMessageDelegate:  # type: ignore[override]
        """Choose, from its headers alone, who answers a request."""
        is_call = request.path == self._endpoint
        refusal = self._refuse_request(request) or (self._refuse_call(request) if is_call else None)
        if refusal is not None:
            return RefusalDelegate(request, refusal, self.lingering)
        self.in_flight.begin(request.server_connection)
        if not is_call:
            return super().find_handler(request, **kwargs)
        handler = self.get_handler_delegate(request, TornadoJsonRpcHandler, self._handler_arguments)
        return EndpointDelegate(request, handler, self.in_flight, self.limits.body_bytes)

    def log_request(self, handler: RequestHandler) -> None:
        """Take notice that a response is written, and log it as Tornado does, but only where somebody listens."""
        self.in_flight.end(handler.request.server_connection)
        if handler.get_status() >= 400 or access_log.isEnabledFor(20):
            super().log_request(handler)

    def _refuse_request(self, request: HTTPServerRequest) -> Refusal | None:
        if self.in_flight.draining:
            return _STOPPING
        if not self._guard.allows_host(request.host_name):
            return _FOREIGN_HOST
        if request.method in _SAFE_METHODS:
            return None
        origin = request.headers.get("Origin")
        if origin is not None and not self._guard.allows_origin(origin, request.host):
            return _FOREIGN_ORIGIN
        media_type = request.headers.get("Content-Type", "")
        if not self.limits.accept_multipart and media_type.lstrip()[:10].lower() == "multipart/":
            return _MULTIPART
        return None

    def _refuse_call(self, request: HTTPServerRequest) -> Refusal | None:
        headers = request.headers
        if request.method != "POST":
            return _NOT_POST
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            return _NOT_JSON
        if "Content-Encoding" in headers:
            return _ENCODED
        length = headers.get("Content-Length")
        if length is None:
            return None if "Transfer-Encoding" in headers else _NO_LENGTH
        if length.isdecimal() and int(length[:20]) > self.limits.body_bytes:
            return _too_large(self.limits.body_bytes)
        return None


class EndpointDelegate(HTTPMessageDelegate):
    """Collects the body of a call, counting what comes in chunks, and hands it to the handler."""

    def __init__(
        self, request: HTTPServerRequest, handler: HTTPMessageDelegate, in_flight: InFlight, body_bytes: int
    ) -> None:
        self._request = request
        self._handler = handler
        self._in_flight = in_flight
        self._body_bytes = body_bytes
        self._received = 0

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        """Begin to count where the length is not announced."""
        if "Transfer-Encoding" in headers:
            self._connection.set_max_body_size(sys.maxsize)  # it is counted here, and answered with 413

    def data_received(self, chunk: bytes) -> None:
        """Keep a part of the body, or answer and drop the rest where it is too much."""
        before, self._received = self._received, self._received + len(chunk)
        if self._received <= self._body_bytes:
            self._handler.data_received(chunk)
        elif before <= self._body_bytes:
            self._handler.on_connection_close()  # frees what it holds
            self._connection.write_headers(*_too_large(self._body_bytes).response(close=True))
        elif self._received > 2 * self._body_bytes:
            self._connection.close()

    def finish(self) -> None:
        """Run the call: the body is complete."""
        if self._received <= self._body_bytes:
            self._in_flight.accept(self._request)
            self._handler.finish()
        else:
            self._connection.finish()
            self._in_flight.end(self._request.server_connection)

    def on_connection_close(self) -> None:
        """Forget a call whose body never came whole."""
        self._handler.on_connection_close()

    @property
    def _connection(self) -> HTTP1Connection:
        return cast(HTTP1Connection, self._request.connection)


def _too_large(limit: int) -> Refusal:
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {limit} bytes at most")


def _health_rules(health: HealthChecks) -> list[tuple[str, type[RequestHandler], dict[str, object]]]:
    return [
        (LIVE_PATH, HealthHandler, {"check": health.live}),
        (READY_PATH, HealthHandler, {"check": health.ready}),
    ]


def _static_rules(pages: WebPages) -> list[tuple[str, type[RequestHandler], dict[str, object]]]:
    for url, directory in pages.static_dirs:
        if not Path(directory).is_dir():
            raise ServiceConfigurationError(f"static directory {str(directory)!r} for {url!r} does not exist")
    return [
        (re.escape(url.rstrip("/")) + "/(.*)", StaticFileHandler, {"path": str(directory)})
        for url, directory in pages.static_dirs
    ]


def _extra_rules(pages: WebPages) -> list[tuple[str, type[RequestHandler], dict[str, object]]]:
    for url, handler in pages.extra_handlers:
        if not (isinstance(handler, type) and issubclass(handler, GemstoneCustomHandler)):
            raise ServiceConfigurationError(
                f"the extra handler {handler!r} for {url!r} has to be a subclass of GemstoneCustomHandler"
            )
    return [(url, handler, {"microservice": pages.microservice}) for url, handler in pages.extra_handlers]
