"""Tokens of a handful of callers, as they stand in a configuration."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.authentication.principal import Principal, scope_set

MIN_TOKEN_LENGTH = 16

_HASHED = "sha256:"
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NO_SCOPES: Mapping[str, Iterable[str]] = MappingProxyType({})


class TokenTable:
    """Knows callers by their tokens: ``api_token_is_valid = TokenTable({"shop": "sha256:..."})``.

    It keeps hashes only, and compares with all of them, each in constant time, so that the time of an answer tells
    nothing of how near a guess came. A hash without salt is enough for a token made at random, and for no password.

    Args:
        tokens: by the caller's name his token, or several, so that he can change it; each as it is, or as
            ``hash_token`` returns it.
        scopes: by the caller's name what he may do.

    Raises:
        ServiceConfigurationError: a token is too short to be secret, is not ASCII, or belongs to two callers; or
            scopes are given to somebody who is not in the table.
    """

    def __init__(
        self,
        tokens: Mapping[str, str | Sequence[str]],
        scopes: Mapping[str, Iterable[str]] = _NO_SCOPES,
    ) -> None:
        if unknown := sorted(scopes.keys() - tokens.keys()):
            raise ServiceConfigurationError(f"there are scopes for {', '.join(unknown)}, but no token")
        self._principals: dict[bytes, Principal] = {}
        for name, own in tokens.items():
            principal = Principal(name, scope_set(scopes.get(name, ())))
            for token in [own] if isinstance(own, str) else own:
                other = self._principals.setdefault(_digest_of(name, token), principal)
                if other is not principal:
                    raise ServiceConfigurationError(f"{other.name!r} and {name!r} have the same token")

    def __call__(self, token: str) -> Principal | None:
        """Return whose token it is; None where it is nobody's."""
        digest = _hash(token)
        found = None
        for known, principal in self._principals.items():
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def new_token() -> str:
    """Return a new token of 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Return what a ``TokenTable`` can know a token by, ``sha256:`` and its hash, fit for a configuration file."""
    return _HASHED + _hash(token).hex()


def _hash(token: str) -> bytes:
    # A header may hold any characters, which must end in "no", not in an exception.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _digest_of(name: str, token: str) -> bytes:
    if token.startswith(_HASHED):
        digest = token.removeprefix(_HASHED)
        if not _HEX.fullmatch(digest):
            raise ServiceConfigurationError(f"the token of {name!r} is no hash: 64 hexadecimal digits follow {_HASHED}")
        return bytes.fromhex(digest)
    if len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable():
        raise ServiceConfigurationError(
            f"the token of {name!r} cannot be used: take {MIN_TOKEN_LENGTH} or more printable ASCII characters, made "
            "at random, as by secrets.token_urlsafe(32)"
        )
    return _hash(token)
