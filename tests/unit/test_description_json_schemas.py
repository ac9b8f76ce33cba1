"""Type hints and marshmallow schemas as JSON Schemas."""

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NewType, Optional, Required, TypedDict, TypeVar
from uuid import UUID

import pytest
from jsonschema import Draft7Validator
from marshmallow import EXCLUDE, INCLUDE, Schema, fields, validate

from gemstone_events.rpc.description.json_schemas import JsonSchemas
from gemstone_events.strict_json import JsonValue


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.Enum):
    LOW = 1
    HIGH = "high"


CustomerId = NewType("CustomerId", int)
T = TypeVar("T")


@dataclass
class Line:
    """One line of an order."""

    article: str
    count: int = 1


@dataclass
class Tree:
    name: str
    parent: Optional["Tree"] = None
    lines: list[Line] = field(default_factory=list)


ANYTHING: Sequence[object] = [Any, object, bytes, complex, JsonValue, int.__add__]


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (str, {"type": "string"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (int | None, {"type": ["integer", "null"]}),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (int | str | None, {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (Sequence[str], {"type": "array", "items": {"type": "string"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (
            Mapping[str, list[str]],
            {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
        ),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a"] | None, {"type": ["string", "null"], "enum": ["a", None]}),
        (Literal["a", 1], {"type": ["string", "integer"], "enum": ["a", 1]}),
        (Colour, {"type": "string", "enum": ["red", "blue"]}),
        (Level, {"type": "string", "enum": ["LOW", "HIGH"]}),
        (dt.datetime, {"type": "string", "format": "date-time"}),
        (dt.date, {"type": "string", "format": "date"}),
        (dt.time, {"type": "string", "format": "time"}),
        (dt.timedelta, {"type": "number", "x-unit": "seconds"}),
        (UUID, {"type": "string", "format": "uuid"}),
        (Decimal, {"type": "string", "format": "decimal"}),
        (Decimal | None, {"type": ["string", "null"], "format": "decimal"}),
        (CustomerId, {"type": "integer"}),
        (Annotated[int, validate.Range(min=1, max=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
        (Annotated[str, validate.Length(max=5)], {"type": "string", "maxLength": 5}),
        (
            Annotated[int, validate.Range(min=1, max=9, min_inclusive=False, max_inclusive=False)],
            {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 9},
        ),
        (Access, {"type": "integer"}),
    ],
)
def test_a_type_hint_says_what_json_holds(hint: object, schema: object) -> None:
    assert JsonSchemas().of_hint(hint) == schema


@pytest.mark.parametrize("hint", ANYTHING, ids=str)
def test_what_json_cannot_express_is_anything(hint: object) -> None:
    assert JsonSchemas().of_hint(hint) == {}


def test_an_empty_tuple_has_none() -> None:
    schema = JsonSchemas().of_hint(tuple[()])  # draft-07 has no empty list of schemas
    assert schema == {"type": "array", "minItems": 0, "maxItems": 0}


def test_a_tuple_has_a_schema_for_each_place() -> None:
    schema = JsonSchemas().of_hint(tuple[int, str])
    assert schema == {"type": "array", "items": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2}


def test_a_dataclass_is_a_shared_component_that_may_hold_itself() -> None:
    schemas = JsonSchemas()
    assert schemas.of_hint(Tree) == {"$ref": "#/components/schemas/Tree"}
    assert schemas.of_hint(list[Line]) == {"type": "array", "items": {"$ref": "#/components/schemas/Line"}}
    assert list(schemas.components) == ["Line", "Tree"]
    assert schemas.components["Line"] == {
        "type": "object",
        "description": "One line of an order.",
        "properties": {"article": {"type": "string"}, "count": {"type": "integer", "default": 1}},
        "required": ["article"],
        "additionalProperties": False,
    }
    tree = schemas.components["Tree"]
    assert isinstance(tree, dict)
    assert "description" not in tree  # what dataclass writes by itself says nothing
    assert tree["properties"]["parent"]["anyOf"] == [{"$ref": "#/components/schemas/Tree"}, {"type": "null"}]


def test_two_classes_of_one_name_are_two_components() -> None:
    def other() -> type:
        @dataclass
        class Line:
            other: int

        return Line

    schemas = JsonSchemas()
    assert schemas.of_hint(Line) == {"$ref": "#/components/schemas/Line"}
    assert schemas.of_hint(other()) == {"$ref": "#/components/schemas/Line2"}
    assert schemas.of_hint(Line) == {"$ref": "#/components/schemas/Line"}


class OrderSchema(Schema):
    id = fields.UUID(required=True)
    amount = fields.Decimal(as_string=True, validate=validate.Range(min=0))
    when = fields.DateTime(format="%Y", load_default=dt.datetime(2024, 1, 1))
    colour = fields.Enum(Colour, by_value=True, allow_none=True)
    lines = fields.List(fields.Nested(lambda: LineSchema()))


class LineSchema(Schema):
    class Meta:
        unknown = INCLUDE
        description = "A line."

    article = fields.String(required=True, data_key="article-number", metadata={"description": "what"})


def test_a_marshmallow_schema_is_a_component_named_without_schema() -> None:
    schemas = JsonSchemas()
    assert schemas.of_schema(OrderSchema()) == {"$ref": "#/components/schemas/Order"}
    assert schemas.of_schema(OrderSchema(many=True)) == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Order"},
    }
    order, line = schemas.components["Order"], schemas.components["Line"]
    assert isinstance(order, dict)
    assert order["required"] == ["id"]
    assert order["properties"]["colour"] == {"enum": ["red", "blue", None]}
    assert order["properties"]["when"] == {"type": "string", "default": "2024"}
    assert line == {
        "type": "object",
        "properties": {"article-number": {"type": "string", "description": "what"}},
        "required": ["article-number"],
        "additionalProperties": True,
        "description": "A line.",
    }


def test_a_schema_that_drops_what_it_does_not_know_says_nothing_of_other_members() -> None:
    schemas = JsonSchemas()
    schemas.of_schema(LineSchema(unknown=EXCLUDE))
    line = schemas.components["Line"]
    assert isinstance(line, dict)
    assert "additionalProperties" not in line


class Film(TypedDict, total=False):
    """A film."""

    title: Required[str]
    year: int


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: Optional["Page[T]"] = None


def test_a_typed_dict_is_an_object_whose_required_members_are_listed() -> None:
    schemas = JsonSchemas()
    assert schemas.of_hint(Film) == {"$ref": "#/components/schemas/Film"}
    assert schemas.components["Film"] == {
        "type": "object",
        "description": "A film.",
        "properties": {"title": {"type": "string"}, "year": {"type": "integer"}},
        "required": ["title"],
        "additionalProperties": False,
    }


def test_a_generic_dataclass_is_a_component_for_each_of_its_arguments() -> None:
    schemas = JsonSchemas()
    assert schemas.of_hint(Page[Line]) == {"$ref": "#/components/schemas/PageLine"}
    assert schemas.of_hint(Page[int | None]) == {"$ref": "#/components/schemas/PageIntNoneType"}
    assert schemas.of_hint(Page[Page[Line]]) == {"$ref": "#/components/schemas/PagePageLine"}
    assert list(schemas.components) == ["Line", "PageIntNoneType", "PageLine", "PagePageLine"]
    page = schemas.components["PageLine"]
    assert isinstance(page, dict)
    assert page["properties"] == {
        "items": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}},
        "next": {"anyOf": [{"$ref": "#/components/schemas/PageLine"}, {"type": "null"}], "default": None},
    }


def test_an_alias_that_holds_itself_is_anything() -> None:
    class Alias:
        __value__: object = None

    Alias.__value__ = list[Alias]
    assert JsonSchemas().of_hint(Alias) == {}


def test_all_that_is_written_is_a_json_schema() -> None:
    schemas = JsonSchemas()
    for hint in (Tree, list[Line], tuple[int, str], Literal["a"] | None, dict[str, Tree | None], Decimal | None):
        Draft7Validator.check_schema(schemas.of_hint(hint))
    schemas.of_schema(OrderSchema())
    for schema in schemas.components.values():
        Draft7Validator.check_schema(schema)


@dataclass
class Defaults:
    place: tuple[int, str] = (1, "a")
    either: int | str | None = None
    wrong: Colour = "red"  # type: ignore[assignment]


def test_whatever_the_defaults_and_the_members_of_a_dataclass_it_is_described() -> None:
    schemas = JsonSchemas()
    schemas.of_hint(list[Defaults])
    found = schemas.components["Defaults"]["properties"]  # type: ignore[index,call-overload]
    assert found["place"]["items"] == [{"type": "integer"}, {"type": "string"}]
    assert found["place"]["default"] == [1, "a"]  # as every reader of the document has it
    assert found["either"]["default"] is None
    assert found["wrong"] == {"type": "string", "enum": ["red", "blue"]}
