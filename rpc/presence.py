"""Who is there: what a running instance of a service tells of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gemstone_events import strict_json
from gemstone_events.errors import DecodeError
from gemstone_events.strict_json import JsonValue

MAX_PRESENCE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """One running instance of a service.

    Attributes:
        service: its name.
        instance: the instance's own id.
        urls: where it is called, the best first, without credentials.
        since: when it started, seconds since 1970 by its own clock.
        health: ``ok``, ``warning`` where a health check warns, ``degraded`` where it is not ready.
        trouble: what is wrong, for people.
        components: names of the components that it hosts (service management).
        announced: when it last said so, seconds since 1970 by the clock of the registry that knows it from then; 0 where it
            answers for itself now. Two that differ in nothing else are equal.
    """

    service: str
    instance: str
    urls: tuple[str, ...] = ()
    since: float = 0.0
    health: str = "ok"
    trouble: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    announced: float = field(default=0.0, compare=False)

    def matches(self, pattern: str) -> bool:
        """Tell whether the service's name is ``pattern``, or matches it as a glob pattern."""
        return fnmatchcase(self.service, pattern)

    def encode(self) -> bytes:
        """Return it as a JSON object."""
        return strict_json.dumps(
            {
                "service": self.service,
                "instance": self.instance,
                "urls": list(self.urls),
                "since": self.since,
                "health": self.health,
                "trouble": list(self.trouble),
                "components": list(self.components),
                "announced": self.announced,
            }
        )

    @classmethod
    def decode(cls, raw: bytes) -> "Presence":
        """Read what ``encode`` wrote; members that it does not know are passed over.

        Raises:
            DecodeError: it is nothing of the kind.
        """
        if len(raw) > MAX_PRESENCE_BYTES:
            raise DecodeError(f"a presence of {len(raw)} bytes is longer than {MAX_PRESENCE_BYTES}")
        try:
            members = strict_json.loads(raw)
        except ValueError as error:
            raise DecodeError(f"a presence is not JSON: {error}") from error
        if not isinstance(members, dict):
            raise DecodeError("a presence is a JSON object")
        return cls(
            service=_text(members, "service"),
            instance=_text(members, "instance"),
            urls=_texts(members, "urls"),
            since=_number(members, "since"),
            health=_text(members, "health"),
            trouble=_texts(members, "trouble"),
            components=_texts(members, "components"),
            announced=_number(members, "announced"),
        )


def is_pattern(name: str) -> bool:
    """Tell whether a service's name is a glob pattern, which may match several."""
    return any(sign in name for sign in "*?[")


def _text(members: Mapping[str, JsonValue], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise DecodeError(f"{name!r} of a presence is a text")
    return value


def _number(members: Mapping[str, JsonValue], name: str) -> float:
    value = members.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeError(f"{name!r} of a presence is a number")
    return float(value)


def _texts(members: Mapping[str, JsonValue], name: str) -> tuple[str, ...]:
    values = members.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise DecodeError(f"{name!r} of a presence is a list of texts")
    return tuple(str(value) for value in values)
