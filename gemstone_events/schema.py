"""Bodies and parameters against marshmallow schemas."""

from collections.abc import Mapping
from typing import TypeAlias, cast

from marshmallow import Schema, ValidationError

from gemstone_events.errors import SchemaError, ServiceConfigurationError
from gemstone_events.strict_json import JsonValue

SchemaLike: TypeAlias = Schema | type[Schema]


def instance(schema: SchemaLike) -> Schema:
    """Return an instance of a schema given as class or instance.

    Raises:
        ServiceConfigurationError: it is no marshmallow schema.
    """
    made = schema() if isinstance(schema, type) and issubclass(schema, Schema) else schema
    if not isinstance(made, Schema):
        raise ServiceConfigurationError(f"{schema!r} is no schema: give a marshmallow Schema, as class or instance")
    return made


def load(schema: Schema, value: JsonValue, what: str) -> object:
    """Return what ``schema`` makes of a JSON value; ``what`` says in the error what it is.

    Raises:
        SchemaError: it fails the schema; marshmallow's messages are in ``messages``.
    """
    try:
        # marshmallow itself reports a value that is no object; its annotation only admits those that are.
        loaded: object = schema.load(cast(Mapping[str, object], value))
    except ValidationError as error:
        messages = cast("list[object] | dict[str, object]", error.messages)
        raise SchemaError(f"{what} fails its schema {type(schema).__name__}: {messages}", messages) from None
    return loaded
