"""Who somebody is, and what he may do."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose credentials were good: what ``authenticate_request`` may return instead of True.

    Attributes:
        name: who he is.
        scopes: what he may do; a method that is declared with scopes takes callers who have all of them.
    """

    name: str
    scopes: frozenset[str] = frozenset()


@runtime_checkable
class _HasScopes(Protocol):
    @property
    def scopes(self) -> Collection[str]: ...


def scopes_of(caller: object) -> frozenset[str]:
    """Return the scopes of what ``authenticate_request`` returned; True, for one, has none.

    Text counts as scopes with spaces between them, as in RFC 6749, section 3.3.
    """
    return scope_set(caller.scopes) if isinstance(caller, _HasScopes) else frozenset()


def scope_set(scopes: Iterable[str]) -> frozenset[str]:
    """Return scopes as a set: of words, or of text with spaces between them."""
    return frozenset(scopes.split() if isinstance(scopes, str) else scopes)
