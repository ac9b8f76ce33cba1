"""Who calls is found out once per body, scopes count, and those who fail too often are not looked at."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from gemstone_events.rpc.answering import make_answer
from gemstone_events.rpc.authentication.caller import Authentication
from gemstone_events.rpc.authentication.failed_attempts import FailedAttempts, network_of
from gemstone_events.rpc.authentication.principal import Principal
from gemstone_events.rpc.authentication.strategies import HeaderValidationStrategy
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.errors import AccessDenied
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.protocol import JsonRpcRequest
from gemstone_events.rpc.request_handler import RpcHandler

DENIED = {"code": -32001, "message": "Access denied"}
GOOD = {"x-api-token": "good"}
BAD = {"x-api-token": "bad"}


@dataclass
class Clock:
    """Seconds, as the test says."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Server:
    """A dispatcher with a check that knows the token "good"."""

    limit: int = 3
    required: bool = False
    is_async: bool = False
    raises: type[Exception] | None = None
    scopes: frozenset[str] = frozenset({"read"})
    by_token: bool = False
    asked: list[str | None] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        attempts = FailedAttempts(self.limit, 60.0, clock=self.clock)
        check = self._check_later if self.is_async else self._check
        strategies = [HeaderValidationStrategy()]
        authentication = Authentication(
            check, strategies=strategies, attempts=attempts, required=self.required, by_token=self.by_token
        )
        methods = [
            Method("open", lambda: "open"),
            Method("secret", lambda: "secret", private=True),
            Method("read", lambda: "read", scopes=["read"]),
            Method("write", lambda: "write", private=True, scopes=["read", "write"]),
            Method("who", _who, takes_handler=True),
            Method("relay", _relay, takes_handler=True),
        ]
        dispatcher = Dispatcher(
            MethodTable(methods),
            invoke=_invoke,
            authorize=authentication.authorize,
            require_authentication=self.required,
        )
        self._answer = make_answer(dispatcher, authentication)

    async def ask(
        self, *methods: str, headers: Mapping[str, str] = GOOD, peer: str = "192.0.2.1", wire: str = "memory"
    ) -> object:
        """Return result or error of one method, or those of a batch of several."""
        calls = [{"jsonrpc": "2.0", "method": method, "id": number} for number, method in enumerate(methods)]
        body = json.dumps(calls if len(calls) > 1 else calls[0]).encode()
        answer = json.loads(await self._answer(body, CallContext(wire, headers, peer)) or b"")
        outcomes = [each.get("result", each.get("error")) for each in (answer if len(calls) > 1 else [answer])]
        return outcomes if len(calls) > 1 else outcomes[0]

    def _check(self, handler: RpcHandler) -> Principal | None:
        token = handler.request.headers.get("X-Api-Token")
        self.asked.append(token)
        if token == "good":
            return Principal("alice", self.scopes)
        if self.raises is not None:
            raise self.raises
        return None

    async def _check_later(self, handler: RpcHandler) -> Principal | None:
        await asyncio.sleep(0)
        return self._check(handler)


async def _who(handler: RpcHandler) -> object:
    user = await handler.identify()
    return user.name if isinstance(user, Principal) else user


async def _relay(handler: RpcHandler) -> object:
    response = await handler.handle_single_request(JsonRpcRequest("secret", (), 1))
    assert response is not None
    return response.result or str(response.error)


async def _invoke(method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext) -> object:
    result = method.function(*args, **kwargs)
    return await result if asyncio.iscoroutine(result) else result


