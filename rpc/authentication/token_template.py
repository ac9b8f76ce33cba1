"""Text around a token, as ``Token {}``: the same for who writes it and for who reads it."""

from gemstone_events.errors import ServiceConfigurationError


class TokenTemplate:
    """The text of a header or cookie that carries a token.

    Args:
        template: the whole text, with ``{}`` where the token stands, once; None for the token alone.

    Raises:
        ServiceConfigurationError: it does not hold ``{}`` once.
    """

    __slots__ = ("_after", "_before")

    def __init__(self, template: str | None = None) -> None:
        before, found, after = ("{}" if template is None else template).partition("{}")
        if not found or "{}" in after:
            raise ServiceConfigurationError(f"the template {template!r} needs {{}} once, where the token stands")
        self._before, self._after = before, after

    def fill(self, token: str) -> str:
        """Return the text with a token in it."""
        return f"{self._before}{token}{self._after}"

    def read(self, text: str) -> str | None:
        """Return the token that a text carries; None where the text is not of this form, or the token is empty."""
        if not (text.startswith(self._before) and text.endswith(self._after)):
            return None
        return text[len(self._before) : len(text) - len(self._after)] or None
