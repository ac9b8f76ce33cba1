"""Private methods: who may call what, the same over HTTP and through a broker."""

import asyncio

from gemstone_events import (
    AccessDeniedError,
    BearerToken,
    BearerTokenStrategy,
    MicroService,
    Principal,
    RemoteService,
    RpcHandler,
    TokenTable,
    exposed_method,
)

CLERK, BOSS = "a token of at least 128 random bits", "another one of them, from a secret store"


class Vault(MicroService):
    name = "vault"
    port = 0  # any free one
    event_transports = ("memory://example",)
    event_store = "memory:"
    validation_strategies = (BearerTokenStrategy(),)

    def __init__(self) -> None:
        super().__init__()
        self.tokens = TokenTable({"clerk": CLERK, "boss": BOSS}, {"boss": ["vault:open"]})

    def api_token_is_valid(self, api_token: str) -> Principal | None:
        return self.tokens(api_token)

    @exposed_method(private=True, requires_handler_reference=True)
    async def whoami(self, handler: RpcHandler) -> str:
        return str(handler.current_user.name)

    @exposed_method(scopes=["vault:open"])
    async def unlock(self) -> str:
        return "open"


async def main() -> None:
    async with Vault() as vault:
        for url in vault.urls:
            wire = url.partition(":")[0]
            for who, token in (("clerk", CLERK), ("boss", BOSS), ("stranger", "guessed")):
                async with RemoteService(url, authentication=BearerToken(token)) as remote:
                    try:
                        print(f"{wire}: the {await remote.methods.whoami()} is known")
                        print(f"{wire}: the vault is {await remote.methods.unlock()}")
                    except AccessDeniedError as error:
                        print(f"{wire}: the {who} hears: {error}")


asyncio.run(main())
