"""From a name and a body to an event with its story, ready for the log."""

from collections.abc import Awaitable, Generator, Mapping

from marshmallow import Schema

from gemstone_events.codec import encode
from gemstone_events.event import Event, new_id
from gemstone_events.message import Message
from gemstone_events.names import matches
from gemstone_events.schema import load
from gemstone_events.strict_json import JsonValue
from gemstone_events.unit_of_work import UnitOfWork


class Emission:
    """What ``emit_event`` returns: the event, and something to await.

    Inside a unit of work there is nothing to wait for. Outside, ``await`` returns the event as soon as it is stored.
    """

    __slots__ = ("_stored", "event")

    def __init__(self, event: Event, stored: Awaitable[None] | None = None) -> None:
        self.event = event
        self._stored = stored

    def __await__(self) -> Generator[object, None, Event]:
        if self._stored is not None:
            yield from self._stored.__await__()
        return self.event


class Emitter:
    """Makes the events of one service.

    Args:
        source: the service's name.
        schemas: marshmallow schemas by event name or pattern; every body emitted under it must pass.
        max_body: the longest encoded body in bytes.
    """

    def __init__(self, source: str, schemas: Mapping[str, Schema], max_body: int) -> None:
        self._source = source
        self._schemas = schemas
        self._max_body = max_body

    def prepare(
        self,
        name: str,
        body: JsonValue,
        *,
        broadcast: bool,
        unit: UnitOfWork | None,
        event_id: str | None = None,
        partition_key: str | None = None,
    ) -> tuple[Event, Message]:
        """Return the event and its message. The body is encoded now: later changes to it do not matter.

        Raises:
            InvalidNameError: the name is not an event name.
            InvalidEventError: the body is not strict JSON, or too large.
            SchemaError: the body fails the schema declared for the name.
        """
        self._validate(name, body)
        cause = unit.cause if unit else None
        event = Event(
            id=event_id or new_id(),
            type=name,
            source=self._source,
            data=body,
            correlationid=unit.correlation_id if unit else None,
            causationid=cause.id if cause else None,
            traceparent=unit.traceparent if unit else None,
            partitionkey=partition_key,
        )
        return event, encode(event, broadcast=broadcast, max_body=self._max_body)

    def _validate(self, name: str, body: JsonValue) -> None:
        for pattern, schema in self._schemas.items():
            if matches(pattern, name):
                load(schema, body, f"the body of {name!r}")
