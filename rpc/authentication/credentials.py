"""What a client sends to say who it is, the same on every wire.

A client asks its ``Credentials`` for headers anew for each attempt to send a body: what is signed is good once only.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.authentication.signature import (
    AUTHORIZATION,
    check_audience,
    check_key_id,
    secret_bytes,
    sign,
)
from gemstone_events.rpc.authentication.token_template import TokenTemplate

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_HEADER_TEXT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
_COOKIE_TEXT = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+", re.ASCII)


class Credentials(Protocol):
    """Says who calls."""

    def headers(self, body: bytes) -> Mapping[str, str]:
        """Return the headers to send with ``body``, their names in lower case. Fast, and without I/O."""


@dataclass(frozen=True, slots=True)
class HeaderToken:
    """A token in a header of its own: for servers with ``HeaderValidationStrategy``.

    Args:
        token: the secret.
        header_name: the header that carries it.
        template: the header's whole text, with ``{}`` where the token stands; by default nothing but the token.

    Raises:
        ServiceConfigurationError: a header cannot carry it.
    """

    token: str = field(repr=False)
    header_name: str = "X-Api-Token"
    template: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.header_name, "header")
        if not all(map(_HEADER_TEXT.fullmatch, (self.token, self._text))):
            raise ServiceConfigurationError(
                f"the token for header {self.header_name} cannot be sent: take printable ASCII characters, without "
                "spaces at its ends"
            )

    def headers(self, body: bytes) -> Mapping[str, str]:
        """Return the header."""
        return {self.header_name.lower(): self._text}

    @property
    def _text(self) -> str:
        return TokenTemplate(self.template).fill(self.token)


@dataclass(frozen=True, slots=True)
class CookieToken:
    """A token in a cookie: for servers with ``BasicCookieStrategy``.

    Args:
        token: the secret.
        cookie_name: the cookie that carries it.
        template: the cookie's whole text, with ``{}`` where the token stands; by default nothing but the token.

    Raises:
        ServiceConfigurationError: a cookie cannot carry it.
    """

    token: str = field(repr=False)
    cookie_name: str = "AuthToken"
    template: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.cookie_name, "cookie")
        if not all(map(_COOKIE_TEXT.fullmatch, (self.token, self._text))):
            raise ServiceConfigurationError(
                f"the token for cookie {self.cookie_name} cannot be sent: a cookie takes letters, digits and signs, "
                'but no space, comma, semicolon, backslash or "'
            )

    def headers(self, body: bytes) -> Mapping[str, str]:
        """Return the cookie's header."""
        return {"cookie": f"{self.cookie_name}={self._text}"}

    @property
    def _text(self) -> str:
        return TokenTemplate(self.template).fill(self.token)


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token as RFC 6750 sends it, ``Authorization: Bearer ...``: for servers with ``BearerTokenStrategy``.

    Args:
        token: the secret.

    Raises:
        ServiceConfigurationError: a header cannot carry it.
    """

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        self._in_header()

    def headers(self, body: bytes) -> Mapping[str, str]:
        """Return the header."""
        return self._in_header().headers(body)

    def _in_header(self) -> HeaderToken:
        return HeaderToken(self.token, "Authorization", "Bearer {}")


@dataclass(frozen=True, slots=True)
class HmacKey:
    """Signs each request with a secret that is never sent: for servers with ``HmacKeys``.

    The signature covers the body, a time and a random number, so that who reads a request can neither change nor repeat
    it. The clocks of both machines have to agree, by default to 300 seconds.

    Args:
        key_id: the name under which the server knows the secret.
        secret: at least 16 bytes, made at random; text counts as UTF-8.
        audience: the service that the signature is good for, as the server's ``HmacKeys`` says it.
        clock: seconds since 1970.

    Raises:
        ServiceConfigurationError: the id or the secret cannot be used.
    """

    key_id: str
    secret: str | bytes = field(repr=False)
    audience: str = ""
    clock: Callable[[], float] = field(default=time.time, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_key_id(self.key_id)
        check_audience(self.audience)
        secret_bytes(self.key_id, self.secret)

    def headers(self, body: bytes) -> Mapping[str, str]:
        """Return the signature of ``body``, good for one sending."""
        signature = sign(
            secret_bytes(self.key_id, self.secret),
            audience=self.audience,
            key_id=self.key_id,
            time=f"{self.clock():.3f}",
            nonce=secrets.token_urlsafe(16),
            digest=hashlib.sha256(body).hexdigest(),
        )
        return {AUTHORIZATION: signature.header}


def _check_name(name: str, kind: str) -> None:
    if not _NAME.fullmatch(name):
        raise ServiceConfigurationError(f"{name!r} is no name of a {kind}")
