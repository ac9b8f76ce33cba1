"""What a request that is signed with a shared secret looks like: one header, alike on every wire.

    Authorization: Gemstone-HMAC key=shop, time=1785542400.123, nonce=..., digest=..., signature=...

``digest`` is the SHA-256 of the body and ``signature`` the HMAC-SHA256 (RFC 2104) of the lines of ``signed_text``, both
in hexadecimal. A header that others may change on the way (deadline, idempotency key, trace) is not signed.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass

from gemstone_events.errors import ServiceConfigurationError

SCHEME = "Gemstone-HMAC"
AUTHORIZATION = "authorization"
MIN_SECRET_BYTES = 16

_KEY_ID = re.compile(r"[A-Za-z0-9._@-]{1,100}", re.ASCII)
_HEADER = re.compile(
    rf"{SCHEME} key=({_KEY_ID.pattern}), time=([0-9]{{1,12}}(?:\.[0-9]{{1,6}})?), nonce=([A-Za-z0-9_-]{{16,64}}), "
    r"digest=([0-9a-f]{64}), signature=([0-9a-f]{64})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Signature:
    """The parts of a signed request's header, all of them checked for their form only.

    Attributes:
        key_id: the name of the secret.
        time: when it was signed, in seconds since 1970, as text.
        nonce: never the same twice.
        digest: SHA-256 of the body, in hexadecimal.
        signature: what only the holders of the secret can compute, in hexadecimal.
    """

    key_id: str
    time: str
    nonce: str
    digest: str
    signature: str

    @property
    def header(self) -> str:
        """The value of the ``Authorization`` header."""
        return (
            f"{SCHEME} key={self.key_id}, time={self.time}, nonce={self.nonce}, "
            f"digest={self.digest}, signature={self.signature}"
        )

    @classmethod
    def read(cls, header: str) -> "Signature | None":
        """Return what an ``Authorization`` header says; None where it is another scheme, or malformed."""
        found = _HEADER.fullmatch(header)
        return None if found is None else cls(*found.groups())


def sign(secret: bytes, *, audience: str, key_id: str, time: str, nonce: str, digest: str) -> Signature:
    """Return the signature of a request."""
    text = signed_text(audience, key_id, time, nonce, digest)
    return Signature(key_id, time, nonce, digest, hmac.new(secret, text, hashlib.sha256).hexdigest())


def signed_text(audience: str, key_id: str, time: str, nonce: str, digest: str) -> bytes:
    """Return what is signed: these parts, one on each line, so that none can be taken for another."""
    return f"{SCHEME}\n{audience}\n{key_id}\n{time}\n{nonce}\n{digest}".encode()


def check_key_id(key_id: str) -> str:
    """Return ``key_id`` if it may stand in the header.

    Raises:
        ServiceConfigurationError: it may not.
    """
    if not _KEY_ID.fullmatch(key_id):
        raise ServiceConfigurationError(f"key id {key_id!r} cannot be used: take 1 to 100 letters, digits and . _ @ -")
    return key_id


def check_audience(audience: str) -> str:
    """Return ``audience``, the service that a signature is good for, if it is one line of text.

    Raises:
        ServiceConfigurationError: it is not.
    """
    if not audience.isprintable():
        raise ServiceConfigurationError(f"audience {audience!r} cannot be used: take the service's name")
    return audience


def secret_bytes(key_id: str, secret: str | bytes) -> bytes:
    """Return a secret as bytes.

    Raises:
        ServiceConfigurationError: it is so short that it could be guessed.
    """
    raw = secret.encode() if isinstance(secret, str) else secret
    if len(raw) < MIN_SECRET_BYTES:
        raise ServiceConfigurationError(
            f"the secret of key {key_id!r} has {len(raw)} bytes; take {MIN_SECRET_BYTES} or more, made at random, "
            "as by secrets.token_urlsafe(32)"
        )
    return raw
