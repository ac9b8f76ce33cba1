"""What happened: the value that services emit and handle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import uuid_utils

from gemstone_events.strict_json import JsonValue


def new_id() -> str:
    """Return a new UUIDv7 (RFC 9562, section 5.7): unique, and sorted by the time of its making."""
    return str(uuid_utils.uuid7())


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event, with the attribute names of CloudEvents 1.0, section 3.

    Attributes:
        id: unique together with ``source``; a UUIDv7 unless the emitter chose one.
        type: the event's name, for example ``order.placed``.
        source: the name of the service that emitted it.
        time: when it was emitted, aware, in UTC.
        data: the body, any JSON value.
        subject: the stream that it was appended to, if any.
        dataschema: the version of the body's schema, if one is declared.
        correlationid: the id that all events and calls of one story share.
        causationid: the id of the event that was being handled when this one was emitted.
        traceparent: the W3C trace context.
        partitionkey: events with equal keys belong together.
        sequence: the place of the event among those of its source, as text.
        extensions: every other attribute, kept as it came.
    """

    id: str
    type: str
    source: str
    data: JsonValue
    time: datetime = field(default_factory=utc_now)
    subject: str | None = None
    dataschema: str | None = None
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    partitionkey: str | None = None
    sequence: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)
