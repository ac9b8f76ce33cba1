"""What our documents are held against: the schemas of OpenRPC and AsyncAPI themselves."""

import json
from collections.abc import Mapping
from pathlib import Path

from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

_DATA = Path(__file__).parents[1] / "data"
# OpenRPC's meta schema refers to a copy of JSON Schema's own (draft-07) under another name.
_JSON_SCHEMA = {
    "$ref": "http://json-schema.org/draft-07/schema#",
    "definitions": {"JSONSchemaObject": {"properties": {"$ref": {"type": "string"}}}},
}


def check_openrpc_schema(document: Mapping[str, object]) -> None:
    """Fail unless OpenRPC's meta schema takes a document."""
    resource = DRAFT7.create_resource(_JSON_SCHEMA)
    known = Registry().with_resources(
        [("https://meta.json-schema.tools", resource), ("https://meta.json-schema.tools/", resource)]
    )
    schema = json.loads((_DATA / "openrpc-1.3.2.json").read_text())
    Draft7Validator(schema, registry=known).validate(document)


def check_asyncapi_schema(document: Mapping[str, object]) -> None:
    """Fail unless AsyncAPI's schema takes a document."""
    Draft7Validator(json.loads((_DATA / "asyncapi-3.0.0.json").read_text())).validate(document)


def check_references(document: Mapping[str, object]) -> None:
    """Fail if a reference in a document leads nowhere."""
    pending: list[object] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            if isinstance(reference := value.get("$ref"), str):
                found: object = document
                for name in reference.removeprefix("#/").split("/"):
                    assert isinstance(found, Mapping)
                    assert name in found, reference
                    found = found[name]
            pending += value.values()
        elif isinstance(value, list):
            pending += value
