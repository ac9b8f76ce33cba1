"""What travels: an event as a transport and a store carry it."""

from collections.abc import Mapping
from dataclasses import dataclass

CONTENT_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class Message:
    """An encoded event: CloudEvents binary mode, with the attribute names bare.

    Transports add and take off their protocol's prefix for attributes and never look into ``body``. A message that
    comes from outside may lack any attribute; ``codec.decode`` judges that.

    Attributes:
        attributes: CloudEvents attributes by name, ``datacontenttype`` among them; all values are text.
        body: the event's data as UTF-8 JSON.
        broadcast: True for one copy to every subscribed group, False for the work queue of the event's name.
    """

    attributes: Mapping[str, str]
    body: bytes
    broadcast: bool = True

    @property
    def id(self) -> str:
        """The event's id, or an empty string where it has none."""
        return self.attributes.get("id", "")

    @property
    def type(self) -> str:
        """The event's name, or an empty string where it has none."""
        return self.attributes.get("type", "")
