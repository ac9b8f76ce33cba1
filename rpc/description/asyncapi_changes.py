"""What breaks between two AsyncAPI documents of one service, for those who handle its events and those who emit to it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from gemstone_events.names import is_exact, matches
from gemstone_events.rpc.description.changes import Change, collected, shown
from gemstone_events.rpc.description.references import DescriptionError, Members, References, members
from gemstone_events.rpc.description.schema_changes import SchemaComparison
from gemstone_events.strict_json import JsonValue

SEND, RECEIVE = "send", "receive"


def asyncapi_changes(old: Members, new: Members) -> list[Change]:
    """Return what changed between two documents, in the order of the old one, and only what may matter to others.

    Raises:
        DescriptionError: one of them is no AsyncAPI document of version 3, or cannot be followed.
    """
    before, after = _Events(old), _Events(new)
    return collected(chain(_sent(before, after), _received(before, after)))


def check_asyncapi(document: object) -> Members:
    """Return a document that calls itself AsyncAPI, version 3.

    Raises:
        DescriptionError: it does not.
    """
    found = members(document, "an AsyncAPI document")
    if not str(found.get("asyncapi", "")).startswith("3."):
        raise DescriptionError("it is no AsyncAPI document of version 3: 'asyncapi' has to say 3.0.0")
    return found


@dataclass(frozen=True, slots=True)
class _Operation:
    """One operation: where, and with what payload; ``is_seen``: it was only seen, and never declared."""

    address: str
    payload: JsonValue
    group: str | None
    is_seen: bool


class _Events:
    """The operations of one document, by action and name."""

    def __init__(self, document: Members) -> None:
        self.references = References(document)
        self.operations: dict[str, dict[str, _Operation]] = {SEND: {}, RECEIVE: {}}
        for name, operation in members(document.get("operations", {}), "operations").items():
            described = self.references.resolve(operation, name)
            action = described.get("action")
            if action not in (SEND, RECEIVE):
                raise DescriptionError(f"the operation {name!r} neither sends nor receives")
            self.operations[str(action)][name] = self._read(described, name)

    def by_address(self, action: str) -> dict[str, list[tuple[str, _Operation]]]:
        found: dict[str, list[tuple[str, _Operation]]] = {}
        for name, operation in self.operations[action].items():
            found.setdefault(operation.address, []).append((name, operation))
        return found

    def _read(self, described: Members, name: str) -> _Operation:
        channel = self.references.resolve(described.get("channel"), f"the channel of {name!r}")
        address = channel.get("address")
        listed = described.get("messages")
        if listed is None:
            listed = list(members(channel.get("messages", {}), f"the messages of {name!r}").values())
        if not isinstance(address, str) or not isinstance(listed, list):
            raise DescriptionError(f"the operation {name!r} has no address, or no list of messages")
        payloads = [self.references.resolve(message, f"a message of {name!r}").get("payload", {}) for message in listed]
        group = described.get("x-group")
        payload = payloads[0] if len(payloads) == 1 else {"anyOf": payloads} if payloads else {}
        is_seen = described.get("x-seen") is True
        return _Operation(address, payload, group if isinstance(group, str) else None, is_seen)


def _sent(before: _Events, after: _Events) -> Iterator[Change]:
    comparison = SchemaComparison(after.references, before.references, new_gives=True)
    new = after.by_address(SEND)
    for address, old in before.by_address(SEND).items():
        path = f"send/{address}"
        described = new.get(address) or _covering(new, address)
        if described:
            yield from comparison.changes(_payload(described), _payload(old), f"{path}/payload")
        elif all(operation.is_seen for _, operation in old):
            message = "the event was seen, and is not declared: whoever waits for it may get nothing"
            yield Change(path, message, is_breaking=False)
        else:
            yield Change(path, "the event is gone: whoever waits for it gets nothing")


def _received(before: _Events, after: _Events) -> Iterator[Change]:
    comparison = SchemaComparison(before.references, after.references, new_gives=False)
    new = after.by_address(RECEIVE)
    for address, old in before.by_address(RECEIVE).items():
        path = f"receive/{address}"
        covering = _covering(new, address)
        if address not in new:
            what = "handled by a pattern only" if covering else "not handled any more"
            yield Change(path, f"the event is {what}: work that is sent waits for nobody", is_breaking=False)
        known = dict(old)
        for name, operation in [*new.get(address, []), *covering]:
            earlier = known.get(name)
            # A handler under a new name meets what was sent to the old ones.
            payload = _payload(old) if earlier is None else earlier.payload
            yield from comparison.changes(payload, operation.payload, f"{path}/payload")
            if earlier is not None and earlier.group != operation.group:
                message = (
                    f"the group changed from {shown(earlier.group)} to {shown(operation.group)}: what waits for the "
                    "old one stays there"
                )
                yield Change(path, message, is_breaking=False)


def _covering(operations: Mapping[str, list[tuple[str, _Operation]]], name: str) -> list[tuple[str, _Operation]]:
    """Return the operations of the patterns that an event's name matches."""
    return [
        each for pattern, listed in operations.items() if pattern != name and _covers(pattern, name) for each in listed
    ]


def _covers(pattern: str, name: str) -> bool:
    return not is_exact(pattern) and is_exact(name) and matches(pattern, name)


def _payload(operations: list[tuple[str, _Operation]]) -> JsonValue:
    payloads = [operation.payload for _, operation in operations]
    return payloads[0] if len(payloads) == 1 else {"anyOf": payloads}


def described_kind(document: Mapping[str, JsonValue]) -> str:
    """Return "openrpc" or "asyncapi", whichever a document calls itself.

    Raises:
        DescriptionError: it is neither.
    """
    for kind in ("openrpc", "asyncapi"):
        if kind in document:
            return kind
    raise DescriptionError("it is neither an OpenRPC nor an AsyncAPI document")
