"""``get_service_specs``: what a service tells of itself, and to whom."""

from gemstone_events import HeaderToken, MicroService, RemoteService, exposed_method


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
