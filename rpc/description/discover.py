"""``rpc.discover``: a service describes itself on every wire (OpenRPC 1.3, "Service Discovery Method")."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from inspect import isawaitable
from typing import TypeAlias

from gemstone_events.rpc.description.openrpc import ServiceInfo, openrpc_document
from gemstone_events.rpc.methods import Method
from gemstone_events.strict_json import JsonValue

DISCOVER = "rpc.discover"

IsTrusted: TypeAlias = "Callable[[object], object | Awaitable[object]]"
"""Takes the request's handler; true, awaited or not, for callers who may know of private methods."""

_logger = logging.getLogger("gemstone_events.rpc")


def nobody(handler: object) -> bool:
    """Trust nobody: the default of ``SelfDescription``."""
    return False


class SelfDescription:
    """The OpenRPC document of one service. It is made when it is first asked for, and kept.

    There are two of it: private methods are described only to callers who may call them, so that nobody without leave
    learns their signatures.

    Args:
        methods: what the service exposes.
        info: what it is.
        servers: returns its URLs, without credentials; the document is made anew when they have changed.
        is_trusted: tells who sees private methods. What it raises counts as no.
    """

    def __init__(
        self,
        methods: Iterable[Method],
        info: ServiceInfo,
        servers: Callable[[], Sequence[str]] = tuple,
        is_trusted: IsTrusted = nobody,
    ) -> None:
        self._methods = list(methods)
        self._info = info
        self._servers = servers
        self._is_trusted = is_trusted
        self._made: dict[bool, tuple[Sequence[str], dict[str, JsonValue]]] = {}

    @property
    def method(self) -> Method:
        """The method ``rpc.discover``, to be added to the methods that the service answers to."""
        return Method(DISCOVER, self.for_request, takes_handler=True, idempotent=True, reserved=True)

    def document(self, *, with_private: bool) -> dict[str, JsonValue]:
        """Return the document, with private methods or without."""
        servers = tuple(self._servers())
        made = self._made.get(with_private)
        if made is None or made[0] != servers:
            made = servers, openrpc_document(self._methods, self._info, servers, with_private=with_private)
            self._made[with_private] = made
        return made[1]

    async def for_request(self, handler: object) -> dict[str, JsonValue]:
        """Return the service's OpenRPC document."""
        if not any(method.private for method in self._methods):
            return self.document(with_private=False)
        return self.document(with_private=await self._trusts(handler))

    async def _trusts(self, handler: object) -> bool:
        try:
            leave = self._is_trusted(handler)
            return bool(await leave if isawaitable(leave) else leave)
        except Exception as error:  # noqa: BLE001 - whoever cannot be let in may still know what is public
            _logger.debug("a caller of rpc.discover is not trusted: %r", error)
            return False
