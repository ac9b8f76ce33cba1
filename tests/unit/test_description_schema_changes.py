"""What breaks between two versions of a JSON Schema, for those who give and for those who take."""

from collections.abc import Mapping

import pytest

from gemstone_events.rpc.description.changes import Change
from gemstone_events.rpc.description.references import DescriptionError, References
from gemstone_events.rpc.description.schema_changes import SchemaComparison

INT, NUMBER, STR, NULL = ({"type": kind} for kind in ("integer", "number", "string", "null"))
LINE = {
    "type": "object",
    "properties": {"article": STR, "count": INT},
    "required": ["article"],
    "additionalProperties": False,
}
ARTICLE = {**LINE, "properties": {"article": STR}}


def with_line(**changes: object) -> dict[str, object]:
    return {**LINE, **changes}


def of_params(old: object, new: object) -> list[Change]:
    """Return what breaks for callers who know ``old``."""
    found = SchemaComparison(References({"s": old}), References({"s": new}), new_gives=False)
    return list(found.changes(old, new, "p"))


def of_results(old: object, new: object) -> list[Change]:
    """Return what breaks for readers who know ``old``."""
    found = SchemaComparison(References({"s": new}), References({"s": old}), new_gives=True)
    return list(found.changes(new, old, "p"))


def breaks(changes: list[Change]) -> bool:
    return any(change.is_breaking for change in changes)


NARROWER = [
    # Pairs of a schema and one that takes less. A parameter may become wider, a result narrower, never the reverse.
    ({}, INT),
    (NUMBER, INT),
    ({"type": ["integer", "null"]}, INT),
    ({"anyOf": [INT, STR]}, INT),
    ({"anyOf": [INT, NULL]}, {"type": "integer"}),
    (STR, {"type": "string", "enum": ["a", "b"]}),
    ({"enum": ["a", "b"]}, {"enum": ["a"]}),
    ({"enum": ["a", None]}, {"enum": ["a"]}),
    ({"enum": ["a", "b"]}, {"const": "a"}),
    (STR, {"type": "string", "format": "uuid"}),
    (INT, {"type": "integer", "minimum": 0}),
    ({"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 1}),
    ({"type": "integer", "maximum": 9}, {"type": "integer", "maximum": 8}),
    ({"type": "string", "maxLength": 9}, {"type": "string", "maxLength": 8}),
    ({"type": "integer", "minimum": 1}, {"type": "integer", "exclusiveMinimum": 1}),
    ({"type": "integer", "exclusiveMinimum": 1}, {"type": "integer", "minimum": 2}),
    ({"type": "integer", "maximum": 1}, {"type": "integer", "exclusiveMaximum": 1}),
    ({"type": "integer", "exclusiveMaximum": 1}, {"type": "integer", "maximum": 0}),
    ({"type": "integer", "maximum": 3}, {"enum": [1, 2, 3]}),
    ({"type": "string", "minLength": 1}, {"enum": ["a"]}),
    (LINE, {"const": {"article": "a", "count": 1}}),
    ({"type": "array", "items": INT}, {"const": [1, 2]}),
    ({"type": "string", "format": "uuid"}, {"enum": ["a"], "format": "uuid"}),
    (STR, {"type": "string", "minLength": 1}),
    (STR, {"type": "string", "pattern": "a+"}),
    ({"type": "array", "items": NUMBER}, {"type": "array", "items": INT}),
    ({"type": "array"}, {"type": "array", "items": INT}),
    ({"type": "array", "items": INT}, {"type": "array", "items": INT, "minItems": 1}),
    ({"type": "array", "items": INT}, {"type": "array", "items": INT, "uniqueItems": True}),
    ({"type": "array", "items": INT}, {"type": "array", "items": [INT, INT]}),
    ({"type": "object"}, {"type": "object", "additionalProperties": INT}),
    ({"type": "object", "additionalProperties": NUMBER}, {"type": "object", "additionalProperties": INT}),
    (LINE, with_line(required=["article", "count"])),
    (LINE, with_line(properties={"article": STR, "count": {**INT, "minimum": 1}})),
    ({"type": "array", "items": LINE}, {"type": "array", "items": with_line(required=["article", "count"])}),
]


@pytest.mark.parametrize(("wide", "narrow"), NARROWER, ids=str)
def test_a_parameter_may_take_more_and_not_less(wide: object, narrow: object) -> None:
    assert breaks(of_params(wide, narrow))
    assert of_params(narrow, wide) == []


@pytest.mark.parametrize(("wide", "narrow"), NARROWER, ids=str)
def test_a_result_may_say_less_and_not_more(wide: object, narrow: object) -> None:
    assert breaks(of_results(narrow, wide))
    assert of_results(wide, narrow) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [(INT, STR), (INT, {"type": "boolean"}), (STR, {"type": "array"}), (LINE, STR), ({"enum": ["a"]}, {"enum": ["b"]})],
    ids=str,
)
def test_another_type_breaks_both_ways(old: object, new: object) -> None:
    assert breaks(of_params(old, new))
    assert breaks(of_results(old, new))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (INT, {"type": "integer", "description": "a number", "default": 1, "x-unit": "s", "title": "N"}),
        ({"type": ["integer", "null"]}, {"anyOf": [NULL, INT]}),
        ({"oneOf": [INT, STR]}, {"type": ["string", "integer"]}),
        ({"const": 1}, {"enum": [1]}),
        ({"enum": ["a", "b"]}, {"enum": ["b", "a"]}),
        ({"allOf": [LINE]}, LINE),
        ({"anyOf": [{"type": ["string", "null"]}, INT]}, {"anyOf": [INT, STR, NULL]}),
        (True, {}),
        ({"anyOf": [ARTICLE, LINE]}, {"anyOf": [LINE, ARTICLE]}),
        (with_line(required=["article"]), with_line(properties={"count": INT, "article": STR})),
        (
            {"allOf": [{"type": "object", "properties": {"a": INT}, "required": ["a"]}, {"properties": {"b": STR}}]},
            {"type": "object", "properties": {"a": INT, "b": STR}, "required": ["a"]},
        ),
    ],
    ids=str,
)
def test_two_ways_to_say_the_same_are_no_change(one: object, other: object) -> None:
    for changes in (of_params, of_results):
        assert changes(one, other) == []
        assert changes(other, one) == []


