"""JSON-RPC over real sockets: answers, refusals, limits, pages, health and an orderly stop."""

import asyncio
import inspect
import json
import logging
import random
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tornado.http1connection import HTTP1ServerConnection
from tornado.web import RequestHandler

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.authentication.caller import Authentication, Check
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher, DispatchLimits
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.protocol import JsonRpcRequest
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.rpc.wires.http.application import HttpLimits, WebPages, make_application
from gemstone_events.rpc.wires.http.guard import HttpGuard
from gemstone_events.rpc.wires.http.handlers import GemstoneCustomHandler, TornadoJsonRpcHandler
from gemstone_events.rpc.wires.http.health import ALWAYS_HEALTHY, HealthCheck, HealthChecks, HealthReport
from gemstone_events.rpc.wires.http.server import HttpServer
from tests.integration.http_peer import PATIENCE, Client, Served
from tests.waiting import until

LIMITS = HttpLimits()
NO_PAGES = WebPages()
ADD = b'{"jsonrpc":"2.0","method":"add","params":[19,23],"id":1}'
FORTY_TWO = {"jsonrpc": "2.0", "result": 42, "id": 1}


@dataclass
class Service(Served):
    """A served application and what happened in it."""

    marks: list[object] = field(default_factory=list)


def post(body: bytes = ADD, path: str = "/api", **headers: str) -> bytes:
    named = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items() if value), "", ""]
    return "\r\n".join(lines).encode() + body


def get(path: str, method: str = "GET", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in {"Host": "localhost", **headers}.items()]
    return f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


def call(method: str, *params: object, **members: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1, **members}).encode()


def notification(method: str, *params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


async def invoke(method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext) -> object:
    if not method.is_coroutine:
        return await asyncio.to_thread(method.function, *args, **kwargs)
    result = method.function(*args, **kwargs)
    assert inspect.isawaitable(result)
    return await result


def authenticate(handler: RpcHandler) -> str | None:
    return "alice" if handler.request.headers.get("Authorization") == "Bearer good" else None


@asynccontextmanager
async def serving(
    *methods: Method,
    limits: HttpLimits = LIMITS,
    pages: WebPages = NO_PAGES,
    health: HealthChecks = ALWAYS_HEALTHY,
    guard: HttpGuard | None = None,
    call_timeout: float = 30.0,
    authenticating: Check = authenticate,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Service]:
    async def add(a: int, b: int) -> int:
        return a + b

    marks: list[object] = []
    table = MethodTable([Method("add", add), Method("mark", marks.append), *methods])
    authentication = Authentication(authenticating)
    dispatcher = Dispatcher(
        table,
        invoke=invoke,
        authorize=authentication.authorize,
        limits=DispatchLimits(call_timeout=call_timeout),
    )
    application = make_application(
        dispatcher,
        guard or HttpGuard.for_service("127.0.0.1"),
        limits=limits,
        pages=pages,
        health=health,
        authentication=authentication,
    )
    server = HttpServer(application, host=host, port=0, tls=tls)
    await server.start()
    try:
        yield Service(server, application, marks)
    finally:
        await server.stop(1.0)


# Answers.


async def test_a_request_is_answered_with_200_and_json() -> None:
    async with serving() as service:
        response = await service.ask(post())

    assert (response.status, response.json) == (200, FORTY_TWO)
    assert response.headers["content-type"] == "application/json"
    assert "date" in response.headers


async def test_a_notification_has_run_when_it_is_answered_with_204() -> None:
    async with serving() as service:
        response = await service.ask(post(notification("mark", 7)))

        assert (response.status, response.body, service.marks) == (204, b"", [7])
        assert "content-length" not in response.headers


@pytest.mark.parametrize(
    ("body", "code"), [(b"{", -32700), (b"[]", -32600), (call("no"), -32601), (call("add", 1), -32602)]
)
async def test_errors_of_json_rpc_are_answered_with_200(body: bytes, code: int) -> None:
    async with serving() as service:
        response = await service.ask(post(body))

    assert response.status == 200
    assert response.json["error"]["code"] == code  # type: ignore[index]


async def test_an_internal_error_shows_nothing_of_the_exception(caplog: pytest.LogCaptureFixture) -> None:
    def explode() -> None:
        raise KeyError("hunter2")

    async with serving(Method("explode", explode)) as service:
        response = await service.ask(post(call("explode")))

    assert response.json == {"jsonrpc": "2.0", "error": {"code": -32603, "message": "Internal error"}, "id": 1}
    assert "hunter2" in caplog.text


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;x"])
async def test_parameters_and_case_of_the_content_type_do_not_matter(content_type: str) -> None:
    async with serving() as service:
        assert (await service.ask(post(Content_Type=content_type))).json == FORTY_TWO


async def test_one_connection_serves_many_requests() -> None:
    async with serving() as service, service.client() as client:
        for _ in range(3):
            assert (await client.ask(post())).json == FORTY_TWO
            assert (await client.ask(post(notification("mark", 1)))).status == 204
            assert (await client.ask(get("/api"))).status == 405
            assert (await client.ask(get("/health/live"))).status == 200


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with serving() as service, service.client() as client:
        await client.send(b"".join(post(call("add", i, 0, id=i)) for i in range(20)))

        assert [(await client.receive()).json for _ in range(20)] == [
            {"jsonrpc": "2.0", "result": i, "id": i} for i in range(20)
        ]


async def test_a_body_in_chunks_is_answered() -> None:
    async with serving() as service, service.client() as client:
        await client.send(post(b"", Content_Length="", Transfer_Encoding="chunked"))
        for piece in (ADD[:10], ADD[10:]):
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await client.send(b"0\r\n\r\n")

        assert (await client.receive()).json == FORTY_TWO
        assert (await client.ask(post())).json == FORTY_TWO


async def test_http_1_0_is_answered_and_closed() -> None:
    async with serving() as service, service.client() as client:
        response = await client.ask(post().replace(b"HTTP/1.1", b"HTTP/1.0"))

        assert response.json == FORTY_TWO
        assert await client.is_closed_by_server()


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_http_1_0_has_no_chunks_for_others_may_see_another_end(connection: str) -> None:
    chunked = post(b"", Content_Length="", Transfer_Encoding="chunked", Connection=connection)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ADD), ADD)
    async with serving() as service, service.client() as client:
        refused = await client.ask(chunked.replace(b"HTTP/1.1", b"HTTP/1.0") + body)

        assert refused.status == 400
        assert b"send Content-Length" in refused.body
        assert await client.is_closed_by_server()


