"""A service that answers only callers whom it knows, over real sockets: who is refused, when, and at what cost."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from gemstone_events.rpc.authentication.caller import Authentication, Check
from gemstone_events.rpc.authentication.credentials import HmacKey
from gemstone_events.rpc.authentication.failed_attempts import FailedAttempts
from gemstone_events.rpc.authentication.hmac_keys import HmacKeys
from gemstone_events.rpc.authentication.principal import Principal
from gemstone_events.rpc.authentication.strategies import BearerTokenStrategy
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher, DispatchLimits
from gemstone_events.rpc.errors import AccessDenied
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.rpc.wires.http.application import HttpLimits, make_application
from gemstone_events.rpc.wires.http.guard import HttpGuard
from gemstone_events.rpc.wires.http.handlers import TornadoJsonRpcHandler
from gemstone_events.rpc.wires.http.server import HttpServer
from tests.integration.http_peer import PATIENCE, Served

MEBIBYTE = 1024 * 1024
SECRET = "a-secret-of-many-bytes"
WHO = b'{"jsonrpc":"2.0","method":"who","id":1}'
ALICE = {"jsonrpc": "2.0", "result": "alice", "id": 1}
GOOD = {"Authorization": "Bearer good"}
BAD = {"Authorization": "Bearer bad"}
LIMITS = HttpLimits()


@dataclass
class Checked:
    """A check that knows "Bearer good", and what it was asked."""

    bodies: list[bytes] = field(default_factory=list)

    def __call__(self, handler: RpcHandler) -> Principal | None:
        self.bodies.append(handler.request.body)
        return Principal("alice") if handler.request.headers.get("Authorization") == "Bearer good" else None


def post(headers: Mapping[str, str], body: bytes = WHO, **changed: str) -> bytes:
    named = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    named |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}\r\n" for name, value in named.items() if value]
    return f"POST /api HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


async def _who(handler: TornadoJsonRpcHandler) -> object:
    handler.set_header("X-Seen", "yes")
    user = handler.current_user
    return user.name if isinstance(user, Principal) else user


async def _invoke(method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext) -> object:
    return await method.function(*args, **kwargs)  # type: ignore[misc]


@asynccontextmanager
async def closed_service(
    check: Check,
    *,
    limits: HttpLimits = LIMITS,
    call_timeout: float = 30.0,
    attempts: int = 0,
) -> AsyncIterator[Served]:
    authentication = Authentication(
        check, strategies=[BearerTokenStrategy()], attempts=FailedAttempts(attempts), required=True
    )
    dispatcher = Dispatcher(
        MethodTable([Method("who", _who, takes_handler=True)]),
        invoke=_invoke,
        authorize=authentication.authorize,
        require_authentication=True,
        limits=DispatchLimits(call_timeout=call_timeout),
    )
    guard = HttpGuard.for_service("127.0.0.1")
    application = make_application(dispatcher, guard, limits=limits, authentication=authentication)
    server = HttpServer(application, host="127.0.0.1", port=0)
    await server.start()
    try:
        yield Served(server, application)
    finally:
        await server.stop(1.0)


# Strangers.


async def test_a_stranger_gets_401_before_his_body_was_sent() -> None:
    check = Checked()
    async with closed_service(check) as service, service.client() as client:
        response = await client.ask(post({}, b"", Content_Length=str(MEBIBYTE)))

        assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
        assert response.headers["connection"] == "close"
        assert b"send credentials" in response.body
        assert await client.is_closed_by_server()
    assert check.bodies == [b""]


@pytest.mark.parametrize("headers", [{}, BAD])
async def test_a_stranger_who_sends_a_mebibyte_all_the_same_reads_the_answer(headers: dict[str, str]) -> None:
    async with closed_service(Checked()) as service, service.client() as client:
        assert (await client.ask(post(headers, b"x" * MEBIBYTE))).status == 401
        assert await client.is_closed_by_server()


async def test_a_stranger_is_not_asked_to_go_on() -> None:
    async with closed_service(Checked()) as service, service.client() as stranger, service.client() as known:
        assert (await stranger.ask(post(BAD, b"", Content_Length="9", Expect="100-continue"))).status == 401
        await known.send(post(GOOD, Expect="100-continue")[: -len(WHO)])
        async with asyncio.timeout(PATIENCE):
            assert (await known.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await known.ask(WHO)).json == ALICE


async def test_a_stranger_who_sends_chunks_is_refused_before_the_first() -> None:
    async with closed_service(Checked()) as service, service.client() as client:
        chunked = post({}, b"", Content_Length="", Transfer_Encoding="chunked")
        assert (await client.ask(chunked)).status == 401
        assert await client.is_closed_by_server()


async def test_a_refusal_of_a_request_without_body_leaves_the_connection_usable() -> None:
    async with closed_service(Checked()) as service, service.client() as client:
        assert (await client.ask(post(BAD, b""))).status == 401
        assert (await client.ask(post(GOOD))).json == ALICE
        assert (await client.ask(post(BAD, b""))).status == 401


async def test_a_check_may_deny_by_an_exception() -> None:
    def check(handler: RpcHandler) -> bool:
        raise AccessDenied

    async with closed_service(check) as service:
        assert (await service.ask(post(GOOD))).status == 401


async def test_who_failed_too_often_gets_429_and_is_not_looked_at() -> None:
    check = Checked()
    async with closed_service(check, attempts=2) as service:
        for _ in range(2):
            assert (await service.ask(post(BAD))).status == 401
        for headers in (BAD, GOOD):
            refused = await service.ask(post(headers, b"", Content_Length=str(MEBIBYTE)))
            assert refused.status == 429
            assert 0 < int(refused.headers["retry-after"]) <= 60
    assert len(check.bodies) == 2


async def test_what_is_refused_anyway_costs_no_check() -> None:
    check = Checked()
    async with closed_service(check) as service:
        statuses = [
            (await service.ask(post(GOOD, **changed))).status
            for changed in (
                {"Content_Type": "text/plain"},
                {"Origin": "https://evil.example"},
                {"Host": "evil.example"},
                {"Content_Length": str(MEBIBYTE + 1)},
                {"Content_Encoding": "gzip"},
                {"Content_Length": ""},
            )
        ]

    assert statuses == [415, 403, 403, 413, 415, 411]
    assert check.bodies == []


async def test_health_is_shown_to_strangers() -> None:
    async with closed_service(Checked()) as service:
        assert (await service.ask(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200


async def test_a_refusal_is_logged_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    async with closed_service(Checked()) as service:
        await service.ask(post({"Authorization": "Bearer s3cret"}))

    assert "access to any method denied: wrong credentials, over http from 127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text


# Known callers.


async def test_a_known_caller_is_asked_about_once_and_known_to_the_method() -> None:
    check = Checked()
    async with closed_service(check) as service:
        response = await service.ask(post(GOOD))
        batch = await service.ask(post(GOOD, b"[" + WHO + b"," + WHO + b"]"))

    assert (response.status, response.json, response.headers["x-seen"]) == (200, ALICE, "yes")
    assert batch.json == [ALICE, ALICE]
    assert check.bodies == [b"", b""]


async def test_a_signed_body_is_checked_when_it_has_come() -> None:
    keys = HmacKeys({"alice": SECRET})
    async with closed_service(keys) as service, service.client() as client:
        signed = HmacKey("alice", SECRET).headers(WHO)
        assert (await client.ask(post(signed))).json == ALICE

        forged = await client.ask(post(HmacKey("alice", SECRET).headers(WHO + b" ")))
        assert forged.json == {"jsonrpc": "2.0", "error": {"code": -32001, "message": "Access denied"}, "id": 1}

        assert (await client.ask(post(signed))).status == 401


# Checks that take their time.


@dataclass
class Gate:
    """A check that waits, and then lets pass."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def __call__(self, handler: RpcHandler) -> Principal:
        if handler.request.headers.get("X-Slow"):
            self.waiting += 1
            await self.opened.wait()
        return Principal("alice")

    async def is_asked(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not self.waiting:
                await asyncio.sleep(0.001)


async def test_a_body_is_not_read_while_the_check_runs_and_others_are_served() -> None:
    gate = Gate()
    async with closed_service(gate) as service, service.client() as slow:
        await slow.send(post({"X-Slow": "yes"}))
        await gate.is_asked()
        assert (await service.ask(post({}))).json == ALICE
        gate.opened.set()

        assert (await slow.receive()).json == ALICE


async def test_a_client_that_leaves_while_the_check_runs_leaves_nothing_behind() -> None:
    gate = Gate()
    async with closed_service(gate) as service:
        async with service.client() as slow:
            await slow.send(post({"X-Slow": "yes"})[:-5])
            await gate.is_asked()
        gate.opened.set()
        async with asyncio.timeout(PATIENCE):
            while len(service.application.in_flight):
                await asyncio.sleep(0.001)

        assert (await service.ask(post({}))).json == ALICE


async def test_a_check_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async with closed_service(Gate(), call_timeout=0.05) as service:
        given_up = await service.ask(post({"X-Slow": "yes"}))
        assert (given_up.status, given_up.headers["retry-after"]) == (503, "1")
        assert (await service.ask(post({}))).json == ALICE
    assert "authenticate_request failed" in caplog.text


async def test_a_check_that_fails_lets_nobody_in_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def check(handler: RpcHandler) -> bool:
        raise LookupError("the token store at 192.0.2.1")

    async with closed_service(check) as service, service.client() as client:
        response = await client.ask(post(GOOD))
        assert response.status == 503
        assert b"192.0.2.1" not in response.body
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]


