"""Tokens and templates: how a client sends them, where a server finds them, and whose they are."""

import json
import secrets
from collections.abc import Callable

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.authentication.credentials import BearerToken, CookieToken, Credentials, HeaderToken, HmacKey
from gemstone_events.rpc.authentication.principal import Principal, scopes_of
from gemstone_events.rpc.authentication.strategies import (
    BaseValidationStrategy,
    BasicCookieStrategy,
    BearerTokenStrategy,
    HeaderValidationStrategy,
)
from gemstone_events.rpc.authentication.token_table import TokenTable, hash_token, new_token
from gemstone_events.rpc.authentication.token_template import TokenTemplate
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.request_handler import RpcHandler, WireHandler, make_request

TOKEN = "Zm9vYmFyLWJhei1xdXV4"
OTHER = "b3RoZXItdG9rZW4tMTIz"


async def _invoke(method: Method, *_: object) -> object:
    raise AssertionError(f"{method} is not called")


def handler_of(body: bytes = b"", /, **headers: str) -> RpcHandler:
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    context = CallContext("memory", named, "somebody")
    return WireHandler(Dispatcher(MethodTable(), invoke=_invoke), context, make_request(body, context))


def sent_by(credentials: Credentials) -> RpcHandler:
    return handler_of(b"{}", **credentials.headers(b"{}"))


# Where tokens are found.


@pytest.mark.parametrize(
    ("credentials", "strategy"),
    [
        (HeaderToken(TOKEN), HeaderValidationStrategy()),
        (HeaderToken(TOKEN, "X-Key"), HeaderValidationStrategy(header="x-key")),
        (HeaderToken(TOKEN, "Authorization", "Token {};"), HeaderValidationStrategy("AUTHORIZATION", "Token {};")),
        (CookieToken(TOKEN), BasicCookieStrategy()),
        (CookieToken(TOKEN, "session", "v1.{}"), BasicCookieStrategy("session", template="v1.{}")),
        (BearerToken(TOKEN), BearerTokenStrategy()),
    ],
)
def test_what_a_client_sends_its_counterpart_finds(credentials: Credentials, strategy: BaseValidationStrategy) -> None:
    assert strategy.extract_api_token(sent_by(credentials)) == TOKEN


@pytest.mark.parametrize(
    ("strategy", "headers"),
    [
        (HeaderValidationStrategy(), {}),
        (HeaderValidationStrategy(), {"X_Api_Token": ""}),
        (HeaderValidationStrategy(), {"X_Other": TOKEN}),
        (HeaderValidationStrategy("Authorization", "Token {}"), {"Authorization": TOKEN}),
        (HeaderValidationStrategy("Authorization", "Token {}"), {"Authorization": "Token "}),
        (HeaderValidationStrategy("Authorization", "aba{}aba"), {"Authorization": "aba"}),
        (BasicCookieStrategy(), {}),
        (BasicCookieStrategy(), {"Cookie": "Other=1"}),
        (BasicCookieStrategy(), {"Cookie": "\x00;=;;"}),
        (BearerTokenStrategy(), {}),
        (BearerTokenStrategy(), {"Authorization": "Bearer"}),
        (BearerTokenStrategy(), {"Authorization": f"Basic {TOKEN}"}),
    ],
)
def test_a_request_without_a_token_of_the_kind_has_none(
    strategy: BaseValidationStrategy, headers: dict[str, str]
) -> None:
    assert strategy.extract_api_token(handler_of(**headers)) is None


def test_the_scheme_of_a_bearer_token_is_found_in_any_case() -> None:
    assert BearerTokenStrategy().extract_api_token(handler_of(Authorization=f"bearer {TOKEN}")) == TOKEN


def test_a_cookie_is_found_among_others() -> None:
    assert BasicCookieStrategy().extract_api_token(handler_of(Cookie=f"a=b; AuthToken={TOKEN}; c=d")) == TOKEN


@pytest.mark.parametrize("template", ["", "Token", "{} and {}"])
@pytest.mark.parametrize(
    "make",
    [
        TokenTemplate,
        lambda template: HeaderToken(TOKEN, template=template),
        lambda template: CookieToken(TOKEN, template=template),
        lambda template: HeaderValidationStrategy(template=template),
        lambda template: BasicCookieStrategy(template=template),
    ],
)
def test_a_template_needs_one_place_for_the_token(template: str, make: Callable[[str], object]) -> None:
    with pytest.raises(ServiceConfigurationError, match="where the token stands"):
        make(template)


# What clients may send.


@pytest.mark.parametrize("token", ["", "two\r\nlines", "größe", " padded", "nul\x00"])
@pytest.mark.parametrize("make", [HeaderToken, BearerToken, CookieToken])
def test_a_token_that_cannot_be_sent_is_refused(token: str, make: Callable[[str], object]) -> None:
    with pytest.raises(ServiceConfigurationError, match="cannot be sent"):
        make(token)


@pytest.mark.parametrize("make", [HeaderToken, CookieToken])
@pytest.mark.parametrize(
    ("token", "template"), [("", "v1.{}"), (TOKEN, "a\r\nX-Admin: {}"), (TOKEN, "ä{}"), (TOKEN, " {}")]
)
def test_text_around_a_token_that_cannot_be_sent_is_refused(
    make: Callable[..., object], token: str, template: str
) -> None:
    with pytest.raises(ServiceConfigurationError, match="cannot be sent"):
        make(token, "X-Name", template)