async def test_a_method_without_async_does_not_hold_up_others() -> None:
    may_end = threading.Event()
    async with serving(Method("block", may_end.wait)) as service, service.client() as blocked:
        await blocked.send(post(call("block")))
        assert (await service.ask(post())).json == FORTY_TWO
        may_end.set()

        assert (await blocked.receive()).json == {"jsonrpc": "2.0", "result": True, "id": 1}


async def test_a_call_that_takes_too_long_is_answered() -> None:
    async with serving(Method("hang", asyncio.Event().wait), call_timeout=0.01) as service:
        response = await service.ask(post(call("hang")))

    assert response.json["error"]["code"] == -32002  # type: ignore[index]


# The handler.


async def test_a_method_that_takes_the_handler_reads_the_request_and_sets_headers() -> None:
    async def greet(handler: TornadoJsonRpcHandler, name: str) -> str:
        handler.set_cookie("seen", "yes")
        handler.set_header("X-Greeting", "hello")
        return f"{name} with {handler.request.headers['X-Who']} and {len(handler.request.body)} bytes"

    body = call("greet", "bob")
    async with serving(Method("greet", greet, takes_handler=True)) as service, service.client() as client:
        for _ in range(2):
            response = await client.ask(post(body, X_Who="eve"))

            assert response.json == {"jsonrpc": "2.0", "result": f"bob with eve and {len(body)} bytes", "id": 1}
            assert response.headers["x-greeting"] == "hello"
            assert response.headers["set-cookie"].startswith("seen=yes")
            assert response.headers["content-type"] == "application/json"
        assert (await client.ask(post())).json == FORTY_TWO


async def test_one_handler_serves_all_calls_of_a_batch() -> None:
    handlers: list[object] = []

    async def note(handler: object) -> None:
        handlers.append(handler)

    batch = b"[" + call("note") + b"," + notification("note") + b"]"
    async with serving(Method("note", note, takes_handler=True)) as service:
        assert (await service.ask(post(batch))).status == 200
        assert (await service.ask(post(notification("note")))).status == 204

    assert len(handlers) == 3
    assert handlers[0] is handlers[1]
    assert handlers[1] is not handlers[2]


async def test_a_private_method_is_open_to_the_authenticated_only() -> None:
    async def who(handler: TornadoJsonRpcHandler) -> object:
        return handler.current_user

    async with serving(Method("who", who, private=True, takes_handler=True)) as service:
        denied = await service.ask(post(call("who", "too", "many"), Authorization="Bearer bad"))
        allowed = await service.ask(post(call("who"), Authorization="Bearer good"))

    assert (denied.status, denied.json) == (
        200,
        {"jsonrpc": "2.0", "error": {"code": -32001, "message": "Access denied"}, "id": 1},
    )
    assert allowed.json == {"jsonrpc": "2.0", "result": "alice", "id": 1}


