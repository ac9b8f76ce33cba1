"""The AsyncAPI document of a service's events, and what breaks between two of them."""

from collections.abc import Mapping
from typing import Any

import pytest
from marshmallow import Schema, fields

from gemstone_events import EVERY_INSTANCE, Event, RetryPolicy, event_handler
from gemstone_events.codec import encode
from gemstone_events.event_description import EmittedNames, EventDescription, asyncapi_document
from gemstone_events.handlers import declared_handlers
from gemstone_events.rpc.description.asyncapi_changes import asyncapi_changes, check_asyncapi, described_kind
from gemstone_events.rpc.description.changes import Change
from gemstone_events.rpc.description.openrpc import ServiceInfo
from gemstone_events.rpc.description.references import DescriptionError
from gemstone_events.transport import Subscription
from gemstone_events.transports.amqp_topology import Topology
from tests.unit.description_checks import check_asyncapi_schema, check_references

INFO = ServiceInfo("shop", "1.2.0")
AMQP = "amqp://localhost:5672/%2F"


class Placed(Schema):
    id = fields.Integer(required=True)
    note = fields.String()


class Audited(Schema):
    id = fields.Integer()


class Shop:
    @event_handler("order.placed", schema=Placed, retry=RetryPolicy(attempts=3))
    def ship(self, body: dict[str, int]) -> None:
        """Ship it.

        As soon as it is paid.
        """

    @event_handler("order.#", group="audit", concurrency=2, timeout=5.0, hold_until_final=True)
    def audit(self, body: dict[str, int], event: Event) -> None: ...

    @event_handler("prices.*", group=EVERY_INSTANCE)
    def forget(self, body) -> None: ...


def described(owner: object = None, schemas: Mapping[str, Schema] | None = None, **options: Any) -> dict[str, Any]:
    """Return a document that AsyncAPI's own schema takes."""
    handlers = [] if owner is None else list(declared_handlers(owner))
    document = asyncapi_document(INFO, handlers, schemas or {}, **options)
    check_asyncapi_schema(document)
    check_references(document)
    return document


def test_an_empty_service_has_a_document_too() -> None:
    document = described()
    assert document["info"] == {"title": "shop", "version": "1.2.0"}
    assert (document["channels"], document["operations"], document["servers"]) == ({}, {}, {})


def test_a_handler_is_an_operation_with_its_payload_and_its_options() -> None:
    document = described(Shop())
    operation = document["operations"]["receive.Shop.ship.order.placed"]
    assert operation == {
        "action": "receive",
        "channel": {"$ref": "#/channels/order.placed"},
        "messages": [{"$ref": "#/channels/order.placed/messages/Shop.ship"}],
        "summary": "Ship it.",
        "description": "As soon as it is paid.",
        "x-group": "shop",
        "x-concurrency": 10,
        "x-timeout": 60.0,
        "x-retry": {"attempts": 3, "firstDelay": 1.0, "maxDelay": 300.0},
    }
    channel = document["channels"]["order.placed"]
    assert channel["address"] == "order.placed"
    assert channel["messages"]["Shop.ship"]["payload"] == {"$ref": "#/components/schemas/Placed"}
    assert document["components"]["schemas"]["Placed"]["required"] == ["id"]


def test_patterns_are_addresses_under_keys_that_references_can_name() -> None:
    document = described(Shop())
    assert document["channels"]["order._all_"]["address"] == "order.#"
    assert document["channels"]["prices._any_"]["address"] == "prices.*"
    operation = document["operations"]["receive.Shop.audit.order._all_"]
    assert (operation["x-group"], operation["x-concurrency"], operation["x-timeout"]) == ("audit", 2, 5.0)
    assert operation["x-hold-until-final"] is True
    each = document["operations"]["receive.Shop.forget.prices._any_"]
    assert each["x-every-instance"] is True
    assert "x-group" not in each


def test_a_handler_without_schema_is_described_by_its_type_hint() -> None:
    channels = described(Shop())["channels"]
    payload = channels["order._all_"]["messages"]["Shop.audit"]["payload"]
    assert payload == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert channels["prices._any_"]["messages"]["Shop.forget"]["payload"] == {}


def test_what_has_a_schema_and_what_was_emitted_is_sent() -> None:
    document = described(schemas={"order.placed": Placed(), "order.*": Audited()}, emitted=["order.paid", "mail.sent"])
    sent = {
        name.removeprefix("send."): document["channels"][name.removeprefix("send.")]["messages"]["sent"]["payload"]
        for name in document["operations"]
    }
    placed, audited = {"$ref": "#/components/schemas/Placed"}, {"$ref": "#/components/schemas/Audited"}
    assert sent == {
        "mail.sent": {},
        "order._any_": audited,
        "order.paid": audited,
        "order.placed": {"allOf": [placed, audited]},
    }
    assert document["operations"]["send.mail.sent"]["action"] == "send"


