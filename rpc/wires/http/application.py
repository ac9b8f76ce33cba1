"""The Tornado application of a service: the JSON-RPC endpoint, health checks, static files and the author's pages.

All that can be refused is refused from the headers, before a byte of the body is read.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.log import access_log
from tornado.web import Application, RequestHandler, StaticFileHandler

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.authentication.caller import Authentication
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.wires.http.cors import PreflightHandler, cors_headers, is_preflight
from gemstone_events.rpc.wires.http.documents import DocumentOf, document_rules
from gemstone_events.rpc.wires.http.endpoint import Endpoint, EndpointDelegate
from gemstone_events.rpc.wires.http.guard import HttpGuard
from gemstone_events.rpc.wires.http.handlers import GemstoneCustomHandler
from gemstone_events.rpc.wires.http.health import ALWAYS_HEALTHY, LIVE_PATH, READY_PATH, HealthChecks, HealthHandler
from gemstone_events.rpc.wires.http.in_flight import InFlight
from gemstone_events.rpc.wires.http.refusal import LingeringConnections, Refusal, RefusalDelegate

_NO_DOCUMENTS: Mapping[str, DocumentOf] = MappingProxyType({})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_STOPPING = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the service is stopping", {"Retry-After": "1"})
_FOREIGN_HOST = Refusal(HTTPStatus.FORBIDDEN, "this Host is not the service's: list it in allowed_hosts")
_FOREIGN_ORIGIN = Refusal(HTTPStatus.FORBIDDEN, "pages of this Origin may not call: list it in allowed_origins")
_MULTIPART = Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "multipart bodies are not accepted: see accept_multipart")
_NOT_POST = Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "JSON-RPC requests are POSTed", {"Allow": "POST"})
_NOT_JSON = Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type has to be application/json")
_ENCODED = Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body without Content-Encoding")
_CHUNKS_IN_1_0 = Refusal(HTTPStatus.BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding: send Content-Length, or HTTP/1.1")
_NO_LENGTH = Refusal(HTTPStatus.LENGTH_REQUIRED, "send Content-Length, or Transfer-Encoding: chunked")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of what clients can make the server hold.

    Attributes:
        body_bytes: size of a request's body; beyond it 413.
        header_bytes: size of a request's head; beyond it the connection is closed.
        idle_timeout: seconds for the whole head of a request to come, counted from the end of the one before; beyond
            it the connection is closed.
        body_timeout: seconds for the whole body to come; beyond it the connection is closed.
        answer_timeout: seconds for a client to take an answer that is ready; beyond it the connection is closed.
        connections: how many may be open at once; further ones are answered 503 and closed.
        accept_multipart: let ``multipart/*`` bodies through to the author's own handlers; Tornado parses them whole.
    """

    body_bytes: int = 1024 * 1024
    header_bytes: int = 16 * 1024
    idle_timeout: float = 10.0
    body_timeout: float = 15.0
    answer_timeout: float = 60.0
    connections: int = 1000
    accept_multipart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPages:
    """What a service serves besides its endpoint and health checks.

    Attributes:
        microservice: what handlers find as ``self.microservice``.
        extra_handlers: pairs of a URL, which is a regular expression as in Tornado, and a subclass of
            ``GemstoneCustomHandler``.
        static_dirs: pairs of a URL and the directory whose files are served below it.
        template_dir: where ``RequestHandler.render`` looks for templates.
    """

    microservice: object = None
    extra_handlers: Sequence[tuple[str, type[RequestHandler]]] = ()
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
    authentication: Authentication | None = None,
    documents: Mapping[str, DocumentOf] = _NO_DOCUMENTS,
) -> "RpcApplication":
    """Return a Tornado application that serves ``dispatcher`` at ``endpoint``; give it to ``HttpServer``.

    ``authentication`` finds out who calls, for ``current_user`` of the endpoint's handlers; by default nobody is known.
    The same one's ``authorize`` belongs to the dispatcher. ``documents`` are served at their paths.
    The endpoint, the documents and the health checks come before whatever ``pages`` may match.

    Raises:
        ServiceConfigurationError: the endpoint, a handler or a directory cannot be used.
    """
    if not endpoint.startswith("/") or endpoint in (LIVE_PATH, READY_PATH):
        raise ServiceConfigurationError(f"endpoint {endpoint!r} has to begin with '/' and be no health check's path")
    authentication = authentication or Authentication()
    return RpcApplication(dispatcher, guard, endpoint, limits, pages, health, authentication, documents)


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
        authentication: Authentication,
        documents: Mapping[str, DocumentOf],
    ) -> None:
        described = document_rules(documents, dispatcher, authentication, guard)
        rules = [*_health_rules(health), *described, *_static_rules(pages), *_extra_rules(pages)]
        super().__init__(rules, template_path=None if pages.template_dir is None else str(pages.template_dir))
        self.in_flight = InFlight()
        self.lingering = LingeringConnections()
        self.limits = limits
        self._guard = guard
        self._path = endpoint
        self._documents = frozenset(documents)
        self._endpoint = Endpoint(
            dispatcher,
            self.in_flight,
            body_bytes=limits.body_bytes,
            body_timeout=limits.body_timeout,
            authentication=authentication,
            lingering=self.lingering,
        )

    def find_handler(self, request: HTTPServerRequest, **kwargs: object) -> HTTPMessageDelegate:  # type: ignore[override]
        """Choose, from its headers alone, who answers a request."""
        is_call = request.path == self._path
        cors = cors_headers(self._guard, request) if is_call else {}
        refusal = self._refuse_request(request) or (self._refuse_call if is_call else self._refuse_page)(request)
        if refusal is not None:
            return RefusalDelegate(request, refusal.with_headers(cors), self.lingering)
        self.in_flight.begin(request.server_connection)
        is_asked_before = is_preflight(request) and (is_call or request.path in self._documents)
        if is_call and not is_asked_before:
            return EndpointDelegate(self, self._endpoint, request, cors)
        cast(HTTP1Connection, request.connection).set_body_timeout(self.limits.body_timeout)
        if is_asked_before:
            arguments = {"guard": self._guard, "methods": "POST" if is_call else "GET"}
            return self.get_handler_delegate(request, PreflightHandler, arguments)
        return super().find_handler(request, **kwargs)

    def log_request(self, handler: RequestHandler) -> None:
        """Take notice that a response is written, and log it as Tornado does, but only where somebody listens."""
        self.in_flight.end(handler.request.server_connection)
        if handler.get_status() >= 400 or access_log.isEnabledFor(logging.INFO):
            super().log_request(handler)

    def _refuse_request(self, request: HTTPServerRequest) -> Refusal | None:
        if self.in_flight.draining:
            return _STOPPING
        if not self._guard.allows_host(request.host_name):
            return _FOREIGN_HOST
        if request.version == "HTTP/1.0" and "Transfer-Encoding" in request.headers:
            return _CHUNKS_IN_1_0  # what its end is, others may see otherwise (RFC 9112, section 6.1)
        if "Origin" not in request.headers or request.method in _SAFE_METHODS:
            return None
        if not self._guard.allows_origin(request.headers["Origin"], request.host):
            return _FOREIGN_ORIGIN
        return None

    def _refuse_call(self, request: HTTPServerRequest) -> Refusal | None:
        if is_preflight(request):
            return None if self._guard.lists_origin(request.headers["Origin"]) else _FOREIGN_ORIGIN
        if request.method != "POST":
            return _NOT_POST
        if _media_type(request) != "application/json":
            return _NOT_JSON
        headers = request.headers
        if "Content-Encoding" in headers:
            return _ENCODED
        if "Content-Length" not in headers:
            return None if "Transfer-Encoding" in headers else _NO_LENGTH
        length = headers["Content-Length"]
        return self._endpoint.too_large() if length.isdecimal() and int(length[:20]) > self.limits.body_bytes else None

    def _refuse_page(self, request: HTTPServerRequest) -> Refusal | None:
        if self.limits.accept_multipart or not _media_type(request).startswith("multipart/"):
            return None
        return _MULTIPART


def _media_type(request: HTTPServerRequest) -> str:
    if "Content-Type" not in request.headers:
        return ""
    return request.headers["Content-Type"].partition(";")[0].strip().lower()


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