async def test_the_current_user_of_a_coroutine_check_is_an_error_and_no_truth() -> None:
    async def later(handler: RpcHandler) -> str:
        return "alice"

    async def who(handler: TornadoJsonRpcHandler) -> object:
        with pytest.raises(ServiceConfigurationError, match=r"await handler\.identify"):
            assert handler.current_user
        return await handler.identify()

    async with serving(Method("who", who, takes_handler=True), authenticating=later) as service:
        assert (await service.ask(post(call("who")))).json == {"jsonrpc": "2.0", "result": "alice", "id": 1}


async def test_the_handler_runs_further_calls_with_the_same_rights() -> None:
    def secret(a: int) -> int:
        return a

    async def relay(handler: TornadoJsonRpcHandler) -> list[object]:
        single = await handler.handle_single_request(JsonRpcRequest("secret", [1], 1))
        batch = await handler.handle_batch_request(
            [JsonRpcRequest("secret", [2], 2), JsonRpcRequest("secret", [3], is_notification=True)]
        )
        direct = await handler.call_method(handler.prepare_method_call(secret, {"a": 4}))
        assert single is not None
        return [single.result or str(single.error), [each.result or str(each.error) for each in batch], direct]

    methods = Method("secret", secret, private=True), Method("relay", relay, takes_handler=True)
    async with serving(*methods) as service:
        allowed = await service.ask(post(call("relay"), Authorization="Bearer good"))
        denied = await service.ask(post(call("relay")))

    assert allowed.json["result"] == [1, [2], 4]  # type: ignore[index]
    assert denied.json["result"] == ["Access denied (-32001)", ["Access denied (-32001)"], 4]  # type: ignore[index]


# Refusals.


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_post_is_allowed_at_the_endpoint(method: str) -> None:
    async with serving() as service, service.client() as client:
        await client.send(get("/api", method))
        async with asyncio.timeout(PATIENCE):
            head = await client.reader.readuntil(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: POST\r\n" in head


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"],
)
async def test_another_content_type_is_refused(content_type: str) -> None:
    async with serving() as service:
        assert (await service.ask(post(notification("mark", 1), Content_Type=content_type))).status == 415
        assert service.marks == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity"])
async def test_an_encoded_body_is_refused(encoding: str) -> None:
    async with serving() as service:
        assert (await service.ask(post(Content_Encoding=encoding))).status == 415


async def test_a_body_of_unknown_length_is_refused() -> None:
    async with serving() as service:
        assert (await service.ask(post(b"", Content_Length=""))).status == 411


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1", "localhost.evil.example"])
@pytest.mark.parametrize("path", ["/api", "/health/live", "/nowhere"])
async def test_a_host_that_is_not_the_services_is_refused_everywhere(host: str, path: str) -> None:
    async with serving() as service:
        assert (await service.ask(post(path=path, Host=host))).status == 403
        assert (await service.ask(get(path, Host=host))).status == 403


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:80", "shop.example", "other.example"]
)
async def test_a_host_of_the_service_is_let_in(host: str) -> None:
    guard = HttpGuard.for_service("127.0.0.1", "https://shop.example/api", ["other.example"])
    async with serving(guard=guard) as service:
        assert (await service.ask(post(Host=host))).json == FORTY_TWO


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost", 200), ("https://app.example", 200), ("http://evil.example", 403), ("null", 403)],
)
async def test_pages_of_a_foreign_origin_are_refused(origin: str, status: int) -> None:
    guard = HttpGuard.for_service("127.0.0.1", allowed_origins=["https://app.example"])
    async with serving(guard=guard) as service:
        response = await service.ask(post(Origin=origin))

    assert response.status == status
    listed = origin == "https://app.example"
    assert response.headers.get("access-control-allow-origin") == (origin if listed else None)
    assert response.headers["vary"] == "Origin"


async def test_nothing_is_said_to_pages_where_no_origin_is_allowed() -> None:
    async with serving() as service:
        response = await service.ask(post(Origin="http://localhost"))
    assert response.status == 200
    assert not {"vary", "access-control-allow-origin"} & response.headers.keys()


