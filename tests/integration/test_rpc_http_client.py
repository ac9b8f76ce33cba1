"""The client's side of HTTP, against real sockets that answer well, badly, late and not at all."""

import asyncio
import base64
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_errors import (
    AccessDeniedError,
    CallTimeoutError,
    InvalidAnswerError,
    OutcomeUnknownError,
    RemoteServiceError,
    RequestRefusedError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.wire import ClientSettings, WireRequest
from gemstone_events.rpc.wires.http import client
from gemstone_events.rpc.wires.http.application import HttpLimits
from gemstone_events.rpc.wires.http.client import HttpClientWire
from tests.waiting import until

PATIENCE = 10.0
CALL = b'{"jsonrpc":"2.0","method":"add","params":[19,23],"id":1}'
ANSWER = b'{"jsonrpc":"2.0","result":42,"id":1}'

Reply = Callable[["Received", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Received:
    """A request as it came."""

    start: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """An HTTP server that does to a connection what the test says."""

    reply: Reply
    port: int = 0
    connections: int = 0
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
                start, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append(Received(start, headers, body))
                await self.reply(self.received[-1], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def response(status: str = "200 OK", body: bytes = ANSWER, *headers: str) -> bytes:
    kind = "application/json" if body[:1] in (b"{", b"[") else "text/plain; charset=UTF-8"
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {kind}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def says(*parts: bytes, when: asyncio.Event | None = None, then_close: bool = False) -> Reply:
    async def reply(received: Received, writer: asyncio.StreamWriter) -> None:
        if when is not None:
            await when.wait()
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then_close:
            writer.close()

    return reply


@asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[Server]:
    server = Server(reply)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=8 * 1024 * 1024)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


@pytest.fixture
async def wire() -> AsyncIterator[HttpClientWire]:
    wire = HttpClientWire(ClientSettings())
    yield wire
    await wire.close()


def request(body: bytes = CALL, timeout: float = PATIENCE, **headers: str) -> WireRequest:
    return WireRequest(body, timeout, {name.replace("_", "-"): value for name, value in headers.items()})


async def test_a_call_is_a_post_of_json_with_its_timeout(wire: HttpClientWire) -> None:
    async with serving(says(response())) as server:
        assert await wire.call(server.url, request(timeout=2.5, x_own="1", traceparent="t")) == ANSWER
        (received,) = server.received
    assert received.start == "POST /api HTTP/1.1"
    assert received.body == CALL
    assert received.headers["content-type"] == "application/json"
    assert received.headers["gemstone-timeout"] == "2.500"
    assert (received.headers["x-own"], received.headers["traceparent"]) == ("1", "t")


async def test_connections_are_kept(wire: HttpClientWire) -> None:
    async with serving(says(response())) as server:
        for _ in range(20):
            await wire.call(server.url, request())
        assert server.connections == 1
        await asyncio.gather(*(wire.call(server.url, request()) for _ in range(20)))
        await asyncio.gather(*(wire.call(server.url, request()) for _ in range(20)))
        assert 2 <= server.connections <= 20


def test_no_connection_is_kept_until_our_server_closes_it() -> None:
    assert HttpLimits().idle_timeout > client._KEEP_ALIVE_SECONDS


async def test_a_connection_that_the_server_closed_is_not_used_again(wire: HttpClientWire) -> None:
    async with serving(says(response("200 OK", ANSWER, "Connection: close"), then_close=True)) as server:
        for _ in range(5):
            assert await wire.call(server.url, request()) == ANSWER
        assert server.connections == 5


@pytest.mark.parametrize("status", ["204 No Content", "200 OK", "202 Accepted"])
async def test_nothing_is_none(wire: HttpClientWire, status: str) -> None:
    async with serving(says(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())) as server:
        assert await wire.call(server.url, request()) is None


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "404 Not Found", "500 Internal Server Error"])
async def test_an_answer_of_json_rpc_counts_whatever_the_status(wire: HttpClientWire, status: str) -> None:
    async with serving(says(response(status))) as server:
        assert await wire.call(server.url, request()) == ANSWER


REFUSALS = [
    ("401 Unauthorized", AccessDeniedError),
    ("403 Forbidden", AccessDeniedError),
    ("404 Not Found", ServiceNotFoundError),
    ("405 Method Not Allowed", RequestRefusedError),
    ("413 Content Too Large", RequestRefusedError),
    ("415 Unsupported Media Type", RequestRefusedError),
    ("429 Too Many Requests", ServiceUnreachableError),
    ("503 Service Unavailable", OutcomeUnknownError),
    ("400 Bad Request", InvalidAnswerError),
    ("418 I'm a teapot", InvalidAnswerError),
    ("500 Internal Server Error", OutcomeUnknownError),
    ("502 Bad Gateway", OutcomeUnknownError),
    ("504 Gateway Timeout", OutcomeUnknownError),
]


@pytest.mark.parametrize(("status", "kind"), REFUSALS)
@pytest.mark.parametrize("body", [b"because of this\nand that", b'{"detail": "other JSON"}', b""])
async def test_a_refusal_says_whether_the_call_may_have_been_carried_out(
    wire: HttpClientWire, status: str, kind: type[RemoteServiceError], body: bytes
) -> None:
    async with serving(says(response(status, body))) as server:
        with pytest.raises(RemoteServiceError) as raised:
            await wire.call(server.url, request())
    assert type(raised.value) is kind
    assert status in str(raised.value)
    assert ("because of this" in str(raised.value)) == body.startswith(b"because")
    assert wire.counts.unknown == issubclass(kind, OutcomeUnknownError)


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests"])
async def test_who_says_when_to_come_again_did_not_begin(wire: HttpClientWire, status: str) -> None:
    async with serving(says(response(status, b"", "Retry-After: 1"))) as server:
        with pytest.raises(ServiceUnreachableError, match=status):
            await wire.call(server.url, request())
    assert wire.counts.unknown == 0


@pytest.mark.parametrize("status", [b"500 \x1b[31mred\xff", b"301 \xc2\x9b31m"])
async def test_a_server_cannot_send_commands_to_the_terminal(wire: HttpClientWire, status: bytes) -> None:
    answer = b"HTTP/1.1 %b\r\nContent-Length: 0\r\nLocation: http://a/\xc2\x9b31m\xfe\r\n\r\n" % status
    async with serving(says(answer)) as server:
        with pytest.raises(RemoteServiceError, match="31m") as raised:
            await wire.call(server.url, request())
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent"])
async def test_redirects_are_not_followed(wire: HttpClientWire, status: str) -> None:
    async with serving(says(response())) as other:
        moved = response(status, b"", f"Location: http://me:secret@127.0.0.1:{other.port}/api")
        async with serving(says(moved)) as server:
            with pytest.raises(ServiceUnreachableError, match="it moved to") as raised:
                await wire.call(server.url, request())
        assert other.received == []
    assert "secret" not in str(raised.value)


async def test_cookies_are_not_kept(wire: HttpClientWire) -> None:
    async with serving(says(response("200 OK", ANSWER, "Set-Cookie: a=b; Path=/"))) as server:
        for _ in range(2):
            await wire.call(server.url, request())
        assert "cookie" not in server.received[1].headers


async def test_proxies_of_the_environment_are_not_used(wire: HttpClientWire, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(says(response())) as proxy, serving(says(response())) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        await wire.call(server.url, request())
        assert proxy.received == []


async def test_a_refused_connection_is_unreachable(wire: HttpClientWire) -> None:
    async with serving(says(response())) as server:
        pass
    with pytest.raises(ServiceUnreachableError, match="cannot be reached: the connection was refused"):
        await wire.call(server.url, request())
    assert wire.counts.unknown == 0


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["answers", "hangs up"])
async def test_https_to_a_port_that_speaks_http_is_said_so(wire: HttpClientWire, reply: bytes) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ServiceUnreachableError, match="is it https:// to a port that speaks http") as raised:
            await wire.call(f"https://127.0.0.1:{port}/api", request())
    assert "None" not in str(raised.value)


