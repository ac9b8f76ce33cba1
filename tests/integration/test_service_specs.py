"""``get_service_specs``: what a service tells of itself, and to whom."""

import aiohttp
import pytest

from gemstone_events import (
    BearerTokenStrategy,
    HeaderToken,
    MicroService,
    RemoteService,
    ServiceConfigurationError,
    exposed_method,
)


class Vault(MicroService):
    """Has something to hide."""

    name = "vault"
    port = None
    event_transports = ("memory://vault",)
    event_store = "memory:"

    @exposed_method()
    async def opening_hours(self) -> str:
        """Say when it is open."""
        return "never"

    @exposed_method(private=True)
    async def combination(self) -> str:
        """Say what opens it."""
        return "1234"

    def api_token_is_valid(self, api_token: str) -> bool:
        """Let one caller in."""
        return api_token == "a-known-token"


async def test_private_methods_are_shown_only_to_callers_that_the_service_knows() -> None:
    async with Vault():
        shown = {}
        for token in ("a-known-token", "a-guess"):
            async with RemoteService("memory://vault#vault", authentication=HeaderToken(token)) as remote:
                shown[token] = (await remote.methods.get_service_specs())["methods"]
        assert shown["a-known-token"].keys() - shown["a-guess"].keys() == {"combination"}
        assert shown["a-guess"]["opening_hours"] == "Say when it is open."


async def test_the_service_itself_sees_everything() -> None:
    async with Vault() as vault:
        assert "combination" in vault.get_service_specs()["methods"]  # type: ignore[operator]
        assert vault.openrpc_document() is vault.openrpc_document(), "made anew while the service runs"


async def test_pages_of_allowed_origins_can_read_the_descriptions() -> None:
    page = {"Origin": "https://app.example"}
    preflight = {**page, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    async with Vault(port=0, allowed_origins=["https://app.example"]) as vault, aiohttp.ClientSession() as browser:
        for path in ("openrpc.json", "asyncapi.json"):
            url = f"http://127.0.0.1:{vault.bound_port}/{path}"
            async with browser.get(url, headers=page) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
                assert answer.headers["Vary"] == "Origin"
                assert "info" in await answer.json()
            async with browser.options(url, headers=preflight) as answer:
                assert answer.status == 204
                assert answer.headers["Access-Control-Allow-Headers"] == "authorization"
            async with browser.get(url, headers={"Origin": "https://evil.example"}) as answer:
                assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("strategy", [BearerTokenStrategy, "X-Api-Token"])
def test_a_strategy_that_finds_no_tokens_is_refused_before_the_start(strategy: object) -> None:
    with pytest.raises(ServiceConfigurationError, match=r"validation_strategies holds .* which finds no tokens"):
        Vault(validation_strategies=[strategy]).check_declarations()