def preflight(origin: str, path: str = "/api", wanted: str = "content-type, authorization") -> bytes:
    lines = [
        f"OPTIONS {path} HTTP/1.1",
        "Host: localhost",
        f"Origin: {origin}",
        "Access-Control-Request-Method: POST",
        f"Access-Control-Request-Headers: {wanted}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_a_browser_that_asks_for_an_allowed_page_is_told_that_it_may_call() -> None:
    guard = HttpGuard.for_service("127.0.0.1", allowed_origins=["https://app.example"])
    async with serving(guard=guard) as service, service.client() as client:
        allowed = await client.ask(preflight("https://app.example"))
        assert (allowed.status, allowed.body) == (204, b"")
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        assert allowed.headers["access-control-allow-methods"] == "POST"
        assert allowed.headers["access-control-allow-headers"] == "content-type, authorization"
        assert (await client.ask(post(Origin="https://app.example"))).json == FORTY_TWO

        odd = await client.ask(preflight("https://app.example", wanted="x: y"))
        assert "access-control-allow-headers" not in odd.headers


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://app.example.evil.example"])
async def test_a_browser_that_asks_for_a_foreign_page_is_refused(origin: str) -> None:
    guard = HttpGuard.for_service("127.0.0.1", allowed_origins=["https://app.example"])
    async with serving(guard=guard) as service:
        refused = await service.ask(preflight(origin))
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers


async def test_an_allowed_page_can_read_why_it_is_refused() -> None:
    guard = HttpGuard.for_service("127.0.0.1", allowed_origins=["https://app.example"])
    async with serving(guard=guard, limits=HttpLimits(body_bytes=10)) as service:
        refused = await service.ask(post(Origin="https://app.example"))
    assert refused.status == 413
    assert refused.headers["access-control-allow-origin"] == "https://app.example"


async def test_another_path_is_not_found() -> None:
    async with serving() as service:
        for path in ("/", "/api/", "/api/x", "/apix", "/health", "/static/x"):
            assert (await service.ask(post(path=path))).status == 404


# Limits of the body.


@pytest.mark.parametrize("announced", [1024 * 1024 + 1, 10**12, 10**30])
async def test_a_body_announced_too_large_is_refused_before_it_is_sent(announced: int) -> None:
    async with serving() as service, service.client() as client:
        response = await client.ask(post(b"", Content_Length=str(announced)))

        assert (response.status, response.headers["connection"]) == (413, "close")
        assert await client.is_closed_by_server()


async def test_a_client_that_asks_before_it_sends_is_told_at_once() -> None:
    async with serving(limits=HttpLimits(body_bytes=100)) as service, service.client() as client:
        refused = await client.ask(post(b"", Content_Length="101", Expect="100-continue"))
        assert refused.status == 413
        assert await client.is_closed_by_server()

    async with serving() as service, service.client() as client:
        await client.send(post(Expect="100-continue")[: -len(ADD)])
        async with asyncio.timeout(PATIENCE):
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await client.ask(ADD)).json == FORTY_TWO


