"""The port of discovery: where a service says that it is there, and where others look it up."""

from collections.abc import Awaitable, Sequence
from typing import TypeAlias

from gemstone_events.rpc.presence import Presence

Locations: TypeAlias = Sequence[str] | None


class BaseDiscoveryStrategy:
    """One place where services announce themselves and are looked up.

    A strategy of your own overrides ``ping`` and ``locate``; the rest may stay as it is. Each method may be ``def``,
    which runs in a thread, one call at a time, or ``async def``. What a method raises is logged, or told to whoever
    looks for a service; it stops neither the service nor the other strategies. A call that takes longer than a few
    seconds is given up.

    The constructor opens nothing.

    Attributes:
        is_local: everybody who looks here is on this machine. Where it is False, addresses of loopback and files are
            neither announced nor taken, for there they mean another machine.
    """

    is_local: bool = True

    def ping(self, name: str, location: str, **kwargs: object) -> Awaitable[object] | object:
        """Announce that a service can be called at a URL. It is called at the start and again and again.

        Args:
            name: the service's name.
            location: its URL, without credentials.
            kwargs: more about the service, to be passed over where it is of no use: ``presence`` is its ``Presence``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method ping(name, location, **kwargs)")

    def locate(self, name: str) -> Awaitable[Locations] | Locations:
        """Return the URLs of a service; None or nothing where it is not known.

        Args:
            name: the service's name, or a glob pattern: ``*`` and ``?`` stand for any characters, as in ``fnmatch``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method locate(name)")

    def withdraw(self, name: str, location: str) -> Awaitable[object] | object:
        """Take back what ``ping`` announced; called when the service stops. Does nothing unless overridden."""
        return None

    def instances(self, pattern: str) -> Awaitable[Sequence[Presence]] | Sequence[Presence]:
        """Return who is there, for people to look at. Nobody unless overridden."""
        return ()

    def close(self) -> Awaitable[object] | object:
        """Let go of what was opened; called when the service stops. Twice is harmless."""
        return None

    def __str__(self) -> str:
        return type(self).__name__
