"""The AsyncAPI document of the events that a service emits and handles (https://www.asyncapi.com, version 3.0)."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import docstring_parser
from marshmallow import Schema

from gemstone_events.handlers import EventHandler, EveryInstance
from gemstone_events.message import CONTENT_TYPE
from gemstone_events.names import is_exact, matches
from gemstone_events.retry import RetryPolicy
from gemstone_events.rpc.description.json_schemas import JsonSchema, JsonSchemas
from gemstone_events.rpc.description.openrpc import ServiceInfo
from gemstone_events.rpc.signatures.type_hints import UnresolvedHint, namespace_of, resolve
from gemstone_events.strict_json import JsonValue

ASYNCAPI_VERSION = "3.0.0"

_ENVELOPE = "cloudEvent"
_ATTRIBUTES: Mapping[str, str] = {
    "specversion": "the version of CloudEvents, 1.0",
    "id": "unique together with source",
    "type": "the event's name",
    "source": "the name of the service that emitted it",
    "time": "when it was emitted",
    "datacontenttype": "what the payload is",
    "subject": "the stream that it was appended to",
    "dataschema": "the version of the payload's schema",
    "correlationid": "shared by all events and calls of one story",
    "causationid": "the id of the event that was being handled when this one was emitted",
    "traceparent": "the trace (W3C Trace Context)",
    "partitionkey": "events with equal keys belong together",
    "sequence": "the place of the event among those of its source",
}
_REQUIRED = ("specversion", "id", "type", "source")


def asyncapi_document(
    info: ServiceInfo,
    handlers: Iterable[EventHandler],
    schemas: Mapping[str, Schema],
    *,
    emitted: Iterable[str] = (),
    servers: Sequence[str] = (),
    namespace: str = "gemstone",
) -> dict[str, JsonValue]:
    """Return the AsyncAPI document of a service.

    A service never lists all that it may emit; what is described are the names that have a schema, and those that it
    was seen to emit. A payload without schema is described by the type hint of the handler's first parameter.

    Args:
        info: what the service is.
        handlers: its event handlers.
        schemas: the schemas of what it emits, by event name or pattern.
        emitted: names of further events that it emits.
        servers: the addresses of its transports, without credentials.
        namespace: what prefixes every name on the broker.
    """
    has_amqp = any(urlsplit(url).scheme in ("amqp", "amqps") for url in servers)
    writer = _Writer(info.name, namespace if has_amqp else None)
    for name in sorted({*schemas, *emitted}):
        covering = [schema for pattern, schema in schemas.items() if _covers(pattern, name)]
        writer.add_sent(name, covering, is_declared=name in schemas)
    for handler in sorted(handlers, key=lambda handler: (handler.options.pattern, handler.name)):
        writer.add_received(handler)
    components: dict[str, JsonValue] = {"messageTraits": {_ENVELOPE: _envelope()}}
    if shared := writer.schemas.components:
        components["schemas"] = shared
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": info.to_dict(),
        "defaultContentType": CONTENT_TYPE,
        "servers": dict(_servers(servers)),
        "channels": writer.channels,
        "operations": writer.operations,
        "components": components,
    }


@dataclass(slots=True)
class _Writer:
    """Collects channels and operations.

    Attributes:
        service: the group of handlers that name none.
        namespace: what names on an AMQP broker begin with; None where there is none.
    """

    service: str
    namespace: str | None
    schemas: JsonSchemas = field(default_factory=JsonSchemas)
    channels: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    operations: dict[str, JsonValue] = field(default_factory=dict)
    _messages: dict[str, dict[str, JsonValue]] = field(default_factory=dict)

    def add_sent(self, address: str, schemas: Sequence[Schema], *, is_declared: bool) -> None:
        """Describe an event that the service emits, or was only seen to emit; all of the schemas have to pass."""
        payloads: list[JsonSchema] = []
        for schema in schemas:
            if (payload := self.schemas.of_schema(schema)) not in payloads:
                payloads.append(payload)
        described: JsonSchema = payloads[0] if len(payloads) == 1 else {"allOf": payloads} if payloads else {}
        channel, message = self._add_message(address, "sent", described)
        operation: dict[str, JsonValue] = {"action": "send", "channel": channel, "messages": [message]}
        operation |= {} if is_declared else {"x-seen": True}
        if self.namespace is not None:
            operation["bindings"] = {"amqp": {"deliveryMode": 2, "mandatory": False, "bindingVersion": "0.3.0"}}
        self.operations[f"send.{_key(address)}"] = operation

    def add_received(self, handler: EventHandler) -> None:
        """Describe an event that the service handles."""
        options = handler.options
        channel, message = self._add_message(options.pattern, handler.name, self._payload(handler))
        doc = docstring_parser.parse(inspect.getdoc(handler.function) or "")
        operation: dict[str, JsonValue] = {"action": "receive", "channel": channel, "messages": [message]}
        operation |= {"summary": doc.short_description} if doc.short_description else {}
        operation |= {"description": doc.long_description} if doc.long_description else {}
        if isinstance(options.group, EveryInstance):
            operation["x-every-instance"] = True
        else:
            operation["x-group"] = options.group or self.service
        operation |= {
            "x-concurrency": options.concurrency,
            "x-timeout": options.timeout,
            "x-retry": _retry(options.retry),
        }
        operation |= {"x-hold-until-final": True} if options.hold_until_final else {}
        if self.namespace is not None:
            operation["bindings"] = {"amqp": {"ack": True, "bindingVersion": "0.3.0"}}
            if is_exact(options.pattern) and not isinstance(options.group, EveryInstance):
                operation["x-work-queue"] = f"{self.namespace}.work.{options.pattern}"
        self.operations[_unused(f"receive.{handler.name}.{_key(options.pattern)}", self.operations)] = operation

    def _add_message(self, address: str, name: str, payload: JsonSchema) -> tuple[JsonValue, JsonValue]:
        """Add a message to the channel of an event; return references to the channel and to the message."""
        key = _key(address)
        if key not in self.channels:
            self._messages[key] = {}
            self.channels[key] = {"address": address, "messages": self._messages[key]}
            if self.namespace is not None:
                exchange: JsonValue = {
                    "name": f"{self.namespace}.events",
                    "type": "topic",
                    "durable": True,
                    "autoDelete": False,
                }
                binding: JsonValue = {"is": "routingKey", "exchange": exchange, "bindingVersion": "0.3.0"}
                self.channels[key]["bindings"] = {"amqp": binding}
        name = _unused(name, self._messages[key])
        self._messages[key][name] = {
            "name": address,
            "payload": payload,
            "traits": [{"$ref": f"#/components/messageTraits/{_ENVELOPE}"}],
        }
        return {"$ref": f"#/channels/{key}"}, {"$ref": f"#/channels/{key}/messages/{name}"}

    def _payload(self, handler: EventHandler) -> JsonSchema:
        if handler.options.schema is not None:
            return self.schemas.of_schema(handler.options.schema)
        parameters = list(inspect.signature(handler.function).parameters.values())
        try:
            return self.schemas.of_hint(resolve(parameters[0].annotation, namespace_of(handler.function), {}))
        except UnresolvedHint:
            return {}


class EmittedNames:
    """The names of the events that a service was seen to emit, for its description; their number is bounded.

    Args:
        limit: how many are kept; names beyond them are not described.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._names: set[str] = set()

    def add(self, name: str) -> None:
        """Take notice of a name. Quick, for every event that is emitted comes by."""
        if name not in self._names and len(self._names) < self._limit:
            self._names.add(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))


