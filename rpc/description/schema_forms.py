"""JSON Schemas in a form in which they can be compared, and what they say."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gemstone_events.rpc.description.references import DescriptionError, Members, References
from gemstone_events.strict_json import JsonValue

MAX_ALTERNATIVES = 100

_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"}
)
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the forms that a value may have.

    Attributes:
        schema: without ``$ref``, ``anyOf``, ``oneOf`` and ``allOf``, and with one type at most.
        name: stands for it within its document, whatever way leads there.
    """

    schema: Members
    name: str


def alternatives(schema: JsonValue, references: References, path: str, depth: int = 0) -> Sequence[Alternative]:
    """Return the forms, one of which a value has to have.

    Raises:
        DescriptionError: it is no schema, a reference leads nowhere, or the schema refers to itself without end.
    """
    if isinstance(schema, bool):
        return [Alternative({}, "true")] if schema else []
    if depth > _MAX_DEPTH:
        raise DescriptionError(f"{path[:200]}: the schema refers to itself without end")
    target = references.resolve(schema, path)
    found = _choices(_merged(target, references, path, depth), references, path, depth)
    if len(found) > MAX_ALTERNATIVES:
        raise DescriptionError(f"{path[:200]}: the schema has more than {MAX_ALTERNATIVES} alternatives")
    # The document lives as long as the comparison, so that an object's identity is a name for it.
    return [Alternative(form, f"{id(target):x}.{number}") for number, form in enumerate(found)]


def _choices(plain: Members, references: References, path: str, depth: int) -> Sequence[Members]:
    for keyword in ("anyOf", "oneOf"):
        choices = plain.get(keyword)
        if isinstance(choices, list):
            rest = {name: value for name, value in plain.items() if name != keyword and name not in _ANNOTATIONS}
            return [
                {**rest, **choice.schema}
                for part in choices
                for choice in alternatives(part, references, path, depth + 1)
            ]
    kinds = plain.get("type")
    if isinstance(kinds, list) and values_of(plain) is None:
        return [{**plain, "type": kind} for kind in kinds]
    return [plain]


def _merged(schema: Members, references: References, path: str, depth: int) -> Members:
    """Return a schema with the members of all that ``allOf`` lists."""
    parts = schema.get("allOf")
    if not isinstance(parts, list):
        return schema
    merged: dict[str, JsonValue] = {name: value for name, value in schema.items() if name != "allOf"}
    for part in parts:
        choices = alternatives(part, references, path, depth + 1)
        if len(choices) != 1:
            raise DescriptionError(f"{path[:200]}: alternatives inside allOf cannot be compared")
        other = choices[0].schema
        properties = {**properties_of(merged), **properties_of(other)}
        required = sorted(required_of(merged) | required_of(other))
        merged |= other
        merged |= {"properties": properties} if properties else {}
        merged |= {"required": required} if required else {}
    return merged


def takes_all(schema: Members) -> bool:
    """Tell whether a schema says nothing."""
    return all(name in _ANNOTATIONS or name.startswith("x-") for name in schema)


def values_of(schema: Members) -> Sequence[JsonValue] | None:
    """Return the only values that a schema takes; None where it takes others."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def is_among(value: JsonValue, values: Sequence[JsonValue]) -> bool:
    """Tell whether a value is one of some: 1 is not true."""
    return _key(value) in map(_key, values)


def form_of(value: JsonValue) -> Members:
    """Return a schema that says all of a value but what a text is."""
    form: dict[str, JsonValue] = {"type": _type_of_value(value)}
    match value:
        case bool() | None:
            return form
        case int() | float():
            return {**form, "minimum": value, "maximum": value}
        case str():
            return {**form, "minLength": len(value), "maxLength": len(value)}
        case Mapping():
            members: Members = {name: form_of(member) for name, member in value.items()}
            return {**form, "properties": members, "required": list(value), "additionalProperties": False}
        case _:
            return {**form, "items": [form_of(item) for item in value], "minItems": len(value), "maxItems": len(value)}


def type_of(schema: Members) -> str | None:
    """Return the type of what a schema takes; None for any."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema else None


def is_within(given: str | None, taken: str | None) -> bool:
    """Tell whether every value of one type is one of the other."""
    return given == taken or (given, taken) == ("integer", "number")


def overlap(one: Members, other: Members) -> bool:
    """Tell whether two schemas may have to do with each other, going by their types."""
    kind, wanted = type_of(one), type_of(other)
    return kind is None or wanted is None or is_within(kind, wanted) or is_within(wanted, kind)


def properties_of(schema: Members) -> Members:
    """Return the described members of an object."""
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def required_of(schema: Members) -> frozenset[str]:
    """Return the names of the members that an object always has."""
    required = schema.get("required")
    return frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset()


def _key(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)


def _type_of_value(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case _:
            return "array"
