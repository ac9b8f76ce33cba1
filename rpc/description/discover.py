"""``rpc.discover``: a service describes itself on every wire (OpenRPC 1.3, "Service Discovery Method")."""

import logging
from collections.abc import Callable, Iterable, Sequence

from gemstone_events.rpc.description.openrpc import ServiceInfo, openrpc_document
from gemstone_events.rpc.methods import Method
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.strict_json import JsonValue

DISCOVER = "rpc.discover"

_logger = logging.getLogger("gemstone_events.rpc")


class SelfDescription:
    """The OpenRPC document of one service. It is made when it is first asked for, and kept.

    There are two of it: private methods are described only to callers that the service knows, so that strangers learn
    nothing of their signatures.

    Args:
        methods: what the service exposes.
        info: what it is.
        servers: returns its URLs, without credentials; the document is made anew when they have changed.
    """

    def __init__(
        self,
        methods: Iterable[Method],
        info: ServiceInfo,
        servers: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._methods = list(methods)
        self._info = info
        self._servers = servers
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
        return self.document(with_private=await self.is_open_to(handler))

    async def is_open_to(self, handler: object) -> bool:
        """Tell whether private methods may be described to who sent a request; nobody is asked where there are none."""
        return any(method.private for method in self._methods) and await is_known(handler)


async def is_known(handler: object) -> bool:
    """Tell whether the service knows who sent a request; an error in finding out means no."""
    try:
        return isinstance(handler, RpcHandler) and bool(await handler.identify())
    except Exception as error:  # noqa: BLE001 - of the author's authenticate_request; what is public, strangers may know
        _logger.debug("nobody knows who asks for a description: %r", error)
        return False
