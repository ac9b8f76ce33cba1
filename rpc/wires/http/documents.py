"""``GET /openrpc.json`` and ``GET /asyncapi.json``: what a service offers, for browsers and tools."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TypeAlias

from tornado.web import RequestHandler

from gemstone_events import strict_json
from gemstone_events.rpc.authentication.caller import Authentication, BodySender
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.description.discover import is_known
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.request_handler import WireHandler
from gemstone_events.rpc.wires.http.cors import cors_headers
from gemstone_events.rpc.wires.http.guard import HttpGuard
from gemstone_events.strict_json import JsonValue

OPENRPC_PATH = "/openrpc.json"
ASYNCAPI_PATH = "/asyncapi.json"

DocumentOf: TypeAlias = Callable[[bool], Mapping[str, JsonValue]]
"""Returns a document; the argument tells whether the service knows who asks."""


class DocumentHandler(RequestHandler):
    """Answers with a document as JSON; with 401 to strangers, where the service answers only callers that it knows.

    Tornado adds an ``Etag``, so that asking again costs little.
    """

    def initialize(
        self, document: DocumentOf, dispatcher: Dispatcher, authentication: Authentication, guard: HttpGuard
    ) -> None:
        """Take what makes the document, and what finds out who asks."""
        self._document = document
        self._guard = guard
        self._dispatcher = dispatcher
        self._authentication = authentication

    async def get(self) -> None:
        """Answer with the document."""
        is_friend = await self._is_known()
        for name, value in cors_headers(self._guard, self.request).items():
            self.set_header(name, value)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "private, no-cache")  # it differs from caller to caller
        if self._authentication.required and not is_friend:
            self.set_status(HTTPStatus.UNAUTHORIZED)
            self.set_header("WWW-Authenticate", self._authentication.challenge)
            self.finish(strict_json.dumps({"error": "this service answers only callers that it knows"}))
            return
        self.finish(strict_json.dumps(self._document(is_friend)))

    async def _is_known(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._dispatcher.limits.call_timeout):
                return await is_known(self._make_handler())
        return False

    def _make_handler(self) -> WireHandler:
        request = self.request
        caller = BodySender(self._authentication, self._make_handler, b"")
        context = CallContext("http", request.headers, request.remote_ip or "", caller=caller)
        return WireHandler(self._dispatcher, context, request)


def document_rules(
    documents: Mapping[str, DocumentOf], dispatcher: Dispatcher, authentication: Authentication, guard: HttpGuard
) -> list[tuple[str, type[RequestHandler], dict[str, object]]]:
    """Return the rules of a Tornado application for documents by path."""
    shared = {"dispatcher": dispatcher, "authentication": authentication, "guard": guard}
    return [(path, DocumentHandler, {"document": document, **shared}) for path, document in documents.items()]
