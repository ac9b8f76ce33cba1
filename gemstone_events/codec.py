"""Event to message and back, strictly (CloudEvents 1.0, sections 3.1 to 3.3)."""

from datetime import UTC, datetime

from gemstone_events import strict_json
from gemstone_events.errors import DecodeError, InvalidEventError, InvalidNameError
from gemstone_events.event import Event
from gemstone_events.message import CONTENT_TYPE, Message
from gemstone_events.names import check_name

SPEC_VERSION = "1.0"
MAX_BODY_BYTES = 1024 * 1024
MAX_ATTRIBUTE_BYTES = 8192

_REQUIRED = ("specversion", "id", "type", "source")
_OPTIONAL = ("subject", "dataschema", "correlationid", "causationid", "traceparent", "partitionkey", "sequence")
_KNOWN = frozenset((*_REQUIRED, *_OPTIONAL, "time", "datacontenttype"))


def encode(event: Event, *, broadcast: bool = True, max_body: int = MAX_BODY_BYTES) -> Message:
    """Turn an event into a message that ``decode`` takes.

    Raises:
        InvalidEventError: the body is not strict JSON or longer than ``max_body`` bytes, or an attribute cannot travel.
        InvalidNameError: the event's type is not a valid name.
    """
    check_name("event name", event.type)
    try:
        body = strict_json.dumps(event.data, strict_json.DEFAULT_MAX_DEPTH)
    except ValueError as error:
        raise InvalidEventError(f"the body of {event.type!r} is not strict JSON: {error}") from None
    if len(body) > max_body:
        raise InvalidEventError(
            f"the body of {event.type!r} takes {len(body)} bytes and at most {max_body} are allowed: "
            "put large data elsewhere and emit a reference to it, or raise max_body"
        )
    attributes = {
        "specversion": SPEC_VERSION,
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "time": event.time.isoformat(),
        "datacontenttype": CONTENT_TYPE,
    }
    for name in _OPTIONAL:
        value = getattr(event, name)
        if value is not None:
            attributes[name] = value
    if event.extensions:
        if clashing := sorted(event.extensions.keys() & _KNOWN):
            raise InvalidEventError(f"extensions may not replace the attributes {', '.join(clashing)}")
        attributes.update(event.extensions)
    try:
        longest = max(map(len, attributes.values()))
        "".join(attributes.values()).encode()
    except TypeError:
        name = next(name for name, value in attributes.items() if not isinstance(value, str))
        raise InvalidEventError(f"the attribute {name} is a text, not {attributes[name]!r:.50}: use str()") from None
    except UnicodeEncodeError:
        raise InvalidEventError("an attribute holds a lone surrogate, which no transport can carry") from None
    if longest > MAX_ATTRIBUTE_BYTES:
        name = max(attributes, key=lambda name: len(attributes[name]))
        raise InvalidEventError(f"the attribute {name} is longer than {MAX_ATTRIBUTE_BYTES} characters")
    return Message(attributes, body, broadcast)


def decode(message: Message, *, max_body: int = MAX_BODY_BYTES) -> Event:
    """Turn a message into an event.

    Raises:
        DecodeError: it is not a CloudEvent with a strict JSON body; the message says what is wrong and quotes no data.
    """
    attributes = message.attributes
    if missing := [name for name in _REQUIRED if not attributes.get(name)]:
        raise DecodeError(f"the CloudEvents attributes {', '.join(missing)} are missing")
    if attributes["specversion"] != SPEC_VERSION:
        raise DecodeError(
            f"specversion {attributes['specversion'][:20]!r} is unknown; this program reads {SPEC_VERSION}"
        )
    content_type = attributes.get("datacontenttype", CONTENT_TYPE)
    if content_type != CONTENT_TYPE and content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise DecodeError(f"content type {content_type[:80]!r} is not {CONTENT_TYPE}")
    if len(message.body) > max_body:
        raise DecodeError(f"the body takes {len(message.body)} bytes and at most {max_body} are allowed")
    if max(map(len, attributes.values())) > MAX_ATTRIBUTE_BYTES:
        raise DecodeError(f"an attribute is longer than {MAX_ATTRIBUTE_BYTES} characters")
    try:
        check_name("event name", attributes["type"])
        data = strict_json.loads(message.body)
        time = _time(attributes.get("time"))
    except InvalidNameError as error:
        raise DecodeError(str(error)) from None
    except ValueError as error:
        raise DecodeError(f"the event cannot be read: {error}") from None
    return Event(
        id=attributes["id"],
        type=attributes["type"],
        source=attributes["source"],
        time=time,
        data=data,
        subject=attributes.get("subject"),
        dataschema=attributes.get("dataschema"),
        correlationid=attributes.get("correlationid"),
        causationid=attributes.get("causationid"),
        traceparent=attributes.get("traceparent"),
        partitionkey=attributes.get("partitionkey"),
        sequence=attributes.get("sequence"),
        extensions={name: attributes[name] for name in attributes.keys() - _KNOWN},
    )


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("time has no offset from UTC")
    return time