async def test_a_host_that_does_not_exist_is_unreachable(wire: HttpClientWire) -> None:
    with pytest.raises(ServiceUnreachableError, match="cannot be reached"):
        await wire.call("http://no-such-host.invalid/api", request())


async def test_a_server_that_speaks_no_tls_is_unreachable(wire: HttpClientWire) -> None:
    async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)
        writer.write(response("400 Bad Request", b"plain HTTP only"))
        writer.close()

    listening = await asyncio.start_server(speak_plainly, "127.0.0.1", 0)
    async with listening:
        with pytest.raises(ServiceUnreachableError, match="cannot be reached"):
            await wire.call(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/api", request())


async def test_no_connection_in_time_is_unreachable_for_nothing_was_sent(wire: HttpClientWire) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # a handshake that is never answered
        writer.close()

    listening = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/api"
        with pytest.raises(ServiceUnreachableError, match=r"no connection within 0\.050 s"):
            await wire.call(url, request(timeout=0.05))


async def test_no_answer_in_time_leaves_the_outcome_unknown(wire: HttpClientWire) -> None:
    async with serving(says()) as server:
        with pytest.raises(CallTimeoutError, match=r"0\.050 s"):
            await wire.call(server.url, request(timeout=0.05))
        assert len(server.received) == 1
    assert wire.counts.unknown == 1


async def test_an_answer_that_trickles_in_ends_with_the_timeout(wire: HttpClientWire) -> None:
    async def trickle(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(trickle) as server:
        with pytest.raises(CallTimeoutError):
            await wire.call(server.url, request(timeout=0.1))


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"HTTP/1.1 200 OK\r\nContent-Le",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",),
        (b"this is not HTTP\r\n\r\n",),
    ],
)
async def test_a_connection_that_breaks_leaves_the_outcome_unknown(
    wire: HttpClientWire, parts: tuple[bytes, ...]
) -> None:
    async with serving(says(*parts, then_close=True)) as server:
        with pytest.raises(OutcomeUnknownError) as raised:
            await wire.call(server.url, request())
        assert not isinstance(raised.value, CallTimeoutError)
        assert len(server.received) == 1  # it is not sent a second time
    assert wire.counts.unknown == 1


