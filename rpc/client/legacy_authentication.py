"""How old gemstone's clients were told to authenticate."""

import warnings
from collections.abc import Mapping

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.authentication.credentials import CookieToken, Credentials, HeaderToken


def choose_credentials(
    authentication: Credentials | None,
    authentication_method: Credentials | None,
    options: Mapping[str, str] | None,
) -> Credentials | None:
    """Return the credentials that a client was given, in whatever way.

    Args:
        authentication: the way of today.
        authentication_method: its name from gemstone 0.10 on.
        options: ``auth_type`` ("header" or "cookie"), ``auth_params`` (the header's or cookie's name) and
            ``auth_token``, as up to gemstone 0.9.

    Raises:
        TypeError: they are no credentials.
        ServiceConfigurationError: they are given twice, or cannot be used.
    """
    for each in (authentication, authentication_method):
        if each is not None and not hasattr(each, "headers"):  # never shown: it may be the secret itself
            raise TypeError(
                f"authentication is an object with headers(body), not a {type(each).__name__}: write HeaderToken(token) "
                "or BearerToken(token)"
            )
    given = [each for each in (authentication, authentication_method, options or None) if each is not None]
    if len(given) > 1:
        raise ServiceConfigurationError("authentication= is given twice: leave out authentication_method= and options=")
    if authentication_method is not None:
        _warn("authentication_method=", "authentication=")
        return authentication_method
    if options:
        _warn("options=", "authentication=HeaderToken(...) or CookieToken(...)")
        return _from_options(options)
    return authentication


def _from_options(options: Mapping[str, str]) -> Credentials | None:
    kind, token, name = options.get("auth_type"), options.get("auth_token", ""), options.get("auth_params")
    if kind is None:
        return None
    if kind == "header":
        return HeaderToken(token, name or "X-Api-Token")
    if kind == "cookie":
        return CookieToken(token, name or "AuthCookie")
    raise ServiceConfigurationError(
        f"auth_type is 'header' or 'cookie', not {kind!r}: a token has no place in the body"
    )


def _warn(old: str, new: str) -> None:
    warnings.warn(f"use {new} instead of {old}", DeprecationWarning, stacklevel=4)