def test_an_event_that_is_sent_and_handled_has_one_channel_with_two_messages() -> None:
    document = described(Shop(), {"order.placed": Placed()})
    assert list(document["channels"]["order.placed"]["messages"]) == ["sent", "Shop.ship"]


def test_two_handlers_of_one_name_are_two_operations() -> None:
    handlers = [*declared_handlers(Shop()), *declared_handlers(Shop())]
    document = asyncapi_document(INFO, handlers, {})
    check_asyncapi_schema(document)
    check_references(document)
    assert "receive.Shop.ship.order.placed-2" in document["operations"]


def test_servers_are_told_without_credentials_and_files_have_no_host() -> None:
    servers = described(servers=[AMQP, "sqlite:///x/bus.db", "amqp://other/%2F", "memory://bus"])["servers"]
    assert servers == {
        "amqp": {"host": "localhost:5672", "pathname": "/%2F", "protocol": "amqp"},
        "sqlite": {"host": "localhost", "pathname": "/x/bus.db", "protocol": "sqlite"},
        "amqp-2": {"host": "other", "pathname": "/%2F", "protocol": "amqp"},
        "memory": {"host": "bus", "protocol": "memory"},
    }


def test_amqp_bindings_name_what_the_transport_declares() -> None:
    document = described(Shop(), {"order.placed": Placed()}, servers=[AMQP], namespace="staging")
    topology = Topology("staging")
    for channel in document["channels"].values():
        assert channel["bindings"]["amqp"]["exchange"]["name"] == topology.exchange_name
        assert channel["bindings"]["amqp"]["is"] == "routingKey"
    operations = document["operations"]
    work = topology.queue(Subscription("shop", "order.placed", work_queue=True)).name
    assert operations["receive.Shop.ship.order.placed"]["x-work-queue"] == work
    assert operations["receive.Shop.ship.order.placed"]["bindings"]["amqp"]["ack"] is True
    assert "x-work-queue" not in operations["receive.Shop.audit.order._all_"]
    assert operations["send.order.placed"]["bindings"]["amqp"]["deliveryMode"] == 2


def test_without_a_broker_there_are_no_bindings() -> None:
    document = described(Shop(), servers=["sqlite:///bus.db"])
    assert not any("bindings" in channel for channel in document["channels"].values())


def test_the_envelope_lists_the_attributes_that_events_carry() -> None:
    event = Event(
        id="1",
        type="a",
        source="b",
        data=None,
        subject="c",
        dataschema="d",
        correlationid="e",
        causationid="f",
        traceparent="g",
        partitionkey="h",
        sequence="i",
    )
    headers = described()["components"]["messageTraits"]["cloudEvent"]["headers"]
    assert headers["properties"].keys() == encode(event).attributes.keys()
    assert set(headers["required"]) <= headers["properties"].keys()


def test_emitted_names_are_kept_up_to_a_limit() -> None:
    names = EmittedNames(2)
    for name in ("b", "a", "b", "c"):
        names.add(name)
    assert list(names) == ["a", "b"]


def test_a_document_is_made_anew_only_when_it_changes() -> None:
    names, servers = EmittedNames(), [AMQP]
    description = EventDescription(
        lambda emitted, servers: asyncapi_document(INFO, [], {}, emitted=emitted, servers=servers),
        names,
        lambda: servers,
    )
    first = description.document()
    assert description.document() is first
    names.add("order.paid")
    second = description.document()
    assert "send.order.paid" in second["operations"]
    servers.clear()
    assert description.document()["servers"] == {}


# What breaks.


def sent(schema: Schema | None, name: str = "order.placed") -> dict[str, Any]:
    return described(schemas={} if schema is None else {name: schema})


def handled(schema: type[Schema], group: str | None = None) -> dict[str, Any]:
    class Shop:
        @event_handler("order.placed", schema=schema, group=group)
        def ship(self, body) -> None: ...

    return described(Shop())


def properties(**described: fields.Field) -> type[Schema]:
    return Schema.from_dict(described, name="Placed")  # type: ignore[return-value]


SMALL = properties(id=fields.Integer(required=True))
LARGE = properties(id=fields.Integer(required=True), note=fields.String())
STRICT = properties(id=fields.Integer(required=True), note=fields.String(required=True))
LOOSE = properties(id=fields.Integer())
TEXT = properties(id=fields.String(required=True))
PAYLOAD = "order.placed/payload/properties"


def test_an_event_that_is_gone_breaks_those_who_wait_for_it() -> None:
    [change] = asyncapi_changes(sent(SMALL()), sent(None))
    assert (change.path, change.is_breaking) == ("send/order.placed", True)
    assert asyncapi_changes(sent(None), sent(SMALL())) == []


