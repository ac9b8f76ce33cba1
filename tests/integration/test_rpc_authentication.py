"""Who calls, the same over HTTP, in the process, over the embedded bus and through RabbitMQ."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from gemstone_events import MicroService, exposed_method
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.authentication.credentials import (
    BearerToken,
    CookieToken,
    Credentials,
    HeaderToken,
    HmacKey,
)
from gemstone_events.rpc.authentication.hmac_keys import HmacKeys
from gemstone_events.rpc.authentication.principal import Principal
from gemstone_events.rpc.authentication.strategies import (
    BasicCookieStrategy,
    BearerTokenStrategy,
    HeaderValidationStrategy,
)
from gemstone_events.rpc.authentication.token_table import TokenTable, hash_token
from gemstone_events.rpc.call_errors import AccessDeniedError, MethodNotFoundError, ServiceUnreachableError
from gemstone_events.rpc.client.remote_service import RemoteService
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.protocol import JsonRpcRequest
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.rpc.wire import service_url
from tests.integration.http_peer import connected

READER = "token-of-the-reader"
WRITER = "token-of-the-writer"
SECRET = "a-secret-of-many-bytes"

Open: TypeAlias = Callable[[MicroService], "contextlib.AbstractAsyncContextManager[Client]"]


class Vault(MicroService):
    """Has something for everybody, and something for some."""

    name = "vault"
    event_store = "memory:"
    event_transports = ()
    asked = 0

    @exposed_method()
    def public(self) -> str:
        return "public"

    @exposed_method(private=True)
    def secret(self) -> str:
        return "secret"

    @exposed_method(scopes=["write"])
    def write(self, *, text: str) -> str:
        return text

    @exposed_method(private=True, requires_handler_reference=True)
    async def describe(self, handler: RpcHandler) -> dict[str, object]:
        user = handler.current_user
        further = await handler.handle_single_request(JsonRpcRequest("secret", (), 1))
        assert further is not None
        return {
            "user": user.name if isinstance(user, Principal) else None,
            "header": handler.request.headers["X-WHO"],
            "cookie": handler.get_cookie("AuthToken"),
            "wire": handler.wire,
            "body": handler.request.body.decode(),
            "further": further.result,
            "direct": await handler.call_method(handler.prepare_method_call(self.secret, ())),
        }


class TokenVault(Vault):
    """Knows callers by tokens, wherever they stand."""

    validation_strategies = (HeaderValidationStrategy(), BasicCookieStrategy(), BearerTokenStrategy())
    tokens = TokenTable({"reader": READER, "writer": hash_token(WRITER)}, scopes={"writer": ["write"]})

    def api_token_is_valid(self, api_token: str) -> Principal | None:
        self.asked += 1
        return self.tokens(api_token)


class KeyVault(Vault):
    """Knows callers by their signatures; it looks them up with ``await``, as others do in a database."""

    def __init__(self, **settings: object) -> None:
        super().__init__(None, **settings)
        self.keys = HmacKeys({"reader": SECRET}, audience="vault")

    async def authenticate_request(self, handler: RpcHandler) -> Principal | None:
        await asyncio.sleep(0)
        return self.keys(handler)


@dataclass
class Client:
    """Calls one service with whatever credentials."""

    url: str
    wire: str
    stack: contextlib.AsyncExitStack

    async def by(self, credentials: Credentials | None = None, **headers: str) -> RemoteService:
        service = RemoteService(self.url, authentication=credentials, headers=headers)
        return await self.stack.enter_async_context(service)

    async def outcome(self, method: str, credentials: Credentials | None = None, **params: str) -> object:
        """Return the result, or "denied" and why."""
        try:
            return await (await self.by(credentials)).methods[method](**params)
        except AccessDeniedError as error:
            return ["denied", error.data]


@pytest.fixture(params=["http", "memory", "sqlite", "amqp"])
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(wire: str, tmp_path: Path, namespace: str, request: pytest.FixtureRequest) -> Open:
    """Runs a service that is called by one wire only."""
    urls = {"memory": f"memory://{namespace}", "sqlite": f"sqlite:///{tmp_path}/bus.db"}
    if wire == "amqp":
        urls[wire] = request.getfixturevalue("rabbitmq_url")

    @contextlib.asynccontextmanager
    async def run(service: MicroService) -> AsyncIterator[Client]:
        service.name = f"vault-{namespace}"
        service.port = 0 if wire == "http" else None
        service.rpc_transports = [] if wire == "http" else [urls[wire]]
        async with service, contextlib.AsyncExitStack() as stack:
            url = service.url if wire == "http" else service_url(urls[wire], service.service_name)
            yield Client(str(url), wire, stack)

    return run


async def test_a_token_is_found_in_header_cookie_and_authorization(opened: Open) -> None:
    async with opened(TokenVault()) as client:
        for kind in (HeaderToken, CookieToken, BearerToken):
            assert await client.outcome("secret", kind(READER)) == "secret"
            assert await client.outcome("secret", kind("another-token-that-is-wrong")) == ["denied", None]
        assert await client.outcome("secret") == ["denied", None]
        assert await client.outcome("public") == "public"


async def test_a_method_with_scopes_takes_those_who_have_them(opened: Open) -> None:
    async with opened(TokenVault()) as client:
        assert await client.outcome("write", HeaderToken(WRITER), text="a") == "a"
        denied = ["denied", {"missing_scopes": ["write"]}]
        assert await client.outcome("write", HeaderToken(READER), text="a") == denied
        assert await client.outcome("write", HeaderToken(READER), wrong="b") == denied
        assert await client.outcome("write", wrong="b") == ["denied", None]


async def test_the_handler_is_the_request_and_knows_the_caller(opened: Open) -> None:
    async with opened(TokenVault()) as client:
        service = await client.by(CookieToken(READER), **{"x-who": "eve"})
        seen = await service.methods.describe()

        assert seen.pop("wire") == {"sqlite": "bus"}.get(client.wire, client.wire)
        assert '"describe"' in seen.pop("body")
        assert seen == {
            "user": "reader",
            "header": "eve",
            "cookie": READER,
            "further": "secret",
            "direct": "secret",
        }


async def test_the_caller_is_asked_about_once_for_a_batch(opened: Open) -> None:
    vault = TokenVault()
    async with opened(vault) as client:
        service = await client.by(HeaderToken(READER))
        results = await service.call_batch(
            *[MethodCall("secret") for _ in range(10)], MethodCall("write", {"text": "a"})
        )

        assert [result.result for result in results] == ["secret"] * 10 + [None]
        assert vault.asked == 1


class Replayed:
    """Sends one signature again and again."""

    def __init__(self) -> None:
        self._headers: Mapping[str, str] = {}

    def headers(self, body: bytes) -> Mapping[str, str]:
        self._headers = self._headers or HmacKey("reader", SECRET, audience="vault").headers(body)
        return self._headers


async def test_a_signed_request_passes_once_and_only_with_its_body(opened: Open) -> None:
    async with opened(KeyVault()) as client:
        signing = await client.by(HmacKey("reader", SECRET, audience="vault"))
        assert [await signing.methods.secret() for _ in range(3)] == ["secret"] * 3

        replaying = await client.by(Replayed())
        same = MethodCall("secret", id="same")
        assert (await replaying.call_method(same)).result == "secret"
        with pytest.raises(AccessDeniedError):
            await replaying.call_method(same)
        with pytest.raises(AccessDeniedError):
            await replaying.call_method(MethodCall("secret", id="other"))

        assert await client.outcome("secret", HmacKey("reader", SECRET, audience="other")) == ["denied", None]
        assert await client.outcome("secret", HmacKey("reader", "another-secret-x", audience="vault")) == [
            "denied",
            None,
        ]


async def test_who_fails_too_often_is_not_looked_at_any_more(opened: Open) -> None:
    vault = TokenVault(failed_attempts=3)
    async with opened(vault) as client:
        guessing = await client.by(HeaderToken("a-guess-that-is-wrong"))
        for _ in range(3):
            with pytest.raises(AccessDeniedError):
                await guessing.methods.secret()
        with pytest.raises(AccessDeniedError) as refused:
            await guessing.methods.secret()

        assert isinstance(refused.value.data, dict)
        assert refused.value.data["reason"] == "too many failed attempts"
        assert 0 < refused.value.data["retry_after"] <= 60
        assert vault.asked == 3
        assert await guessing.methods.public() == "public"


async def test_a_closed_service_answers_nothing_to_strangers(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(TokenVault(require_authentication=True)) as client:
        for method in ("public", "get_service_specs", "missing"):
            with pytest.raises(AccessDeniedError):
                await (await client.by()).methods[method]()
        known = await client.by(HeaderToken(READER))
        assert await known.methods.public() == "public"
        assert (await known.methods.get_service_specs())["name"]
        with pytest.raises(MethodNotFoundError):
            await known.methods.missing()
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_document_waits_no_longer_for_a_check_than_a_call_does(is_closed: bool) -> None:
    class Hanging(Vault):
        async def authenticate_request(self, handler: RpcHandler) -> bool:
            await asyncio.Event().wait()
            return True

    hanging = Hanging(port=0, call_timeout=0.05, require_authentication=is_closed)
    async with hanging as vault, connected(vault.bound_port or 0) as client:
        response = await client.ask(b"GET /openrpc.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert response.status == (401 if is_closed else 200)
    assert b'"secret"' not in response.body


async def test_a_closed_service_checks_the_body_of_a_signed_request(opened: Open) -> None:
    async with opened(KeyVault(require_authentication=True)) as client:
        replaying = await client.by(Replayed())
        assert (await replaying.call_method(MethodCall("public", id="same"))).result == "public"

        class Forged:
            def headers(self, body: bytes) -> Mapping[str, str]:
                return HmacKey("reader", SECRET, audience="vault").headers(body + b" ")

        forging = await client.by(Forged())
        with pytest.raises(AccessDeniedError):
            await forging.methods.public()


async def test_a_closed_service_refuses_who_failed_too_often(opened: Open) -> None:
    vault = TokenVault(require_authentication=True, failed_attempts=2)
    async with opened(vault) as client:
        guessing = await client.by(HeaderToken("a-guess-that-is-wrong"))
        for _ in range(2):
            with pytest.raises(AccessDeniedError):
                await guessing.methods.public()
        # HTTP's 429 tells a client that it may come again.
        with pytest.raises(
            ServiceUnreachableError if client.wire == "http" else AccessDeniedError, match=r"attempts|denied"
        ):
            await guessing.methods.public()
        assert vault.asked == 2


class TrustingVault(Vault):
    """Says of its callers no more than that it knows them."""

    validation_strategies = (HeaderValidationStrategy(), BearerTokenStrategy())
    entries = 0

    def api_token_is_valid(self, api_token: str) -> bool:
        return api_token in (READER, WRITER)

    @exposed_method(private=True)
    async def enter(self) -> int:
        self.entries += 1
        return self.entries


async def test_no_token_gets_the_answer_to_another_under_its_idempotency_key(opened: Open) -> None:
    async with opened(TrustingVault()) as client:

        async def enter(credentials: Credentials) -> object:
            service = await client.by(credentials)
            return (await service.call_method("enter", idempotency_key="1")).result

        senders = (HeaderToken(READER), HeaderToken(WRITER), BearerToken(WRITER))
        assert [await enter(each) for each in (*senders, *senders)] == [1, 2, 3, 1, 2, 3]


# What keeps a service from starting.


@pytest.mark.parametrize("kind", [TokenVault, KeyVault])
def test_a_service_that_authenticates_may_listen_everywhere(kind: type[Vault]) -> None:
    kind(host="0.0.0.0").check_declarations()


def test_a_service_that_does_not_authenticate_may_not() -> None:
    with pytest.raises(ServiceConfigurationError, match="authenticate_request or api_token_is_valid"):
        Vault(host="0.0.0.0").check_declarations()


def test_a_closed_service_that_could_know_nobody_is_refused() -> None:
    with pytest.raises(ServiceConfigurationError, match="nobody could call 'vault'"):
        Vault(require_authentication=True).check_declarations()


@pytest.mark.parametrize("setting", [{"failed_attempts": -1}, {"failed_attempts": 1.5}, {"failed_attempts_window": 0}])
def test_a_limit_that_makes_no_sense_is_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ServiceConfigurationError, match="failed_attempts"):
        Vault(None, **setting)
