"""Following ``$ref`` inside one document (RFC 6901, JSON Pointer), safely: descriptions come from strangers."""

from collections.abc import Mapping
from urllib.parse import unquote

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.strict_json import JsonValue

Members = Mapping[str, JsonValue]


class DescriptionError(ServiceConfigurationError, ValueError):
    """A document is no description of a service, or refers to what it does not hold."""


def members(value: object, what: str) -> Members:
    """Return the members of a JSON object.

    Raises:
        DescriptionError: ``value`` is none; ``what`` names it in the message.
    """
    if not isinstance(value, Mapping):
        raise DescriptionError(f"{what} is no object: {repr(value)[:80]}")
    return value


class References:
    """Follows the references of one document."""

    def __init__(self, document: Members) -> None:
        self._document = document

    def resolve(self, value: object, what: str = "a reference") -> Members:
        """Return the object that ``value`` is, or refers to, over any number of references.

        Raises:
            DescriptionError: it is no object, or it refers to nothing, to another document or to itself.
        """
        seen: set[str] = set()
        found = members(value, what)
        while isinstance(reference := found.get("$ref"), str):
            if reference in seen:
                raise DescriptionError(f"{what}: {reference[:80]!r} refers to itself")
            seen.add(reference)
            found = members(self._look_up(reference, what), reference)
        return found

    def _look_up(self, reference: str, what: str) -> JsonValue:
        if not reference.startswith("#"):
            raise DescriptionError(f"{what}: {reference[:80]!r} refers to another document, which is not followed")
        found: JsonValue = self._document
        for token in reference[1:].split("/")[1:]:
            name = unquote(token).replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                raise DescriptionError(f"{what}: {reference[:80]!r} refers to nothing in the document")
            found = found[name]
        return found