async def test_a_client_that_sends_a_large_body_all_the_same_can_send_it_and_reads_the_answer() -> None:
    def send_all_then_read(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(post(b"x" * (6 * 1024 * 1024)))
            return connection.recv(65536)

    async with serving() as service:
        assert (await asyncio.to_thread(send_all_then_read, service.server.port)).startswith(b"HTTP/1.1 413 ")


async def test_a_refused_client_sees_the_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemstone_events.rpc.wires.http.refusal._LINGER_SECONDS", 1000)
    async with serving() as service, service.client() as client:
        assert (await client.ask(post(b"", Content_Length="9999999"))).status == 413
        assert await client.is_closed_by_server()


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    body = call("mark", "x" * 900)
    async with serving(limits=HttpLimits(body_bytes=len(body))) as service:
        assert (await service.ask(post(body))).status == 200
        assert (await service.ask(post(body + b" "))).status == 413
        assert len(service.marks) == 1


async def test_chunks_beyond_the_limit_are_refused_while_they_stream() -> None:
    async with serving(limits=HttpLimits(body_bytes=1000)) as service, service.client() as client:
        await client.send(post(b"", Content_Length="", Transfer_Encoding="chunked"))
        for _ in range(3):
            await client.send(b"190\r\n" + b"x" * 400 + b"\r\n")

        assert (await client.receive()).status == 413  # though the body has not ended
        await client.send(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n")
        assert await client.is_closed_by_server()


async def test_a_chunk_that_says_it_is_huge_is_refused_without_being_held() -> None:
    async with serving(limits=HttpLimits(body_bytes=1000)) as service, service.client() as client:
        await client.send(post(b"", Content_Length="", Transfer_Encoding="chunked") + b"7fffffff\r\n" + b"x" * 1001)

        assert (await client.receive()).status == 413


async def test_chunks_beyond_the_limit_that_end_soon_leave_the_connection_usable() -> None:
    async with serving(limits=HttpLimits(body_bytes=1000)) as service, service.client() as client:
        await client.send(post(b"", Content_Length="", Transfer_Encoding="chunked"))
        await client.send(b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n")

        refused = await client.receive()
        assert refused.status == 413
        assert "connection" not in refused.headers
        assert (await client.ask(post())).json == FORTY_TWO


@pytest.mark.parametrize(
    "raw",
    [
        post(Transfer_Encoding="chunked"),
        post(Content_Length="5, 6"),
        post(Content_Length="-1"),
        post(Content_Length="abc"),
        post(b"zz\r\n", Content_Length="", Transfer_Encoding="chunked"),
        post(b"3\r\nabcdef\r\n", Content_Length="", Transfer_Encoding="chunked"),
        post(Content_Length="", Transfer_Encoding="gzip, chunked"),
        post(Host=""),
        post(Host="a, b"),
        b"NONSENSE\r\n\r\n",
        b"POST /api HTTP/9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)  # fmt: skip
async def test_malformed_http_is_refused_and_nothing_is_called(raw: bytes) -> None:
    async with serving() as service, service.client() as client:
        await client.send(raw)
        async with asyncio.timeout(PATIENCE):
            answer = await client.reader.read()

        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 ")) or answer == b""
        assert b"result" not in answer


# Limits of heads, time and connections.


async def test_a_head_that_is_too_large_is_cut_off() -> None:
    async with serving() as service, service.client() as client:
        await client.send(post(X_Padding="x" * 15_000))
        assert (await client.receive()).status == 200
    async with serving() as service, service.client() as client:
        with suppress(ConnectionError):
            await client.send(post(X_Padding="x" * 40_000))
        assert await client.is_closed_by_server()


@pytest.mark.parametrize("sent", [b"", b"POST /api HTTP/1.1\r\nHost: loc", post()])
async def test_a_connection_that_sends_no_whole_head_in_time_is_closed(sent: bytes) -> None:
    async with serving(limits=HttpLimits(idle_timeout=0.05)) as service, service.client() as client:
        await client.send(sent)
        if sent == post():
            assert (await client.receive()).status == 200
        assert await client.is_closed_by_server()


@pytest.mark.parametrize("headers", [{}, {"Content_Length": "", "Transfer_Encoding": "chunked"}])
async def test_a_body_that_does_not_come_in_time_is_cut_off(headers: dict[str, str]) -> None:
    async with serving(limits=HttpLimits(body_timeout=0.05)) as service, service.client() as client:
        await client.send(post(notification("mark", 1), **headers)[:-5])

        assert await client.is_closed_by_server()
        assert service.marks == []


async def test_a_body_for_a_page_that_does_not_come_in_time_is_cut_off() -> None:
    async with serving(limits=HttpLimits(body_timeout=0.05)) as service, service.client() as client:
        await client.send(post(path="/nowhere")[:-5])

        assert await client.is_closed_by_server()


async def test_a_body_of_a_browsers_question_that_does_not_come_in_time_is_cut_off() -> None:
    guard = HttpGuard.for_service("127.0.0.1", allowed_origins=["https://app.example"])
    async with serving(guard=guard, limits=HttpLimits(body_timeout=0.05)) as service, service.client() as client:
        await client.send(preflight("https://app.example").removesuffix(b"\r\n") + b"Content-Length: 5\r\n\r\n1234")

        assert await client.is_closed_by_server()


def connections_of(service: Service) -> Collection[HTTP1ServerConnection]:
    assert service.server._server is not None
    return service.server._server._connections


@asynccontextmanager
async def taking_nothing(service: Service, raw: bytes) -> AsyncIterator[socket.socket]:
    """Send requests over a connection from which nothing is read."""
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        await loop.sock_connect(peer, ("127.0.0.1", service.server.port))
        await until(lambda: bool(connections_of(service)))
        for connection in connections_of(service):
            connection.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sending = asyncio.create_task(loop.sock_sendall(peer, raw))
        try:
            yield peer
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize(
    "raw",
    [post(call("say", "x" * 1000)), post(call("show", "x" * 1000)), get("/api") * 1000, get("/health/live") * 1000],
    ids=["answer", "handler", "refusals", "pages"],
)
async def test_who_does_not_take_his_answers_is_cut_off(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def say(text: str) -> str:
        return text * 4000

    async def show(handler: object, text: str) -> str:
        return text * 4000

    methods = Method("say", say), Method("show", show, takes_handler=True)
    async with serving(*methods, limits=HttpLimits(answer_timeout=0.2)) as service:
        async with taking_nothing(service, raw):
            await until(lambda: "did not take an answer" in caplog.text)
            await until(lambda: not connections_of(service))
        assert (await service.ask(post())).json == FORTY_TWO


async def test_who_takes_one_large_answer_after_the_other_is_not_cut_off() -> None:
    async def say() -> str:
        return "x" * 500_000

    async with serving(Method("say", say), limits=HttpLimits(answer_timeout=1.0)) as service, service.client() as busy:
        end = asyncio.get_running_loop().time() + 1.5
        while asyncio.get_running_loop().time() < end:
            assert len((await busy.ask(post(call("say")))).body) > 500_000


async def test_the_body_timeout_does_not_cut_off_a_call_that_runs() -> None:
    may_end = asyncio.Event()
    serving_slowly = serving(Method("wait", may_end.wait), limits=HttpLimits(body_timeout=0.02))
    async with serving_slowly as service, service.client() as slow, service.client() as waiting:
        await waiting.send(post(call("wait")))
        assert (await service.ask(post())).status == 200  # so the body of the first has come in
        await slow.send(post()[:-5])
        assert await slow.is_closed_by_server()  # so its body timeout would have passed before
        may_end.set()

        assert (await waiting.receive()).status == 200


async def test_connections_beyond_the_limit_are_refused_and_room_is_made_by_those_that_leave() -> None:
    async with serving(limits=HttpLimits(connections=2)) as service, service.client() as one:
        async with service.client() as two:
            for client in (one, two):
                assert (await client.ask(post())).status == 200
            async with service.client() as three:
                assert (await three.receive()).status == 503
                assert await three.is_closed_by_server()

        async with asyncio.timeout(PATIENCE):
            while not await _is_served(service):
                pass


async def _is_served(service: Service) -> bool:
    try:
        return (await service.ask(post())).status == 200
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


async def test_a_thousand_idle_connections_do_not_keep_an_honest_client_out() -> None:
    async with serving(limits=HttpLimits(connections=1001)) as service:
        idle: list[socket.socket] = []
        try:
            async with service.client() as honest:
                assert (await honest.ask(post())).status == 200
                for _ in range(1000):
                    idle.append(socket.create_connection(("127.0.0.1", service.server.port)))
                    if len(idle) % 100 == 0:
                        assert (await honest.ask(post())).status == 200
                async with service.client() as late:
                    assert (await late.receive()).status == 503
                assert (await honest.ask(post())).status == 200
        finally:
            for each in idle:
                each.close()


# Hostile bodies.


async def test_hostile_bodies_are_never_a_500_over_http() -> None:
    rng = random.Random(20)
    sample = call("add", 1, 2)
    bodies = [b"", b"\x00", b"[" * 100_000, b"9" * 5000, b"\xff\xfe", b'{"a":1,"a":2}', b"NaN", b'"\\ud800"']
    for _ in range(300):
        raw = bytearray(sample)
        for _ in range(3):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        bodies.append(bytes(raw))
    async with serving() as service, service.client() as client:
        for body in bodies:
            response = await client.ask(post(body))
            assert response.status in (200, 204)
            assert b"Traceback" not in response.body


# Pages.


class Page(GemstoneCustomHandler):
    """A page of the author's own."""

    def get(self) -> None:
        self.render("page.html", service=self.microservice)

    def post(self) -> None:
        raise KeyError("hunter2")


@pytest.fixture
def pages(tmp_path: Path) -> WebPages:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "index.html").write_text("<p>static</p>")
    (tmp_path / "secret.txt").write_text("hunter2")
    (tmp_path / "page.html").write_text("<p>{{ service }}</p>")
    return WebPages(
        microservice="<billing>",
        extra_handlers=[("/page", Page), ("/(?:api|health/live)", Page)],
        static_dirs=[("/files/", tmp_path / "static")],
        template_dir=tmp_path,
    )


async def test_files_and_templates_are_served(pages: WebPages) -> None:
    async with serving(pages=pages) as service:
        file = await service.ask(get("/files/index.html"))
        page = await service.ask(get("/page"))

    assert (file.status, file.body) == (200, b"<p>static</p>")
    assert (page.status, page.body) == (200, b"<p>&lt;billing&gt;</p>")


@pytest.mark.parametrize(
    "path", ["/files/../secret.txt", "/files/%2e%2e/secret.txt", "/files//etc/passwd", "/files/no"]
)
async def test_nothing_outside_a_static_directory_is_served(pages: WebPages, path: str) -> None:
    async with serving(pages=pages) as service:
        response = await service.ask(get(path))

    assert response.status in (403, 404)
    assert b"hunter2" not in response.body


async def test_the_endpoint_and_the_health_checks_come_before_pages(pages: WebPages) -> None:
    async with serving(pages=pages) as service:
        assert (await service.ask(post())).json == FORTY_TWO
        assert (await service.ask(get("/health/live"))).json == {"status": "ok"}


async def test_a_page_that_fails_shows_no_traceback(pages: WebPages) -> None:
    async with serving(pages=pages) as service:
        response = await service.ask(post(path="/page"))

    assert response.status == 500
    assert b"hunter2" not in response.body
    assert b"Traceback" not in response.body


async def test_multipart_bodies_reach_pages_only_where_the_author_says_so(pages: WebPages) -> None:
    raw = post(b"--x--\r\n", "/page", Content_Type="Multipart/Form-Data; boundary=x")
    async with serving(pages=pages) as service:
        assert (await service.ask(raw)).status == 415
    async with serving(pages=pages, limits=HttpLimits(accept_multipart=True)) as service:
        assert (await service.ask(raw)).status == 500


def test_pages_that_cannot_work_are_refused(tmp_path: Path) -> None:
    def make(endpoint: str = "/api", **options: object) -> None:
        pages = WebPages(**options)  # type: ignore[arg-type]
        make_application(
            Dispatcher(MethodTable(), invoke=invoke), HttpGuard.for_service("localhost"), endpoint=endpoint, pages=pages
        )

    with pytest.raises(ServiceConfigurationError, match="subclass of GemstoneCustomHandler"):
        make(extra_handlers=[("/x", RequestHandler)])
    with pytest.raises(ServiceConfigurationError, match="does not exist"):
        make(static_dirs=[("/x", tmp_path / "missing")])
    for endpoint in ("api", "", "/health/live"):
        with pytest.raises(ServiceConfigurationError, match="endpoint"):
            make(endpoint)


# Health.


async def _ready_later() -> HealthReport:
    return HealthReport(ok=True, details={"transports": {"amqp": "connected"}})


def _unready() -> HealthReport:
    return HealthReport(ok=False, details={"transports": {"amqp": "gone"}})


def _broken() -> HealthReport:
    raise KeyError("hunter2")


@pytest.mark.parametrize(
    ("check", "status", "body"),
    [
        (_ready_later, 200, {"status": "ok", "transports": {"amqp": "connected"}}),
        (_unready, 503, {"status": "unavailable", "transports": {"amqp": "gone"}}),
        (_broken, 503, {"status": "unavailable"}),
    ],
)
async def test_readiness_is_what_its_check_says(check: HealthCheck, status: int, body: object) -> None:
    async with serving(health=HealthChecks(ready=check)) as service:
        ready = await service.ask(get("/health/ready"))
        live = await service.ask(get("/health/live"))

    assert (ready.status, ready.json) == (status, body)
    assert ready.headers["content-type"] == "application/json"
    assert (live.status, live.json) == (200, {"status": "ok"})


async def test_health_checks_are_read_only() -> None:
    async with serving() as service:
        assert (await service.ask(post(path="/health/ready"))).status == 405


# Starting and stopping.


async def test_a_port_in_use_is_named_and_the_error_says_how_to_mend_it() -> None:
    async with serving() as first:
        application = make_application(Dispatcher(MethodTable(), invoke=invoke), HttpGuard.for_service("127.0.0.1"))
        second = HttpServer(application, host="127.0.0.1", port=first.server.port)

        with pytest.raises(ServiceConfigurationError, match=rf"port {first.server.port} .* in use .* another port"):
            await second.start()
        assert await second.stop()


async def test_a_host_that_is_not_the_machines_is_named() -> None:
    application = make_application(Dispatcher(MethodTable(), invoke=invoke), HttpGuard.for_service("192.0.2.1"))

    with pytest.raises(ServiceConfigurationError, match=r"'192\.0\.2\.1' is no address of this machine"):
        await HttpServer(application, host="192.0.2.1", port=0).start()


async def test_stopping_takes_no_connection_any_more_and_can_be_done_twice() -> None:
    async with serving() as service:
        assert await service.server.stop()
        assert await service.server.stop()
        with pytest.raises(ConnectionRefusedError):
            await service.ask(post())


async def test_stopping_closes_idle_connections_at_once() -> None:
    async with serving() as service, service.client() as used, service.client() as unused:
        assert (await used.ask(post())).status == 200
        assert (await used.ask(get("/health/live"))).status == 200
        async with asyncio.timeout(PATIENCE):
            assert await service.server.stop(1000)
        assert await used.is_closed_by_server()
        assert await unused.is_closed_by_server()


async def test_stopping_waits_for_calls_in_flight_and_answers_them() -> None:
    started, may_end = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        started.set()
        await may_end.wait()
        return "done"

    async with serving(Method("wait", wait)) as service, service.client() as client:
        await client.send(post(call("wait")))
        await started.wait()
        stopping = await service.begin_to_stop()
        assert not stopping.done()
        may_end.set()
        response = await client.receive()

        assert (response.json, response.headers["connection"]) == (
            {"jsonrpc": "2.0", "result": "done", "id": 1},
            "close",
        )
        async with asyncio.timeout(PATIENCE):
            assert await stopping


async def test_a_notification_whose_sender_is_gone_is_finished_before_the_server_stops() -> None:
    started, may_end, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        await may_end.wait()
        done.set()

    async with serving(Method("work", work)) as service:
        async with service.client() as client:
            await client.send(post(notification("work")))
            await started.wait()
        stopping = await service.begin_to_stop()
        assert not stopping.done()
        may_end.set()
        async with asyncio.timeout(PATIENCE):
            assert await stopping
        assert done.is_set()


async def test_a_request_that_comes_while_the_server_stops_is_refused() -> None:
    started, may_end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        await may_end.wait()

    async with serving(Method("wait", wait)) as service, service.client() as client:
        await client.send(post(call("wait")) + post(notification("mark", 1)))
        await started.wait()
        stopping = await service.begin_to_stop()
        may_end.set()

        assert (await client.receive()).status == 200
        async with asyncio.timeout(PATIENCE):
            assert await stopping
        assert service.marks == []


async def test_calls_that_outlast_the_deadline_of_the_stop_are_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(handler: object) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(Method("hang", hang, takes_handler=True)) as service, service.client() as client:
        await client.send(post(call("hang")))
        await started.wait()
        async with asyncio.timeout(PATIENCE):
            assert not await service.server.stop(0.01)
        assert cancelled.is_set()
        assert "1 HTTP requests were not finished" in caplog.text


class LargePage(GemstoneCustomHandler):
    """More than fits into the buffers between server and client."""

    size = 30_000_000

    def get(self) -> None:
        self.write(b"x" * self.size)


async def test_a_large_answer_is_written_to_its_end_before_the_connection_is_closed() -> None:
    pages = WebPages(extra_handlers=[("/large", LargePage)])
    async with serving(pages=pages) as service, service.client() as client:
        await client.send(get("/large"))
        async with asyncio.timeout(PATIENCE):
            await client.reader.readuntil(b"\r\n\r\n")
            stopping = await service.begin_to_stop()
            body = await client.reader.read()
            assert await stopping

        assert len(body) == LargePage.size


async def test_a_client_that_left_in_the_middle_of_a_request_does_not_hold_up_the_stop() -> None:
    async with serving() as service:
        async with service.client() as client:
            await client.send(post()[:-5])
            await until(lambda: len(service.application.in_flight) == 1)
        async with asyncio.timeout(PATIENCE):
            assert await service.server.stop(1000)


async def test_a_server_on_localhost_listens_on_all_its_addresses_at_one_port() -> None:
    async with serving(host="localhost") as service:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo("localhost", None)}
        for address in filter(_is_of_this_machine, addresses):
            reader, writer = await asyncio.open_connection(address, service.server.port)
            assert (await Client(reader, writer).ask(post())).json == FORTY_TWO
            writer.close()
            await writer.wait_closed()


async def test_calls_and_refusals_are_answered_over_tls(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    async with serving(tls=context) as service:
        for raw, status in ((post(), 200), (post(b"", Content_Length="9999999"), 413), (get("/health/live"), 200)):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", service.server.port, ssl=trusting, server_hostname="localhost"
            )
            assert (await Client(reader, writer).ask(raw)).status == status
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def test_access_is_logged_where_somebody_listens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tornado.access")
    async with serving() as service:
        await service.ask(post())
        await service.ask(get("/health/live"))

    assert [record.getMessage().split(" (")[0] for record in caplog.records if record.name == "tornado.access"] == [
        "200 POST /api",
        "200 GET /health/live",
    ]


def _is_of_this_machine(address: str) -> bool:
    try:
        socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET).close()
    except OSError:
        return False
    return True
