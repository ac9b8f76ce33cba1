"""Answers of plain HTTP to requests that never reach a method, sent before their bodies are read."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from gemstone_events.cancellation import end
from gemstone_events.logs import printable

_LINGER_SECONDS = 2.0
_LINGER_BYTES = 8 * 1024 * 1024
_READ_BYTES = 65536
_SHOWN = 200

_logger = logging.getLogger("gemstone_events.rpc.http")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status, and one line for whoever wrote the client that says what is wrong and how to mend it."""

    status: HTTPStatus
    explanation: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, *, close: bool = False) -> tuple[ResponseStartLine, HTTPHeaders, bytes]:
        """Return start line, headers and body."""
        body = f"{self.explanation}\n".encode()
        headers = HTTPHeaders({"Content-Type": "text/plain; charset=UTF-8", "Content-Length": str(len(body))})
        headers.update(self.headers)
        if close:
            headers["Connection"] = "close"
        return ResponseStartLine("HTTP/1.1", self.status.value, self.status.phrase), headers, body

    def with_headers(self, headers: Mapping[str, str]) -> "Refusal":
        """Return the same refusal with more headers."""
        return replace(self, headers={**self.headers, **headers})

    def raw_response(self) -> bytes:
        """Return the whole response as bytes, for a connection that is closed after it."""
        start, headers, body = self.response(close=True)
        lines = [f"{start.version} {start.code} {start.reason}", *(f"{k}: {v}" for k, v in headers.get_all()), "", ""]
        return "\r\n".join(lines).encode("latin1") + body


class LingeringConnections:
    """Connections that were refused while their clients were still sending.

    A socket that is closed with bytes unread is reset, and the reset can overtake the answer. So what still comes is
    read and dropped for a short while, up to a bound, before the socket is closed (as RFC 9112, section 9.6, advises).
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def refuse(self, stream: IOStream, refusal: Refusal) -> None:
        """Answer on a connection that nobody else reads from, then close it."""
        task = asyncio.get_running_loop().create_task(_answer_and_drop(stream, refusal.raw_response()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Close them all."""
        await end(*self._tasks)


class RefusalDelegate(HTTPMessageDelegate):
    """Answers one request with a refusal. A body that is announced is not waited for: the connection ends."""

    def __init__(self, request: HTTPServerRequest, refusal: Refusal, lingering: LingeringConnections) -> None:
        self._connection = cast(HTTP1Connection, request.connection)
        self._request = request
        self._refusal = refusal
        self._lingering = lingering

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        """Answer at once where a body is announced."""
        request = self._request
        _logger.warning(
            "%d %s %s (%s): %s",
            self._refusal.status,
            request.method,
            printable(request.path[:_SHOWN]),
            request.remote_ip,
            self._refusal.explanation,
        )
        if "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0":
            self._lingering.refuse(self._connection.detach(), self._refusal)

    def finish(self) -> None:
        """Answer where there was no body; the connection can be used again."""
        start, response_headers, body = self._refusal.response()
        self._connection.write_headers(start, response_headers, None if self._request.method == "HEAD" else body)
        self._connection.finish()


async def _answer_and_drop(stream: IOStream, answer: bytes) -> None:
    try:
        with contextlib.suppress(StreamClosedError, TimeoutError, OSError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await stream.write(answer)
                if not isinstance(stream, SSLIOStream):
                    stream.socket.shutdown(socket.SHUT_WR)
                dropped = 0
                while dropped < _LINGER_BYTES:
                    dropped += len(await stream.read_bytes(_READ_BYTES, partial=True))
    finally:
        stream.close()
