"""What is one of several: written as what it is, read as what it was, and neither slowly nor with many words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import pytest
from marshmallow import ValidationError, validate

from gemstone_events import strict_json
from gemstone_events.rpc.signatures.compound_fields import write
from gemstone_events.rpc.signatures.typed_fields import field_for, look_into

DEPTH = 12


class Counting(validate.Validator):
    """Counts what is looked at."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, value: object) -> object:
        self.count += 1
        return value


LOOKED_AT = Counting()


@dataclass
class Number:
    value: Annotated[int, LOOKED_AT]
    kind: Literal["number"] = "number"


@dataclass
class Minus:
    of: "Minus | Size | Number"
    kind: Literal["minus"] = "minus"


@dataclass
class Size:
    of: "Minus | Size | Number"
    kind: Literal["size"] = "size"


class Leaf(TypedDict):
    value: Annotated[int, LOOKED_AT]


class Whole(TypedDict):
    inner: "Whole | Text | Leaf"
    kind: Literal["whole"]


class Text(TypedDict):
    inner: "Whole | Text | Leaf"
    kind: Literal["text"]


@dataclass
class Ints:
    inner: "Ints | Strs | None"
    tags: list[int] = field(default_factory=list)


@dataclass
class Strs:
    inner: "Ints | Strs | None"
    tags: list[str] = field(default_factory=list)


class Point(NamedTuple):
    x: int
    y: int


def nested(inner: Any, name: str, **others: Any) -> Any:
    for _ in range(DEPTH):
        inner = {name: inner, **others}
    return inner


def test_alternatives_inside_alternatives_are_looked_at_once_whatever_is_wrong_with_them() -> None:
    made = field_for(Minus | Size | Number)
    expression: Minus | Size | Number = Number(1)
    for _ in range(DEPTH):
        expression = Size(expression)
    LOOKED_AT.count = 0
    raw = write(made, expression)
    assert made.deserialize(raw) == expression
    assert LOOKED_AT.count <= 10

    with pytest.raises(ValidationError) as refused:
        made.deserialize(nested({"value": "x", "kind": "number"}, "of", kind="size"))
    assert refused.value.messages == nested({"value": ["Not a valid integer."]}, "of")


def test_alternatives_of_typed_dicts_are_written_once_however_deep_they_are() -> None:
    LOOKED_AT.count = 0
    value = nested({"value": 1}, "inner", kind="text")
    assert write(field_for(Whole | Text | Leaf), value) == value
    assert LOOKED_AT.count <= 10


def test_why_no_alternative_fits_is_told_shortly() -> None:
    with pytest.raises(ValidationError) as refused:
        field_for(Ints | Strs).deserialize(nested(5, "inner", tags=[]))
    assert len(strict_json.dumps(refused.value.messages)) < 10_000


def test_only_the_record_is_told_about_that_a_literal_names() -> None:
    made = field_for(list[Minus | Number])
    with pytest.raises(ValidationError) as refused:
        made.deserialize([{"kind": "number"}, {"kind": "nothing", "of": 1}])
    assert refused.value.messages[0] == {"value": ["Missing data for required field."]}
    assert "Must be one of: minus." in str(refused.value.messages[1])
    assert "Must be one of: number." in str(refused.value.messages[1])


@pytest.mark.parametrize("hint", [Iterable[int] | Iterable[str], list[int] | list[str], Iterable[str], list[str] | int])
def test_nothing_that_a_generator_yields_gets_lost_between_alternatives(hint: object) -> None:
    assert write(field_for(hint), (each for each in "ab")) == ["a", "b"]
    with pytest.raises(ValidationError, match="make a list of it"):
        write(field_for(dict[str, hint]), {"a": iter("ab")})  # type: ignore[valid-type]


def test_what_a_generator_raises_is_no_mistake_of_its_type() -> None:
    with pytest.raises(ValueError, match="mine"):
        write(field_for(list[int]), (int(each) if each else _fail() for each in ("1", "")))


def _fail() -> int:
    raise ValueError("mine")


ALTERNATIVES: list[tuple[Any, object]] = [
    (Sequence[int] | Point, Point(1, 2)),
    (tuple[int, int] | Point, Point(1, 2)),
    (list[list[int]] | list[Point], [Point(1, 2)]),
    (list[Decimal] | list[int | bool], [True]),
    (Decimal | int, 3),
]


@pytest.mark.parametrize(("hint", "value"), ALTERNATIVES, ids=repr)
def test_what_has_the_type_of_an_alternative_is_written_as_that(hint: object, value: object) -> None:
    made = field_for(hint)
    look_into(made)
    read = made.deserialize(write(made, value))
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("hint", "value", "read"),
    [
        (list[int] | str, (1, 2), [1, 2]),
        (dict[str, list[int]] | list[int], {"a": (1,)}, {"a": [1]}),
        (list[Decimal] | str, [3], [Decimal(3)]),
        (list[int | str] | int, ("a", 1), ["a", 1]),
    ],
    ids=repr,
)
def test_what_has_the_type_of_none_is_written_as_what_has_as_much(hint: object, value: object, read: object) -> None:
    made = field_for(hint)
    assert made.deserialize(write(made, value)) == read
