"""Where in a request a token may stand."""

from abc import ABC, abstractmethod

from gemstone_events.rpc.authentication.token_template import TokenTemplate
from gemstone_events.rpc.request_handler import RpcHandler


class BaseValidationStrategy(ABC):
    """Finds the token in a request. The first of a service's ``validation_strategies`` that finds one counts.

    Attributes:
        challenge: what HTTP's ``WWW-Authenticate`` says to callers without token, as ``Bearer``; empty for nothing.
        place: where it looks, for people.
    """

    challenge: str = ""
    place: str = ""

    @abstractmethod
    def extract_api_token(self, request_handler: RpcHandler) -> str | None:
        """Return the token, or None where the request has none of this kind."""


class HeaderValidationStrategy(BaseValidationStrategy):
    """Takes the token from a header.

    Args:
        header_name: the header.
        template: its whole text, with ``{}`` where the token stands; by default nothing but the token.
        header: another name of ``header_name``.

    Raises:
        ServiceConfigurationError: the template does not hold ``{}`` once.
    """

    def __init__(
        self, header_name: str = "X-Api-Token", template: str | None = None, *, header: str | None = None
    ) -> None:
        self.header_name = header_name if header is None else header
        self.template = TokenTemplate(template)
        self.place = self.header_name if template is None else f"{self.header_name}: {template}"

    def extract_api_token(self, request_handler: RpcHandler) -> str | None:
        """Return the token of the header."""
        text = request_handler.request.headers.get(self.header_name)
        return None if text is None else self.template.read(text)


class BasicCookieStrategy(BaseValidationStrategy):
    """Takes the token from a cookie.

    Args:
        cookie_name: the cookie.
        template: its whole text, with ``{}`` where the token stands; by default nothing but the token.

    Raises:
        ServiceConfigurationError: the template does not hold ``{}`` once.
    """

    def __init__(self, cookie_name: str = "AuthToken", template: str | None = None) -> None:
        self.cookie_name = cookie_name
        self.template = TokenTemplate(template)
        self.place = f"the cookie {cookie_name}"

    def extract_api_token(self, request_handler: RpcHandler) -> str | None:
        """Return the token of the cookie."""
        text = request_handler.get_cookie(self.cookie_name)
        return None if text is None else self.template.read(text)


class BearerTokenStrategy(BaseValidationStrategy):
    """Takes the token from ``Authorization: Bearer ...`` (RFC 6750, section 2.1)."""

    challenge = "Bearer"
    place = "Authorization: Bearer"

    def extract_api_token(self, request_handler: RpcHandler) -> str | None:
        """Return the token of the header."""
        scheme, _, token = request_handler.request.headers.get("Authorization", "").partition(" ")
        return (token.strip() or None) if scheme.lower() == "bearer" else None