def test_a_new_property_that_is_required_breaks_callers_only() -> None:
    new = with_line(properties={**LINE["properties"], "unit": STR}, required=["article", "unit"])
    assert of_params(LINE, new) == [Change("p/properties/unit", "is new and required")]
    assert not breaks(of_results(LINE, new))


def test_a_new_property_that_may_be_left_out_breaks_nobody() -> None:
    new = with_line(properties={**LINE["properties"], "unit": STR})
    assert of_params(LINE, new) == []


def test_a_new_property_is_risky_for_readers_that_refuse_what_they_do_not_know() -> None:
    new = with_line(properties={**LINE["properties"], "unit": STR})
    [change] = of_results(LINE, new)
    assert not change.is_breaking
    assert change.path == "p/properties/unit"
    lenient = with_line(additionalProperties=True)
    assert of_results(lenient, {**new, "additionalProperties": True}) == []


def test_a_property_that_is_gone_breaks_readers_and_callers_whom_the_service_now_refuses() -> None:
    new = with_line(properties={"article": STR})
    assert of_results(LINE, new) == [Change("p/properties/count", "is gone")]
    assert of_params(LINE, new) == [Change("p/properties/count", "is gone, and refused")]


def test_a_property_that_is_gone_and_ignored_is_risky_for_callers() -> None:
    new = with_line(properties={"article": STR}, additionalProperties=True)
    assert of_params(LINE, new) == [Change("p/properties/count", "is gone, and ignored", is_breaking=False)]


def test_a_property_that_may_be_missing_breaks_readers() -> None:
    assert of_results(LINE, with_line(required=[])) == [Change("p/properties/article", "may be missing now")]
    assert of_params(LINE, with_line(required=[])) == []


def test_a_service_that_begins_to_refuse_other_members_breaks_callers() -> None:
    lenient = with_line(additionalProperties=True)
    assert of_params(lenient, LINE) == [
        Change("p/additionalProperties", "members that are not described are refused now")
    ]
    assert not breaks(of_results(LINE, lenient))


def test_a_requirement_without_description_counts_too() -> None:
    old, new = {"type": "object"}, {"type": "object", "required": ["id"]}
    assert of_params(old, new) == [Change("p/properties/id", "is new and required")]
    assert of_results(new, old) == [Change("p/properties/id", "is gone")]


def test_whether_one_pattern_takes_all_of_another_is_not_known() -> None:
    [change] = of_params({"type": "string", "pattern": "a+"}, {"type": "string", "pattern": "a*"})
    assert not change.is_breaking
    assert change.message == "pattern changed from a+ to a*"


def test_values_that_are_gone_or_new_are_named() -> None:
    old, new = {"enum": ["open", "paid", 1]}, {"enum": ["open", True]}
    assert [change.message for change in of_params(old, new)] == ["the value 'paid' is gone", "the value 1 is gone"]
    assert [change.message for change in of_results(old, new)] == ["the value True is new"]