@pytest.mark.parametrize("name", ["", "X Token", "X-Token:", "X\r\nY"])
@pytest.mark.parametrize("make", [HeaderToken, CookieToken])
def test_a_name_that_no_header_and_no_cookie_can_have_is_refused(name: str, make: Callable[[str, str], object]) -> None:
    with pytest.raises(ServiceConfigurationError, match="is no name of"):
        make(TOKEN, name)


@pytest.mark.parametrize("token", ["a;b", "a b", "a,b", 'a"b', "a\\b"])
def test_a_cookie_cannot_carry_what_would_end_it(token: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="a cookie takes"):
        CookieToken(token)


@pytest.mark.parametrize(
    "credentials", [HeaderToken(TOKEN), CookieToken(TOKEN), BearerToken(TOKEN), HmacKey("shop", TOKEN)]
)
def test_credentials_show_no_secret(credentials: Credentials) -> None:
    assert TOKEN not in repr(credentials)


# Whose tokens they are.


def test_a_token_is_known_as_it_is_and_by_its_hash() -> None:
    table = TokenTable({"shop": TOKEN, "desk": hash_token(OTHER)}, scopes={"shop": ["orders.write", "orders.read"]})

    assert table(TOKEN) == Principal("shop", frozenset({"orders.write", "orders.read"}))
    assert table(OTHER) == Principal("desk")


def test_two_tokens_of_one_caller_are_good_while_he_changes_them() -> None:
    table = TokenTable({"shop": [TOKEN, hash_token(OTHER)]})

    assert table(TOKEN) == table(OTHER) == Principal("shop")


@pytest.mark.parametrize(
    "token", ["", "wrong", TOKEN + "x", TOKEN[:-1], TOKEN.upper(), hash_token(TOKEN), "größe" * 4, "\ud800", "\x00"]
)
def test_another_token_is_nobodys_whatever_characters_it_holds(token: str) -> None:
    assert TokenTable({"shop": TOKEN})(token) is None


def test_no_token_is_kept_or_shown() -> None:
    table = TokenTable({"shop": TOKEN})

    assert TOKEN not in repr(vars(table))
    assert TOKEN not in hash_token(TOKEN)


@pytest.mark.parametrize(
    "token", ["short", "größe-größe-größe", "line\nline-line-line", "sha256:abc", "sha256:" + "G" * 64]
)
def test_a_token_that_cannot_be_secret_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="token of 'shop'") as refused:
        TokenTable({"shop": token})
    assert token not in str(refused.value)


def test_one_token_cannot_be_two_callers() -> None:
    with pytest.raises(ServiceConfigurationError, match="'shop' and 'desk' have the same token"):
        TokenTable({"shop": TOKEN, "desk": hash_token(TOKEN)})


def test_scopes_of_somebody_without_token_are_a_mistake() -> None:
    with pytest.raises(ServiceConfigurationError, match="scopes for shap"):
        TokenTable({"shop": TOKEN}, scopes={"shap": ["orders.write"]})


def test_new_tokens_are_good_tokens() -> None:
    token = new_token()

    assert TokenTable({"shop": token})(token) == Principal("shop")
    assert token != new_token()


def test_a_table_looks_at_every_token_also_after_it_found_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = secrets.compare_digest

    def compare(known: bytes, given: bytes) -> bool:
        compared.append(known)
        return real(known, given)

    monkeypatch.setattr("gemstone_events.rpc.authentication.token_table.hmac.compare_digest", compare)
    tokens = {f"caller {number}": new_token() for number in range(5)}
    TokenTable(tokens)(tokens["caller 0"])

    assert len(compared) == 5


# What callers may do.


class OwnUser:
    scopes = "orders.read orders.write"


@pytest.mark.parametrize(
    ("caller", "scopes"),
    [
        (Principal("shop", frozenset({"orders.read"})), {"orders.read"}),
        (OwnUser(), {"orders.read", "orders.write"}),
        (True, set()),
        ("alice", set()),
        ({"scopes": ["orders.read"]}, set()),
    ],
)
def test_scopes_are_those_of_an_object_that_has_some(caller: object, scopes: set[str]) -> None:
    assert scopes_of(caller) == scopes


# What handlers are on every wire.


def test_a_handler_without_response_reads_requests_as_tornados_does() -> None:
    handler = handler_of(b"body", X_Who="eve", Cookie="a=1; b=2", Host="not a host", Bad="a\r\nX-Who: mallory")

    assert handler.request.headers["x-wHO"] == "eve"
    assert "Bad" not in handler.request.headers
    assert handler.request.body == b"body"
    assert handler.request.remote_ip == "somebody"
    assert handler.wire == "memory"
    assert [handler.get_cookie("b"), handler.get_cookie("c"), handler.get_cookie("c", "none")] == ["2", None, "none"]
    assert handler.current_user is None


@pytest.mark.parametrize("name", ["set_header", "set_cookie", "write", "finish", "set_status"])
def test_a_handler_without_response_says_so(name: str) -> None:
    with pytest.raises(AttributeError, match=f"no '{name}': only methods that are called over HTTP"):
        getattr(handler_of(), name)


def test_credentials_have_headers_of_lower_case_and_of_printable_characters() -> None:
    for credentials in (HeaderToken(TOKEN), CookieToken(TOKEN), BearerToken(TOKEN), HmacKey("shop", TOKEN)):
        headers = credentials.headers(json.dumps({"id": 1}).encode())
        assert all(name == name.lower() and value.isprintable() for name, value in headers.items())