def test_an_event_that_is_not_handled_any_more_is_risky() -> None:
    [change] = asyncapi_changes(handled(SMALL), sent(None))
    assert (change.path, change.is_breaking) == ("receive/order.placed", False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (LARGE, SMALL, Change(f"send/{PAYLOAD}/note", "is gone")),
        (SMALL, TEXT, Change(f"send/{PAYLOAD}/id", "type changed from integer to string")),
        (SMALL, LOOSE, Change(f"send/{PAYLOAD}/id", "may be missing now")),
    ],
)
def test_what_is_sent_must_not_say_less(old: type[Schema], new: type[Schema], message: Change) -> None:
    assert asyncapi_changes(sent(old()), sent(new())) == [message]


def test_what_is_sent_may_say_more() -> None:
    assert not any(change.is_breaking for change in asyncapi_changes(sent(SMALL()), sent(STRICT())))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (SMALL, STRICT, Change(f"receive/{PAYLOAD}/note", "is new and required")),
        (LARGE, SMALL, Change(f"receive/{PAYLOAD}/note", "is gone, and refused")),
        (SMALL, TEXT, Change(f"receive/{PAYLOAD}/id", "type changed from integer to string")),
        (LOOSE, SMALL, Change(f"receive/{PAYLOAD}/id", "is required now")),
    ],
)
def test_what_is_handled_must_not_ask_for_more(old: type[Schema], new: type[Schema], message: Change) -> None:
    assert asyncapi_changes(handled(old), handled(new)) == [message]


def test_what_is_handled_may_ask_for_less() -> None:
    assert asyncapi_changes(handled(SMALL), handled(LOOSE)) == []
    assert asyncapi_changes(handled(SMALL), handled(LARGE)) == []


def test_a_handler_under_a_new_name_meets_what_was_sent_to_the_old_one() -> None:
    class Shop:
        @event_handler("order.placed", schema=STRICT)
        def deliver(self, body) -> None: ...

    assert asyncapi_changes(handled(SMALL), described(Shop())) == [
        Change(f"receive/{PAYLOAD}/note", "is new and required")
    ]


def test_another_group_leaves_what_waits_for_the_old_one() -> None:
    [change] = asyncapi_changes(handled(SMALL), handled(SMALL, "other"))
    assert not change.is_breaking
    assert "from 'shop' to 'other'" in change.message


def test_documents_of_others_are_understood() -> None:
    def document(kind: str) -> dict[str, Any]:
        payload = {"type": "object", "properties": {"id": {"type": kind}}}
        return {
            "asyncapi": "3.0.0",
            "channels": {"c": {"address": "a/b", "messages": {"m": {"$ref": "#/components/messages/m"}}}},
            "operations": {"o": {"action": "send", "channel": {"$ref": "#/channels/c"}}},
            "components": {"messages": {"m": {"payload": payload}}},
        }

    [change] = asyncapi_changes(document("string"), document("integer"))
    assert change == Change("send/a/b/payload/properties/id", "type changed from string to integer")


@pytest.mark.parametrize("found", [None, {}, {"asyncapi": "2.6.0"}, {"asyncapi": 3}])
def test_another_json_text_is_no_asyncapi_document(found: object) -> None:
    with pytest.raises(DescriptionError):
        check_asyncapi(found)


@pytest.mark.parametrize(
    "operations",
    [[], {"o": 1}, {"o": {"action": "watch"}}, {"o": {"action": "send"}}, {"o": {"action": "send", "channel": {}}}],
    ids=str,
)
def test_operations_that_cannot_be_read_are_an_error(operations: object) -> None:
    document = {"asyncapi": "3.0.0", "operations": operations}
    with pytest.raises(DescriptionError):
        asyncapi_changes(document, document)


def test_a_document_says_itself_what_it_describes() -> None:
    assert described_kind({"openrpc": "1.3.2"}) == "openrpc"
    assert described_kind(described()) == "asyncapi"
    with pytest.raises(DescriptionError):
        described_kind({"openapi": "3.1.0"})


def test_an_event_that_was_only_seen_and_is_not_seen_again_is_risky() -> None:
    seen = described(emitted=["order.seen"])
    [change] = asyncapi_changes(seen, described())
    assert (change.path, change.is_breaking) == ("send/order.seen", False)
    assert asyncapi_changes(described(), seen) == []


def test_an_event_is_declared_by_a_pattern_too() -> None:
    old = described(schemas={"order.*": SMALL()}, emitted=["order.placed"])
    assert asyncapi_changes(old, described(schemas={"order.*": SMALL()})) == []
    assert Change(f"send/{PAYLOAD}/id", "type changed from integer to string") in asyncapi_changes(
        sent(SMALL()), described(schemas={"order.*": TEXT()})
    )


def test_a_handler_of_a_pattern_meets_what_was_sent_to_those_of_names() -> None:
    class Shop:
        @event_handler("order.*", schema=STRICT)
        def deliver(self, body) -> None: ...

    [work, note] = asyncapi_changes(handled(SMALL), described(Shop()))
    assert (work.path, work.is_breaking) == ("receive/order.placed", False)
    assert "by a pattern only" in work.message
    assert note == Change(f"receive/{PAYLOAD}/note", "is new and required")
