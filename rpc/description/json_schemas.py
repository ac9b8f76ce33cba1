"""JSON Schemas (draft-07) of type hints and marshmallow schemas; dataclasses and schemas become shared components."""

import inspect
from collections.abc import Mapping, Sequence
from enum import Flag
from typing import Any, TypeAlias, cast

from apispec import APISpec
from apispec.core import Components
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_cls, resolve_schema_instance
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import EXCLUDE, INCLUDE, Schema, ValidationError, fields, validate

from gemstone_events import strict_json
from gemstone_events.rpc.signatures.strict_fields import AnyField, Null, OneOf
from gemstone_events.rpc.signatures.type_hints import TypeHintError
from gemstone_events.rpc.signatures.typed_fields import field_for
from gemstone_events.rpc.signatures.unions import AnyOf
from gemstone_events.strict_json import JsonValue

JsonSchema: TypeAlias = "dict[str, JsonValue]"

_TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


class JsonSchemas:
    """Writes the schemas of one document, and keeps what several of them share.

    apispec does most of it: its dialect for OpenAPI 3.1 is JSON Schema.
    """

    def __init__(self) -> None:
        plugin = _Plugin(schema_name_resolver=self._name)
        self._spec = APISpec("", "", "3.1.0", plugins=[plugin])
        self._spec.components = _Components([plugin], self._spec.openapi_version)
        self._converter = cast(_Converter, plugin.converter)
        self._names: set[str] = set()

    @property
    def components(self) -> dict[str, JsonValue]:
        """The shared schemas so far, by name, for ``components/schemas``."""
        found: Mapping[str, JsonSchema] = self._spec.to_dict().get("components", {}).get("schemas", {})
        return {name: found[name] for name in sorted(found)}

    def of_hint(self, hint: object) -> JsonSchema:
        """Return the schema of a type hint; ``{}``, which is anything, where JSON knows nothing of the kind."""
        try:
            return self.of_field(field_for(hint))
        except (TypeHintError, RecursionError):  # an alias may hold itself
            return {}

    def of_field(self, field: AnyField) -> JsonSchema:
        """Return the schema of a marshmallow field."""
        return self._converter.field2property(field)

    def of_schema(self, schema: Schema) -> JsonSchema:
        """Return a reference to the component that a marshmallow schema becomes, or an array of it (``many``)."""
        return cast(JsonSchema, self._converter.resolve_nested_schema(schema))  # type: ignore[no-untyped-call]

    def _name(self, schema: Any) -> str:
        kind = resolve_schema_cls(schema)
        assert isinstance(kind, type)
        wanted = kind.__name__
        wanted = wanted.removesuffix("Schema") or wanted
        name, number = wanted, 1
        while name in self._names:  # two classes of one name, or one class with different options
            number += 1
            name = f"{wanted}{number}"
        self._names.add(name)
        return name


class _Converter(OpenAPIConverter):
    """apispec's converter, taught what this framework's fields mean."""

    def field2property(self, field: AnyField) -> JsonSchema:
        found = super().field2property(field)
        if isinstance(field, Null):
            found["type"] = "null"
        elif isinstance(field, OneOf):
            values = [*field.values, None] if field.allow_none and None not in field.values else [*field.values]
            found |= {"enum": values, "type": _types_of(values)}
        elif isinstance(field, fields.Enum) and issubclass(field.enum, Flag):
            found.pop("enum", None)  # which lists no combinations
        elif isinstance(field, AnyOf):
            found["anyOf"] = [self.field2property(candidate) for candidate in field.candidates]
            found["anyOf"] += [{"type": "null"}] if field.allow_none else []
        elif isinstance(field, fields.Tuple):
            items = [self.field2property(member) for member in field.tuple_fields]
            kinds = ["array", "null"] if field.allow_none else "array"
            found |= {"type": kinds, "minItems": len(items), "maxItems": len(items)}
            found |= {"items": items} if items else {}  # a list of no schemas is no schema
        elif isinstance(field, fields.Decimal) and field.as_string:
            found |= {"type": ["string", "null"] if field.allow_none else "string", "format": "decimal"}
        elif isinstance(field, fields.Time):
            found["format"] = "time"
        return _plain(_with_open_bounds(found, field))

    def field2default(self, field: AnyField, **kwargs: Any) -> JsonSchema:
        """Return the default, unless it is none that calls could carry."""
        try:
            found = super().field2default(field, **kwargs)
            return cast(JsonSchema, strict_json.loads(strict_json.dumps(found)))  # a tuple is an array there
        except (AttributeError, TypeError, ValueError, ValidationError):
            return {}

    def schema2jsonschema(self, schema: Any) -> JsonSchema:
        found = _plain(super().schema2jsonschema(schema))  # type: ignore[no-untyped-call]
        made = resolve_schema_instance(schema)
        if (text := _own_doc(type(made))) and "description" not in found:
            found["description"] = text
        if made.unknown != EXCLUDE:
            found["additionalProperties"] = made.unknown == INCLUDE
        return found


class _Components(Components):
    """apispec's components, which may hold tuples: in draft-07 their ``items`` are a list."""

    def get_ref(self, obj_type: str, obj_or_component_id: Any) -> Any:
        is_list = isinstance(obj_or_component_id, list)
        return obj_or_component_id if is_list else super().get_ref(obj_type, obj_or_component_id)


class _Plugin(MarshmallowPlugin):
    Converter = _Converter


def _types_of(values: Sequence[object]) -> JsonValue:
    kinds = list(dict.fromkeys(_TYPES[type(value)] for value in values if type(value) in _TYPES))
    return kinds[0] if len(kinds) == 1 else kinds


def _with_open_bounds(schema: Mapping[str, Any], field: AnyField) -> Mapping[str, Any]:
    """Return a schema in which a bound that is not allowed itself is called exclusive: to apispec all are alike."""
    found = dict(schema)
    for each in field.validators:
        if isinstance(each, validate.Range):
            if not each.min_inclusive and found.get("minimum", not each.min) == each.min:
                found["exclusiveMinimum"] = found.pop("minimum")
            if not each.max_inclusive and found.get("maximum", not each.max) == each.max:
                found["exclusiveMaximum"] = found.pop("maximum")
    return found


def _own_doc(kind: type[Schema]) -> str:
    """Return what the author wrote about a schema, or about the dataclass that it was made for."""
    text = vars(kind).get("__doc__") or ""
    # What ``dataclass`` writes by itself is the signature.
    return "" if text.startswith(f"{kind.__name__}(") else inspect.cleandoc(text)


def _plain(schema: Mapping[str, Any]) -> JsonSchema:
    """Return a schema without members that say nothing (apispec writes some), and without what JSON cannot carry."""
    return {name: value for name, value in schema.items() if _says_something(name, value) and is_json(value)}


def _says_something(name: str, value: object) -> bool:
    if name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        return isinstance(value, int | float)  # the bounds of a decimal that travels as a text are texts as well
    return value is not None or name == "default"


def is_json(value: object) -> bool:
    """Tell whether a value can stand in a document."""
    try:
        strict_json.dumps(value)
    except ValueError:
        return False
    return True
