"""The client's side of HTTP: takes bodies to services by POST, over connections that are kept."""

import asyncio
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.logs import printable
from gemstone_events.rpc.call_context import TIMEOUT_HEADER, write_timeout
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    InvalidAnswerError,
    OutcomeUnknownError,
    RemoteServiceError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings, WireCounts, WireRequest
from gemstone_events.rpc.wires.http.answer import HttpAnswer, body_of
from gemstone_events.rpc.wires.http.target import HttpTarget, failure_of, read_target

# Below the 5 s after which common servers close an idle connection (ours: 10 s): a request on a connection that is
# being closed is lost, and nobody knows whether it was carried out.
_KEEP_ALIVE_SECONDS = 4.0
_CONNECTIONS_PER_HOST = 100
_LARGE_BODY = 512 * 1024
_MAX_TARGETS = 1000
_OURS = frozenset({"connection", "content-length", "content-type", "expect", "transfer-encoding", "upgrade"})


@dataclass(slots=True)
class _Progress:
    is_sent: bool = False


class HttpClientWire:
    """Calls services by ``http:`` and ``https:``.

    Redirects are not followed, cookies not kept, proxies of the environment not used; TLS checks the chain and the
    host. A URL without a path stands for ``/api``; a user and a password in it are sent as ``Authorization: Basic``.

    Args:
        settings: what all wires are made with; ``namespace`` means nothing to HTTP.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.counts = WireCounts()
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._targets: dict[str, HttpTarget] = {}
        self._pending = 0

    def address(self, url: str) -> str:
        """Return the URL without user, password and query.

        Raises:
            ServiceConfigurationError: it is no URL of HTTP; the message says how to write one.
        """
        return self._target(url).address

    async def call(self, url: str, request: WireRequest) -> bytes | None:
        """Send a body by POST and return the answer's; None for HTTP 204 and other empty successes.

        Raises:
            ServiceNotFoundError: nothing is served at that path (404). It was not carried out.
            ServiceUnreachableError: no connection, no secure one, or the server refused before it looked at the body.
                It was not carried out.
            RequestRefusedError: the server takes no such body, for one because it is too long. It was not carried out.
            AccessDeniedError: HTTP 401 or 403. It was not carried out.
            CallTimeoutError: no answer came in time. It may have been carried out.
            InvalidAnswerError: what came is too long, or no answer of JSON-RPC. It may have been carried out.
            OutcomeUnknownError: the connection broke after sending began. It may have been carried out.
            ServiceConfigurationError: the URL or a header cannot be used.
        """
        target = self._target(url)
        headers = {**target.headers, **_checked(request.headers), TIMEOUT_HEADER: write_timeout(request.timeout)}
        if self._pending >= self._settings.pending:
            raise ServiceUnreachableError(f"{self._pending} calls wait for answers already: not sent")
        self._pending += 1
        progress = _Progress()
        try:
            async with asyncio.timeout(request.timeout) as deadline:
                answer = await self._post(target, request.body, headers, progress)
            return body_of(answer, target.address)
        except (aiohttp.ClientError, OSError) as error:
            raise self._explain(error, target, request, deadline.expired(), progress.is_sent) from error
        except (OutcomeUnknownError, asyncio.CancelledError):
            self.counts.unknown += progress.is_sent
            raise
        finally:
            self._pending -= 1

    async def find(self, url: str, pattern: str, patience: float, *, all_of_them: bool = True) -> Sequence[Presence]:
        """Raise: HTTP cannot tell who is there.

        Raises:
            ServiceConfigurationError: always.
        """
        raise ServiceConfigurationError(
            f"{self.address(url)} cannot be asked who serves {pattern!r}: HTTP finds nobody; use a registry, or a broker"
        )

    async def close(self) -> None:
        """Close all connections; calls under way fail. Twice is harmless."""
        session = self._session
        if session is not None:
            await session.close()
            if self._session is session:
                self._session = None

    def _target(self, url: str) -> HttpTarget:
        if url not in self._targets:
            if len(self._targets) >= _MAX_TARGETS:
                self._targets.clear()
            self._targets[url] = read_target(url)
        return self._targets[url]

    def _open_session(self) -> aiohttp.ClientSession:
        tracing = aiohttp.TraceConfig()
        tracing.on_request_headers_sent.append(_note_sent)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=_CONNECTIONS_PER_HOST, keepalive_timeout=_KEEP_ALIVE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "gemstone_events"},
            auto_decompress=False,
            trust_env=False,
            # One bound for the whole call is set around it: aiohttp's is rounded up to whole seconds.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            trace_configs=[tracing],
        )

    async def _post(
        self, target: HttpTarget, body: bytes, headers: Mapping[str, str], progress: _Progress
    ) -> HttpAnswer:
        if self._session is None or self._session.closed:
            self._session = self._open_session()
        async with self._session.post(
            target.url,
            data=body if len(body) < _LARGE_BODY else io.BytesIO(body),
            headers={**headers, "content-type": "application/json"},
            allow_redirects=False,
            trace_request_ctx=progress,
        ) as response:
            return HttpAnswer(
                response.status, response.reason or "", response.headers, await self._read(response, target.address)
            )

    async def _read(self, response: aiohttp.ClientResponse, address: str) -> bytes:
        limit = self._settings.body_bytes
        body = bytearray()
        if (response.content_length or 0) <= limit:
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > limit:
                    break
            else:
                return bytes(body)
        raise InvalidAnswerError(f"the answer of {address} is longer than {limit} bytes")

    def _explain(
        self, error: Exception, target: HttpTarget, request: WireRequest, is_late: bool, is_sent: bool
    ) -> RemoteServiceError:
        where = target.address
        if not is_sent:
            what = f"no connection within {request.timeout:.3f} s" if is_late else failure_of(error, target)
            return ServiceUnreachableError(f"{where} cannot be reached: {what}")
        self.counts.unknown += 1
        if is_late:
            return CallTimeoutError(
                f"no answer of {where} within {request.timeout:.3f} s: it may have been carried out"
            )
        return OutcomeUnknownError(f"the connection to {where} broke: {printable(str(error)) or type(error).__name__}")


async def _note_sent(
    session: aiohttp.ClientSession, context: SimpleNamespace, event: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.is_sent = True


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if name.lower() in _OURS:
            raise ServiceConfigurationError(f"the header {name!r} is set by HTTP itself: leave it out")
        if not value.isprintable():
            raise ServiceConfigurationError(f"the value of the header {name!r} holds a character that is not printable")
    return headers