@pytest.mark.parametrize("is_announced", [True, False])
async def test_an_answer_has_a_longest_length(is_announced: bool) -> None:
    wire = HttpClientWire(ClientSettings(body_bytes=1000))

    def answer(size: int) -> bytes:
        body = b"1" * size
        if is_announced:
            return response("200 OK", body)
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)

    try:
        async with serving(says(answer(1000))) as server:
            assert await wire.call(server.url, request()) == b"1" * 1000
        async with serving(says(answer(1001))) as server:
            with pytest.raises(InvalidAnswerError, match="longer than 1000 bytes"):
                await wire.call(server.url, request())
    finally:
        await wire.close()


async def test_a_compressed_answer_is_not_unpacked(wire: HttpClientWire) -> None:
    async with serving(says(response("200 OK", ANSWER, "Content-Encoding: gzip"))) as server:
        with pytest.raises(InvalidAnswerError, match="compressed"):
            await wire.call(server.url, request())
        assert server.received[0].headers["accept-encoding"] == "identity"


async def test_a_large_body_is_sent_whole(wire: HttpClientWire) -> None:
    body = b'"%b"' % (b"x" * 3_000_000)
    async with serving(says(response())) as server:
        assert await wire.call(server.url, request(body)) == ANSWER
        assert server.received[0].body == body


async def test_only_so_many_calls_wait_at_once() -> None:
    wire = HttpClientWire(ClientSettings(pending=2))
    go = asyncio.Event()
    async with asyncio.timeout(PATIENCE), serving(says(response(), when=go)) as server:
        calls = [asyncio.create_task(wire.call(server.url, request())) for _ in range(2)]
        await until(lambda: len(server.received) == 2)
        with pytest.raises(ServiceUnreachableError, match="not sent"):
            await wire.call(server.url, request())
        go.set()
        assert await asyncio.gather(*calls) == [ANSWER, ANSWER]
        assert await wire.call(server.url, request()) == ANSWER
        await wire.close()


async def test_closing_fails_what_is_under_way_and_a_closed_wire_can_be_used_again(wire: HttpClientWire) -> None:
    go = asyncio.Event()
    async with asyncio.timeout(PATIENCE), serving(says(response(), when=go)) as server:
        call = asyncio.create_task(wire.call(server.url, request()))
        await until(lambda: server.received)
        await wire.close()
        await wire.close()
        with pytest.raises(OutcomeUnknownError):
            await call
        go.set()
        assert await wire.call(server.url, request()) == ANSWER


async def test_a_caller_who_goes_away_is_counted(wire: HttpClientWire) -> None:
    async with asyncio.timeout(PATIENCE), serving(says()) as server:
        call = asyncio.create_task(wire.call(server.url, request()))
        await until(lambda: server.received)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert wire.counts.unknown == 1


