"""``GET /openrpc.json`` and ``GET /asyncapi.json``: what a service offers, for browsers and tools."""

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import TypeAlias

from tornado.web import RequestHandler

from gemstone_events import strict_json
from gemstone_events.strict_json import JsonValue

OPENRPC_PATH = "/openrpc.json"
ASYNCAPI_PATH = "/asyncapi.json"

DocumentOf: TypeAlias = "Callable[[RequestHandler], Mapping[str, JsonValue] | Awaitable[Mapping[str, JsonValue]]]"
"""Returns the document that a request is answered with."""


class DocumentHandler(RequestHandler):
    """Answers with a document as JSON. Tornado adds an ``Etag``, so that asking again costs little."""

    def initialize(self, document: DocumentOf) -> None:
        """Take what makes the document."""
        self._document = document

    async def get(self) -> None:
        """Answer with the document; with 500 and nothing of the reason where it cannot be made."""
        found = self._document(self)
        body = strict_json.dumps(await found if isawaitable(found) else found)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-cache")  # kept, but asked for again: it may differ from caller to caller
        self.set_header("Vary", "Authorization, Cookie")
        self.finish(body)


def document_rules(
    documents: Mapping[str, DocumentOf],
) -> list[tuple[str, type[RequestHandler], dict[str, object]]]:
    """Return the rules of a Tornado application for documents by path."""
    return [(path, DocumentHandler, {"document": document}) for path, document in documents.items()]
