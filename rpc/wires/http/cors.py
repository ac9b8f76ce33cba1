"""Pages of other sites that may call: what their browsers want to hear (Fetch Standard, section 3.3, CORS protocol)."""

import re
from collections.abc import Mapping

from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from gemstone_events.rpc.wires.http.guard import HttpGuard

_REMEMBERED_SECONDS = 600
_HEADER_NAMES = re.compile(r"[A-Za-z0-9_-]+(?:\s*,\s*[A-Za-z0-9_-]+){0,49}")


def is_preflight(request: HTTPServerRequest) -> bool:
    """Tell whether a browser asks, before a request of a page, whether it may send that."""
    headers = request.headers
    return request.method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers


def cors_headers(guard: HttpGuard, request: HTTPServerRequest) -> Mapping[str, str]:
    """Return the headers of a response that let a page read it, if it is a page of an allowed origin."""
    if not guard.origins:
        return {}
    origin = request.headers.get("Origin", "")
    if not guard.lists_origin(origin):
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Retry-After, WWW-Authenticate",
    }


class PreflightHandler(RequestHandler):
    """Answers a browser that asks in the name of an allowed page."""

    def initialize(self, guard: HttpGuard, methods: str) -> None:
        """Take who may call, and by which methods."""
        self._guard = guard
        self._methods = methods

    async def options(self) -> None:
        """Say what the page may send: whatever headers it likes, for it may call."""
        self.set_status(204)
        for name, value in cors_headers(self._guard, self.request).items():
            self.set_header(name, value)
        self.set_header("Access-Control-Allow-Methods", self._methods)
        self.set_header("Access-Control-Max-Age", str(_REMEMBERED_SECONDS))
        wanted = self.request.headers.get("Access-Control-Request-Headers", "").strip()
        if _HEADER_NAMES.fullmatch(wanted):
            self.set_header("Access-Control-Allow-Headers", wanted)