async def test_a_stop_waits_for_callers_who_are_being_checked() -> None:
    gate = Gate()
    async with closed_service(gate) as service, service.client() as slow:
        await slow.send(post({"X-Slow": "yes"}))
        await gate.is_asked()
        stopping = asyncio.create_task(service.server.stop(PATIENCE))
        await asyncio.sleep(0)
        gate.opened.set()

        assert (await slow.receive()).json == ALICE
        assert await stopping


# A thousand idle sockets.


@pytest.mark.parametrize(
    ("sent", "limits"),
    [
        (b"", HttpLimits(connections=1002, idle_timeout=1.0)),
        (b"POST /api HTTP/1.1\r\nHost: loc", HttpLimits(connections=1002, idle_timeout=1.0)),
        (post(GOOD)[:-5], HttpLimits(connections=1002, body_timeout=1.0)),
    ],
    ids=["silent", "slow head", "slow body"],
)
async def test_a_thousand_idle_sockets_are_cut_off_while_an_honest_client_is_answered(
    sent: bytes, limits: HttpLimits
) -> None:
    async with closed_service(Checked(), limits=limits) as service, contextlib.AsyncExitStack() as stack:
        idle = []
        for _ in range(1000):
            idle.append(await stack.enter_async_context(service.client()))
            with suppress(ConnectionError):
                await idle[-1].send(sent)
        assert (await service.ask(post(GOOD))).json == ALICE

        assert all(await asyncio.gather(*(each.is_closed_by_server() for each in idle)))
        assert (await service.ask(post(GOOD))).json == ALICE