class EventDescription:
    """The AsyncAPI document of a running service; it is made anew only when what it says has changed.

    Args:
        make: makes the document of the names that were emitted and the addresses of the transports.
        emitted: the names that were emitted so far.
        servers: returns the addresses of the transports.
    """

    def __init__(
        self,
        make: Callable[[Sequence[str], Sequence[str]], dict[str, JsonValue]],
        emitted: Iterable[str],
        servers: Callable[[], Sequence[str]],
    ) -> None:
        self._make = make
        self._emitted = emitted
        self._servers = servers
        self._made: tuple[object, dict[str, JsonValue]] | None = None

    def document(self) -> dict[str, JsonValue]:
        """Return the document."""
        names, servers = tuple(self._emitted), tuple(self._servers())
        if self._made is None or self._made[0] != (names, servers):
            self._made = (names, servers), self._make(names, servers)
        return self._made[1]


def _covers(pattern: str, name: str) -> bool:
    return pattern == name or (is_exact(name) and matches(pattern, name))


def _key(address: str) -> str:
    """Return the key of a channel: references to it are URIs, where '#' means something else."""
    return address.replace("*", "_any_").replace("#", "_all_")


def _unused(name: str, taken: Mapping[str, object]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def _retry(policy: RetryPolicy) -> JsonValue:
    return {"attempts": policy.attempts, "firstDelay": policy.first_delay, "maxDelay": policy.max_delay}


def _envelope() -> JsonValue:
    properties: dict[str, JsonValue] = {
        name: {"type": "string", "description": text} for name, text in _ATTRIBUTES.items()
    }
    properties["time"] = {"type": "string", "format": "date-time", "description": _ATTRIBUTES["time"]}
    return {
        "contentType": CONTENT_TYPE,
        "description": "CloudEvents 1.0, binary mode: the payload is the body. In AMQP the headers' names begin with "
        "'cloudEvents:', and datacontenttype is the property content-type.",
        "headers": {"type": "object", "required": list(_REQUIRED), "properties": properties},
        "correlationId": {"location": "$message.header#/correlationid"},
    }


def _servers(urls: Sequence[str]) -> Iterator[tuple[str, JsonValue]]:
    schemes: list[str] = []
    for url in urls:
        parts = urlsplit(url)
        schemes.append(parts.scheme)
        count = schemes.count(parts.scheme)
        # An embedded bus is a file, and has no host.
        found: dict[str, JsonValue] = {"host": parts.netloc or "localhost", "protocol": parts.scheme}
        found |= {"pathname": parts.path} if parts.path else {}
        yield parts.scheme if count == 1 else f"{parts.scheme}-{count}", found