def test_messages_say_old_first_whoever_gives() -> None:
    assert of_params(NUMBER, INT)[0].message == "type changed from number to integer"
    assert of_results(INT, NUMBER)[0].message == "type changed from integer to number"
    assert of_results(INT, {"anyOf": [INT, STR]})[0].message == "type changed from integer to string"


def test_of_alternatives_the_one_that_fits_best_explains_the_change() -> None:
    old = {"anyOf": [LINE, NULL]}
    new = {"anyOf": [STR, with_line(required=["article", "count"])]}
    assert of_params(old, new) == [
        Change("p/properties/count", "is required now"),
        Change("p", "type changed from null to string or object"),
    ]


def test_a_tuple_is_compared_place_by_place() -> None:
    pair = {"type": "array", "items": [INT, STR]}
    assert of_params(pair, {"type": "array", "items": [NUMBER, STR]}) == []
    assert [change.path for change in of_params(pair, {"type": "array", "items": [INT, INT]})] == ["p/items/1"]
    [change] = of_params(pair, {"type": "array", "items": [INT]})
    assert change == Change("p/items", "the number of items changed from 2 to 1")
    assert of_params(pair, {"type": "array", "items": {"anyOf": [INT, STR]}}) == []
    assert [change.path for change in of_params(pair, {"type": "array", "items": INT})] == ["p/items/1"]


# References.


def tree(**member: object) -> dict[str, object]:
    node = {"type": "object", "properties": {"name": STR, "child": {"$ref": "#/d/Node"}, **member}}
    return {"d": {"Node": node}, "s": {"$ref": "#/d/Node"}}


def compared(old: Mapping[str, object], new: Mapping[str, object]) -> list[Change]:
    found = SchemaComparison(References(old), References(new), new_gives=False)
    return list(found.changes(old["s"], new["s"], "p"))


def test_a_schema_that_holds_itself_is_compared_once() -> None:
    assert compared(tree(), tree()) == []
    [change] = compared(tree(age=NUMBER), tree(age=INT))
    assert change.path == "p/properties/age"


def test_schemas_that_hold_themselves_out_of_step_come_to_an_end() -> None:
    twice = tree(child={"type": "object", "properties": {"name": STR, "child": {"$ref": "#/d/Node"}}})
    assert compared(tree(), twice) == []
    assert compared(twice, tree()) == []


def test_a_shared_schema_does_not_hide_a_change_that_was_met_in_an_alternative() -> None:
    old = {"d": {"A": {"type": "object", "properties": {"a": INT}}}, "s": [{"$ref": "#/d/A"}, {"$ref": "#/d/A"}]}
    new = {"d": {"A": {"type": "object", "properties": {"a": STR}}}, "s": [{"$ref": "#/d/A"}, {"$ref": "#/d/A"}]}
    found = SchemaComparison(References(old), References(new), new_gives=False)
    first = list(found.changes(old["s"][0], new["s"][0], "first"))
    again = list(found.changes(old["s"][1], {"anyOf": [NULL, new["s"][1]]}, "second"))
    assert breaks(first)
    assert breaks(again)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/nowhere"},
        {"$ref": "http://example.com/schema.json"},
        {"$ref": "#/s"},
        {"anyOf": [{"$ref": "#/s"}]},
        {"allOf": [{"$ref": "#/s"}]},
        {"allOf": [{"anyOf": [INT, STR]}]},
        {"anyOf": [INT] * 101},
        {"$ref": "#/s/anyOf/x", "anyOf": []},
        "integer",
        5,
        None,
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_followed_is_an_error(schema: object) -> None:
    with pytest.raises(DescriptionError):
        of_params(schema, INT)
    with pytest.raises(DescriptionError):
        of_results(schema, INT)


def test_a_document_that_doubles_at_every_step_takes_no_time() -> None:
    document: dict[str, object] = {f"s{n}": {"items": [{"$ref": f"#/s{n + 1}"}] * 2} for n in range(60)}
    document |= {"s60": INT, "s": {"$ref": "#/s0"}}
    assert compared(document, document) == []


@pytest.mark.parametrize(
    ("values", "schema", "gone"),
    [
        ([1, 30], {"type": "integer", "maximum": 3}, "30"),
        (["a", "aaa"], {"type": "string", "maxLength": 2}, "'aaa'"),
        (["a"], {"type": "string", "format": "date-time"}, "'a'"),
        ([{"article": 1}], LINE, "{'article': 1}"),
        ([[1], ["x"]], {"type": "array", "items": INT}, "['x']"),
        ([1, True], INT, "True"),
    ],
    ids=str,
)
def test_values_have_to_be_within_all_bounds(values: list[object], schema: object, gone: str) -> None:
    assert of_params({"enum": values}, schema) == [Change("p", f"the value {gone} is gone")]