@pytest.mark.parametrize(
    ("path", "start"), [("", "/api"), ("/", "/api"), ("/rpc/v2", "/rpc/v2"), ("/api?tenant=5", "/api?tenant=5")]
)
async def test_a_url_without_a_path_stands_for_api(wire: HttpClientWire, path: str, start: str) -> None:
    async with serving(says(response())) as server:
        await wire.call(f"http://127.0.0.1:{server.port}{path}", request())
        assert server.received[0].start == f"POST {start} HTTP/1.1"


async def test_a_user_in_the_url_is_sent_and_never_shown(wire: HttpClientWire) -> None:
    async with serving(says(response("500 Internal Server Error", b"no"))) as server:
        url = f"http://me:s%C3%A4cret@127.0.0.1:{server.port}/api?token=hidden"
        with pytest.raises(OutcomeUnknownError) as raised:
            await wire.call(url, request())
        assert server.received[0].headers["authorization"] == "Basic " + base64.b64encode("me:säcret".encode()).decode()
        assert wire.address(url) == f"http://127.0.0.1:{server.port}/api"
    assert "cret" not in str(raised.value)
    assert "hidden" not in str(raised.value)


async def test_the_calls_own_authorization_goes_before_that_of_the_url(wire: HttpClientWire) -> None:
    async with serving(says(response())) as server:
        await wire.call(f"http://me:pw@127.0.0.1:{server.port}/api", request(authorization="Bearer t"))
        assert server.received[0].headers["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    "url",
    [
        "http:",
        "http://",
        "http:///api",
        "http://host:0/api",
        "http://host:99999/",
        "http://host:x/",
        "http://a\nb/api",
    ],
)
async def test_what_is_no_url_of_http_is_refused(wire: HttpClientWire, url: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="write http://host:port/api"):
        await wire.call(url, request())
    with pytest.raises(ServiceConfigurationError, match="write http://host:port/api"):
        wire.address(url)


async def test_a_name_after_the_address_is_told_to_be_left_out(wire: HttpClientWire) -> None:
    with pytest.raises(ServiceConfigurationError, match="leave out the '#' and the name"):
        wire.address("http://127.0.0.1:8001#billing")


async def test_a_password_is_not_shown_even_in_a_url_that_is_none(wire: HttpClientWire) -> None:
    with pytest.raises(ServiceConfigurationError) as raised:
        wire.address("http://me:secret@host:x/api")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\x00", "a\x7f"])
async def test_a_header_cannot_smuggle_another(wire: HttpClientWire, value: str) -> None:
    async with serving(says(response())) as server:
        with pytest.raises(ServiceConfigurationError, match="x-own"):
            await wire.call(server.url, request(x_own=value))
        assert server.received == []


@pytest.mark.parametrize("name", ["content-length", "transfer-encoding", "connection", "Content-Type"])
async def test_headers_of_http_itself_are_refused(wire: HttpClientWire, name: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="leave it out"):
        await wire.call("http://127.0.0.1:1/api", WireRequest(CALL, 1.0, {name: "5"}))


async def test_nobody_is_found_by_http(wire: HttpClientWire) -> None:
    with pytest.raises(ServiceConfigurationError, match="use a registry"):
        await wire.find("http://127.0.0.1:1/api", "*", 1.0)


TLS_SCRIPT = """
import sys
from gemstone_events.rpc.client.remote_service import RemoteService
from gemstone_events.rpc.call_errors import ServiceUnreachableError
for host in sys.argv[2:]:
    with RemoteService(f"https://{host}:{sys.argv[1]}/api") as service:
        try:
            print(service.call_method("add", [19, 23], timeout=10.0).result)
        except ServiceUnreachableError as error:
            print("unreachable", "CERTIFICATE_VERIFY_FAILED" in str(error) or "certificate" in str(error))
"""


@pytest.mark.parametrize(
    ("is_trusted", "expected"), [(True, ["42", "unreachable True"]), (False, ["unreachable True"] * 2)]
)
async def test_tls_checks_the_chain_and_the_host(certificate: Path, is_trusted: bool, expected: list[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def add(received: Received, writer: asyncio.StreamWriter) -> None:
        identity = json.loads(received.body)["id"]
        writer.write(response("200 OK", json.dumps({"jsonrpc": "2.0", "result": 42, "id": identity}).encode()))

    server = Server(add)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        environment = {**os.environ, **({"SSL_CERT_FILE": str(certificate)} if is_trusted else {})}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", TLS_SCRIPT, str(port), "localhost", "127.0.0.1"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert out.decode().splitlines() == expected
    assert len(server.received) == is_trusted
