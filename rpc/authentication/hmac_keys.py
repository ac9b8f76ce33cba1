"""Checks requests that are signed with a shared secret, on every wire."""

import hmac
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from types import MappingProxyType

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.authentication.principal import Principal, scope_set
from gemstone_events.rpc.authentication.signature import (
    Signature,
    check_audience,
    check_key_id,
    secret_bytes,
    sign,
)
from gemstone_events.rpc.request_handler import RpcHandler

_NO_SCOPES: Mapping[str, Iterable[str]] = MappingProxyType({})
_UNKNOWN_KEY = bytes(32)


class HmacKeys:
    """Knows callers by their signatures (``HmacKey``): ``authenticate_request = HmacKeys({"shop": "..."})``.

    A request passes if its signature is right, it was signed less than ``window`` seconds ago by this machine's clock
    (or will be), it has not passed before, and its body is the one that was signed. What has passed is remembered by
    this object only: where several instances share the work, give each its own ``audience``, or let methods be
    idempotent.

    Args:
        keys: by the key's id its secret, or several, so that it can be changed; at least 16 bytes each, made at random.
        scopes: by the key's id what its holder may do.
        audience: the service that signatures have to be made for, so that one made for another does not pass here,
            even where both know the key.
        window: seconds that the clocks may differ and a request may be on its way.
        remembered: how many requests of each key are remembered. A key that is used more often within the window has
            a shorter one, as far back as the memory reaches: it is never possible to repeat a request.
        clock: seconds since 1970.

    Raises:
        ServiceConfigurationError: an id or a secret cannot be used, or scopes are given to an unknown key.
    """

    def __init__(
        self,
        keys: Mapping[str, str | bytes | Sequence[str | bytes]],
        scopes: Mapping[str, Iterable[str]] = _NO_SCOPES,
        *,
        audience: str = "",
        window: float = 300.0,
        remembered: int = 100_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if unknown := sorted(scopes.keys() - keys.keys()):
            raise ServiceConfigurationError(f"there are scopes for {', '.join(unknown)}, but no such key")
        if not window > 0 or remembered < 1:
            raise ServiceConfigurationError("window and remembered have to be more than 0")
        self._secrets = {check_key_id(key_id): _secrets(key_id, own) for key_id, own in keys.items()}
        self._principals = {key_id: Principal(key_id, scope_set(scopes.get(key_id, ()))) for key_id in keys}
        self._seen = {key_id: _Nonces(remembered) for key_id in keys}
        self._audience = check_audience(audience)
        self._window = window
        self._clock = clock

    def __call__(self, handler: RpcHandler) -> Principal | None:
        """Return who signed the request; None where nobody did whose key is known. Any thread may ask."""
        signature = Signature.read(handler.request.headers.get("Authorization", ""))
        if signature is None or not self._is_right(signature):
            return None
        now, signed_at = self._clock(), float(signature.time)
        if abs(now - signed_at) > self._window or not handler.sent_body(bytes.fromhex(signature.digest)):
            return None
        # A body that the broker hands out again was sent once: the caller does not repeat it.
        if not self._seen[signature.key_id].add(signature.nonce, signed_at, now - self._window, handler.is_repeated):
            return None
        return self._principals[signature.key_id]

    def _is_right(self, signature: Signature) -> bool:
        key_id, is_right = signature.key_id, False
        for secret in self._secrets.get(key_id, [_UNKNOWN_KEY]):  # the time shall not tell which keys there are
            expected = sign(
                secret,
                audience=self._audience,
                key_id=key_id,
                time=signature.time,
                nonce=signature.nonce,
                digest=signature.digest,
            )
            is_right |= hmac.compare_digest(expected.signature.encode(), signature.signature.encode())
        return is_right and key_id in self._secrets


class _Nonces:
    """The nonces that passed, and a time before which nothing passes any more, for what was then is forgotten."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self._by_time: list[tuple[float, str]] = []
        self._forgotten_until = 0.0
        self._lock = threading.Lock()

    def add(self, nonce: str, signed_at: float, expired: float, is_repeated: bool) -> bool:
        """Remember a nonce; False where it has been seen, or may have been.

        Args:
            nonce: what may come once.
            signed_at: when it was made.
            expired: what was made before that need not be remembered.
            is_repeated: it may come again this time.
        """
        with self._lock:
            is_new = nonce not in self._known
            if not is_repeated and not (is_new and signed_at > self._forgotten_until):
                return False
            if is_new:
                self._known.add(nonce)
                heappush(self._by_time, (signed_at, nonce))
                self._forget(expired)
            return True

    def _forget(self, expired: float) -> None:
        while self._by_time and (self._by_time[0][0] < expired or len(self._by_time) > self._limit):
            signed_at, nonce = heappop(self._by_time)
            self._known.discard(nonce)
            self._forgotten_until = max(self._forgotten_until, signed_at)


def _secrets(key_id: str, own: str | bytes | Sequence[str | bytes]) -> list[bytes]:
    return [secret_bytes(key_id, secret) for secret in ([own] if isinstance(own, str | bytes) else own)]