# Who calls.


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_check_is_asked_once_for_all_calls_of_a_body(is_async: bool) -> None:
    server = Server(is_async=is_async)

    assert await server.ask("secret", "read", "secret", "who", "relay") == [
        "secret",
        "read",
        "secret",
        "alice",
        "secret",
    ]
    assert server.asked == ["good"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_stranger_is_asked_about_once_for_all_calls_of_a_body(is_async: bool) -> None:
    server = Server(is_async=is_async)

    denied = "Access denied (-32001)"
    assert await server.ask("secret", "read", "who", "relay", headers=BAD) == [DENIED, DENIED, None, denied]
    assert server.asked == ["bad"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_check_that_fails_is_not_asked_again_for_the_next_call_of_a_body(is_async: bool) -> None:
    server = Server(is_async=is_async, raises=LookupError("the token store is down"))

    internal = {"code": -32603, "message": "Internal error"}
    assert await server.ask("secret", "open", "read", "who", headers=BAD) == [internal, "open", internal, internal]
    assert server.asked == ["bad"]
    assert await server.ask("secret") == "secret"


async def test_the_check_is_not_asked_for_public_methods() -> None:
    server = Server()

    assert await server.ask("open", headers={}) == "open"
    assert server.asked == []


async def test_a_check_whose_first_asker_was_cancelled_is_asked_again() -> None:
    release = asyncio.Event()
    asked: list[object] = []

    async def check(handler: RpcHandler) -> bool:
        asked.append(handler)
        if len(asked) == 1:
            await release.wait()
        return True

    authentication = Authentication(check)
    callers = []

    async def authorize(method: Method | None, context: CallContext) -> object:
        callers.append(context.caller)
        return True

    dispatcher = Dispatcher(MethodTable([Method("m", lambda: 1, private=True)]), invoke=_invoke, authorize=authorize)
    await make_answer(dispatcher, authentication)(b'{"jsonrpc":"2.0","method":"m","id":1}', CallContext("memory"))
    (caller,) = callers
    assert caller is not None
    first, second = asyncio.create_task(caller.identify("m")), asyncio.create_task(caller.identify("m"))
    while not asked:
        await asyncio.sleep(0)
    first.cancel()

    assert await second is True
    assert first.cancelled()
    assert len(asked) == 2


async def test_without_a_caller_nobody_is_let_in() -> None:
    dispatcher = Dispatcher(
        MethodTable([Method("m", lambda: 1, private=True)]),
        invoke=_invoke,
        authorize=Authentication(lambda handler: True).authorize,
    )
    answer = await dispatcher.dispatch(b'{"jsonrpc":"2.0","method":"m","id":1}', CallContext("bare"))

    assert json.loads(answer or b"")["error"] == DENIED


# Scopes.


async def test_a_method_with_scopes_takes_those_who_have_all_of_them() -> None:
    assert await Server().ask("read") == "read"
    assert await Server(scopes=frozenset({"read", "write", "more"})).ask("write") == "write"


async def test_who_lacks_a_scope_is_told_which() -> None:
    assert await Server().ask("write") == {**DENIED, "data": {"missing_scopes": ["write"]}}
    assert await Server(scopes=frozenset()).ask("write") == {**DENIED, "data": {"missing_scopes": ["read", "write"]}}


async def test_a_stranger_is_not_told_of_scopes() -> None:
    assert await Server().ask("write", headers=BAD) == DENIED


async def test_true_has_no_scopes() -> None:
    authentication = Authentication(lambda handler: True)
    method = Method("read", lambda: "read", scopes=["read"])
    dispatcher = Dispatcher(MethodTable([method]), invoke=_invoke, authorize=authentication.authorize)
    answer = await make_answer(dispatcher, authentication)(
        b'{"jsonrpc":"2.0","method":"read","id":1}', CallContext("memory")
    )

    assert json.loads(answer or b"")["error"] == {**DENIED, "data": {"missing_scopes": ["read"]}}


async def test_a_missing_scope_is_no_failed_attempt() -> None:
    server = Server(limit=1)
    await server.ask("write")

    assert await server.ask("secret") == "secret"


# All methods private.


async def test_a_closed_service_tells_strangers_nothing_of_its_methods() -> None:
    server = Server(required=True)

    assert await server.ask("missing", "secret", headers={}) == [DENIED, DENIED]
    assert await server.ask("missing") == {"code": -32601, "message": "Method not found"}


# Failed attempts.


def too_many(seconds: int) -> object:
    return {**DENIED, "data": {"reason": "too many failed attempts", "retry_after": seconds}}


@pytest.mark.parametrize("raises", [None, AccessDenied])
async def test_who_fails_too_often_is_not_looked_at_for_a_while(raises: type[Exception] | None) -> None:
    server = Server(raises=raises)
    for _ in range(3):
        assert await server.ask("secret", headers=BAD) == DENIED
    asked = len(server.asked)
    server.clock.now += 20

    assert await server.ask("secret") == too_many(40)
    assert await server.ask("secret", "secret", headers=BAD) == [too_many(40), too_many(40)]
    assert await server.ask("open") == "open"
    assert await server.ask("who") is None
    assert len(server.asked) == asked
    server.clock.now += 40
    assert await server.ask("secret") == "secret"


async def test_a_batch_of_guesses_is_one_attempt_for_it_has_one_token() -> None:
    server = Server(limit=2)
    await server.ask(*["secret"] * 10, headers=BAD)

    assert await server.ask("secret") == "secret"


async def test_guessing_by_a_public_method_that_tells_who_calls_counts() -> None:
    server = Server()
    for _ in range(3):
        assert await server.ask("who", headers=BAD) is None

    assert await server.ask("secret") == too_many(60)


async def test_requests_without_credentials_are_no_attempts() -> None:
    server = Server()
    for _ in range(10):
        assert await server.ask("secret", headers={}) == DENIED

    assert await server.ask("secret") == "secret"


async def test_any_authorization_header_is_an_attempt() -> None:
    server = Server()
    for _ in range(3):
        await server.ask("secret", headers={"authorization": "Basic Zm9vOmJhcg=="})

    assert await server.ask("secret") == too_many(60)


async def test_failures_count_for_one_peer_on_one_wire() -> None:
    server = Server()
    for _ in range(3):
        await server.ask("secret", headers=BAD)

    assert await server.ask("secret", peer="192.0.2.2") == "secret"
    assert await server.ask("secret", wire="amqp") == "secret"
    assert await server.ask("secret") == too_many(60)


async def test_failures_are_forgotten_after_the_window() -> None:
    server = Server()
    for _ in range(2):
        await server.ask("secret", headers=BAD)
    server.clock.now += 60
    await server.ask("secret", headers=BAD)

    assert await server.ask("secret") == "secret"


async def test_a_success_does_not_wipe_out_failures() -> None:
    server = Server()
    for _ in range(3):
        await server.ask("secret", headers=BAD)
        if len(server.asked) < 4:
            await server.ask("secret")

    assert await server.ask("secret") == too_many(60)


async def test_without_a_limit_nobody_is_refused() -> None:
    server = Server(limit=0)
    for _ in range(50):
        await server.ask("secret", headers=BAD)

    assert await server.ask("secret") == "secret"


def test_of_too_many_peers_those_are_forgotten_who_failed_longest_ago() -> None:
    attempts = FailedAttempts(limit=1, peers=100, clock=Clock())
    for number in range(150):
        attempts.add(number)
        attempts.add(0)

    assert len(attempts) == 100
    assert attempts.seconds_left(0) == 60
    assert attempts.seconds_left(50) == 0
    assert attempts.seconds_left(52) == 60


def test_a_refusal_that_is_over_is_forgotten() -> None:
    clock = Clock()
    attempts = FailedAttempts(limit=1, clock=clock)
    attempts.add("peer")
    clock.now += 60

    assert attempts.seconds_left("peer") == 0
    assert len(attempts) == 0


@pytest.mark.parametrize(
    ("peer", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("amq.gen-x", "amq.gen-x"),
        ("", ""),
    ],
)
def test_of_an_ipv6_address_the_network_counts(peer: str, counted_as: str) -> None:
    assert network_of(peer) == counted_as


# The log.


@pytest.mark.parametrize(
    ("headers", "reason"), [({}, "no credentials"), (BAD, "wrong credentials"), (GOOD, "scopes write")]
)
async def test_a_denial_is_logged_with_method_wire_and_peer_and_without_token(
    headers: dict[str, str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    await Server().ask("write", "write", headers=headers, peer="evil\r\npeer" + "x" * 1000)

    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == (2 if headers is GOOD else 1)
    assert "access to write denied" in lines[0]
    assert reason in lines[0]
    assert "over memory from evil\\r\\npeer" in lines[0]
    assert len(lines[0]) < 400
    assert "bad" not in lines[0]


@pytest.mark.parametrize(
    ("by_token", "headers", "is_told"),
    [
        (True, {"authorization": "Bearer hidden"}, True),
        (True, BAD, False),
        (True, {**BAD, "authorization": "Bearer hidden"}, False),
        (False, {"authorization": "Bearer hidden"}, False),  # who knows what the service's own check reads
    ],
)
async def test_a_token_where_nobody_looks_is_told_with_where_it_belongs(
    by_token: bool, headers: dict[str, str], is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await Server(by_token=by_token).ask("secret", headers=headers)

    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    told = "wrong credentials (Authorization is not read: validation_strategies look for X-Api-Token)"
    assert (told in line) is is_told
    assert "hidden" not in line


async def test_refusals_of_those_who_failed_too_often_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(limit=1)
    await server.ask("secret", headers=BAD)
    caplog.clear()
    await server.ask("secret", headers=BAD)

    assert "access to secret denied: too many failed attempts, over memory from 192.0.2.1" in caplog.text


async def test_strangers_who_use_public_methods_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert await Server().ask("who", headers={}) is None

    assert caplog.text == ""
