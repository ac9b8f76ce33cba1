"""What type hints make of JSON, and JSON of values."""

import enum
import json
import typing
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, NewType, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields, post_load, pre_load, validate
from typing_extensions import TypeAliasType

from gemstone_events import strict_json
from gemstone_events.rpc.signatures.compound_fields import write
from gemstone_events.rpc.signatures.typed_fields import look_into
from gemstone_events.rpc.signatures.typed_parameters import TypeHintError, field_for, schema_for
from gemstone_events.strict_json import JsonValue


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shape(enum.Enum):
    ROUND = (1, 2)
    SQUARE = "square"


class Kind(enum.StrEnum):
    SMALL = "small"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    article: str
    count: Annotated[int, validate.Range(min=1)] = 1
    price: Decimal = field(default=Decimal("0.00"), metadata={"data_key": "unitPrice"})


@dataclass(frozen=True)
class Order:
    id: UUID
    placed: datetime
    lines: list[Line] = field(default_factory=list)
    colour: Colour | None = None
    replaces: "Order | None" = None
    notes: JsonValue = None


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclass
class Point2:
    x: int


@dataclass
class Point3(Point2):
    y: int = 0


Name = NewType("Name", str)

ROUND_TRIPS: list[tuple[object, object, object]] = [
    (str, "é", "é"),
    (int, 5, 5),
    (float, 5.5, 5.5),
    (bool, True, True),
    (None, None, None),
    (int | None, None, None),
    (Any, {"a": [1]}, {"a": [1]}),
    (object, None, None),
    (JsonValue, [None], [None]),
    (Name, "n", "n"),
    (Colour, Colour.RED, "red"),
    (Level, Level.HIGH, 2),
    (Shape, Shape.ROUND, "ROUND"),
    (Kind, Kind.SMALL, "small"),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02T03:04:05.000006+00:00"),
    (date, date(2026, 1, 2), "2026-01-02"),
    (time, time(3, 4), "03:04:00"),
    (timedelta, timedelta(seconds=90), 90.0),
    (UUID, UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal, Decimal("1.10"), "1.10"),
    (Decimal, Decimal("1E+999999"), "1E+999999"),
    (list[int], [1, 2], [1, 2]),
    (list, [1, "a"], [1, "a"]),
    (Sequence[Colour], [Colour.BLUE], ["blue"]),
    (set[int], {1}, [1]),
    (frozenset[str], frozenset("a"), ["a"]),
    (tuple[int, ...], (1, 2), [1, 2]),
    (tuple[int, Colour], (1, Colour.RED), [1, "red"]),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (dict, {"a": 1}, {"a": 1}),
    (Mapping[int, Decimal], {-7: Decimal(1)}, {"-7": "1"}),
    (dict[UUID, int], {UUID(int=1): 2}, {"00000000-0000-0000-0000-000000000001": 2}),
    (dict[Colour, int], {Colour.RED: 2}, {"red": 2}),
    (int | str, "5", "5"),
    (int | str, 5, 5),
    (Line | Order, Line(article="a"), {"article": "a", "count": 1, "unitPrice": "0.00"}),
    (Literal["a", 1], 1, 1),
    (Annotated[str, "a comment"], "a", "a"),
    (Annotated[str, fields.Email()], "a@example.org", "a@example.org"),
    (int | str | None, None, None),
    (Point2 | Point3, Point3(1, 2), {"x": 1, "y": 2}),
    (date | datetime, datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
    (datetime | date, date(2026, 1, 2), "2026-01-02"),
    (datetime | date | None, datetime(2026, 1, 2), "2026-01-02T00:00:00"),
    (Access, Access.READ | Access.WRITE, 3),
    (tuple[()], (), []),
    (typing.Tuple, (1, "a"), [1, "a"]),  # noqa: UP006 - bare, as older code has it
    (Final[int], 5, 5),
    (TypeAliasType("When", date), date(2026, 1, 2), "2026-01-02"),
]


@pytest.mark.parametrize(("hint", "value", "wire"), ROUND_TRIPS, ids=lambda each: repr(each)[:40])
def test_a_value_is_written_as_json_and_read_again(hint: object, value: object, wire: object) -> None:
    made = field_for(hint)
    written = json.loads(strict_json.dumps(write(made, value)))
    read = made.deserialize(written)

    assert (written, read) == (wire, value)
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("hint", "wire"),
    [
        (str, 5),
        (int, "5"),
        (int, 5.5),
        (int, True),
        (float, "5"),
        (float, True),
        (bool, 1),
        (bool, "yes"),
        (None, 0),
        (int, None),
        (list[int], None),
        (Colour, "green"),
        (Colour, "RED"),
        (Level, "1"),
        (Level, True),
        (datetime, "yesterday"),
        (datetime, 5),
        (date, {}),
        (timedelta, "long"),
        (timedelta, "5"),
        (timedelta, True),
        (set, [[1]]),
        (set[list[int]], [[1]]),
        (frozenset[Point2], [{"x": 1}]),
        (tuple[()], [1]),
        (UUID, "1"),
        (UUID, 5),
        (Decimal, "NaN"),
        (Decimal, []),
        (list[int], {"a": 1}),
        (list[int], "12"),
        (list[int], [1, "2"]),
        (tuple[int, int], [1]),
        (set[str], [1]),
        (dict[str, int], {"a": "1"}),
        (dict[int, int], {"a": 1}),
        (dict[int, int], {"1" * 21: 1}),
        (int | str, 5.5),
        (Literal[1], True),
        (Literal["a"], "b"),
        (Annotated[int, validate.Range(min=1)], 0),
        (Line, {"article": "a", "colour": "red"}),
        (Line, {}),
        (Line, []),
        (Line, {"article": "a", "count": 0}),
        (Line, {"article": "a", "price": "1"}),
        (Line, {"article": "a", "count": None}),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused(hint: object, wire: object) -> None:
    with pytest.raises(ValidationError):
        field_for(hint).deserialize(wire)


@pytest.mark.parametrize(
    ("hint", "value", "read"),
    [
        (list[int], (1, 2), [1, 2]),
        (list[int], deque([1, 2]), [1, 2]),
        (list[int], range(2), [0, 1]),
        (list[str], {"b": 1, "a": 2}.keys(), ["b", "a"]),
        (list[Point2], {"a": Point2(1)}.values(), [Point2(1)]),
        (Sequence[int], (1, 2), [1, 2]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], frozenset([1]), {1}),
        (frozenset[str], {"a": 1}.keys(), frozenset("a")),
        (Decimal, 3, Decimal(3)),
        (Decimal, 10**30, Decimal(10**30)),
        (dict[str, list[Decimal]], {"a": (1,)}, {"a": [Decimal(1)]}),
    ],
    ids=repr,
)
def test_what_holds_no_less_is_written_for_what_is_hinted(hint: object, value: object, read: object) -> None:
    made = field_for(hint)
    found = made.deserialize(json.loads(strict_json.dumps(write(made, value))))
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("hint", "value", "key", "wrong"),
    [
        (NewType("Number", int), 1, "1", "01"),
        (Annotated[int, validate.Range(min=1)], 1, "1", "0"),
        (TypeAliasType("Number", int), 1, "1", "x"),
        (Literal["a", "b"], "a", "a", "c"),
    ],
    ids=repr,
)
def test_keys_may_be_what_stands_for_an_integer_or_is_one_of_some_texts(
    hint: Any, value: object, key: str, wrong: str
) -> None:
    made = field_for(dict[hint, int])
    assert write(made, {value: 5}) == {key: 5}
    assert made.deserialize({key: 5}) == {value: 5}
    with pytest.raises(ValidationError):
        made.deserialize({wrong: 5})


@dataclass
class Search:
    text: str
    limit: int = None  # type: ignore[assignment]  # as many write it


class Place(typing.NamedTuple):
    name: str
    country: str = None  # type: ignore[assignment]


@pytest.mark.parametrize("value", [Search("a"), Place("a")], ids=repr)
def test_none_as_a_default_may_be_sent_whatever_the_hint_says(value: object) -> None:
    made = field_for(type(value))
    assert made.deserialize(write(made, value)) == value


@dataclass
class Figure(ABC):
    name: str

    @abstractmethod
    def area(self) -> float: ...


@pytest.mark.parametrize("hint", [list[Decimal], set[int], dict[str, Decimal], dict[int, int]], ids=repr)
def test_the_messages_about_many_mistakes_end(hint: object) -> None:
    count = 10_000
    wire = {str(number): "x" for number in range(count)} if "dict" in str(hint) else ["x"] * count
    with pytest.raises(ValidationError) as refused:
        field_for(hint).deserialize(wire)
    assert len(refused.value.messages) == 100


@pytest.mark.parametrize(("number", "digits"), [(9.99, "9.99"), (1e-7, "1E-7"), (5, "5"), (10**30, "1" + "0" * 30)])
def test_a_decimal_is_read_from_a_number_that_has_its_digits_for_certain(number: float, digits: str) -> None:
    assert field_for(Decimal).deserialize(number) == Decimal(digits)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (str, 5),
        (int, "5"),
        (int, 5.5),
        (float, Decimal(1)),
        (bool, 1),
        (None, 5),
        (int, None),
        (list[str], "abc"),
        (list[str], {"a": 1}),
        (list[str], 5),
        (dict[str, int], [1]),
        (tuple[int, int], (1, 2, 3)),
        (Line, {"article": "a"}),
        (Line, Order(uuid4(), datetime.now(UTC))),
        (Line, Line(article=5)),  # type: ignore[arg-type]
        (Line, Line(article="a", count=0)),
        (Colour, "red"),
        (Colour, Level.LOW),
        (datetime, "2026-01-01"),
        (date, datetime(2026, 1, 1)),
        (UUID, "x"),
        (Decimal, 1.5j),
        (int | str, 5.5),
    ],
    ids=repr,
)
def test_a_value_that_its_hint_forbids_is_not_written(hint: object, value: object) -> None:
    with pytest.raises(ValidationError):
        write(field_for(hint), value)


def test_messages_say_where_the_mistake_is() -> None:
    with pytest.raises(ValidationError) as refused:
        field_for(dict[str, list[Line]]).deserialize({"x": [{"article": "a"}, {"article": 5, "more": 1}]})

    assert json.loads(strict_json.dumps(refused.value.messages)) == {
        "x": {"value": {"1": {"article": ["Not a valid string."], "more": ["Unknown field."]}}}
    }


def test_a_dataclass_may_hold_itself() -> None:
    inner = Order(uuid4(), datetime.now(UTC), [Line(article="a", price=Decimal("1.5"))], Colour.RED)
    outer = Order(uuid4(), datetime.now(UTC), replaces=inner, notes={"a": [1, None]})
    made = field_for(Order)

    assert made.deserialize(json.loads(strict_json.dumps(write(made, outer)))) == outer


@dataclass
class Later:
    kinds: "ClassVar[int]" = 2
    name: "Final[str]" = "x"


def test_hints_that_are_text_may_say_what_belongs_to_the_class() -> None:
    assert write(field_for(Later), Later()) == {"name": "x"}
    assert field_for(Later).deserialize({"name": "y"}) == Later("y")


def _address_of_streets() -> type:
    @dataclass
    class Address:
        street: str

    @dataclass
    class Customer:
        home: Address
        work: Address

    return Customer


def _address_of_cities() -> type:
    @dataclass
    class Address:
        city: str

    @dataclass
    class Customer:
        home: Address
        work: Address

    return Customer


def test_dataclasses_of_one_name_are_not_mixed_up() -> None:
    for kind, name in ((_address_of_streets(), "street"), (_address_of_cities(), "city")):
        wire = {"home": {name: "a"}, "work": {name: "b"}}
        assert write(field_for(kind), field_for(kind).deserialize(wire)) == wire


@dataclass
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("not even")


def test_a_value_error_of_a_dataclass_refuses_the_value() -> None:
    with pytest.raises(ValidationError, match="not even"):
        field_for(Even).deserialize({"number": 1})


@dataclass
class Point:
    x: int

    class Schema(Schema):
        place = fields.Integer(attribute="x")

        @post_load
        def make(self, members: dict[str, int], **_: object) -> "Point":
            return Point(members["x"])


@dataclass
class Contact:
    mail: str = field(metadata={"marshmallow_field": fields.Email(required=True)})
    age: int = field(default=0, metadata={"validate": validate.Range(max=150)})
    secret: str = field(default="", init=False)


def test_a_dataclass_may_bring_its_schema_or_a_field_of_its_own() -> None:
    assert field_for(Point).deserialize({"place": 5}) == Point(5)
    assert write(field_for(Point), Point(5)) == {"place": 5}
    assert write(field_for(Contact), Contact("a@example.org", 5)) == {"mail": "a@example.org", "age": 5}
    with pytest.raises(ValidationError) as refused:
        field_for(Contact).deserialize({"mail": "a", "age": 151, "secret": "x"})
    assert isinstance(refused.value.messages, dict)
    assert refused.value.messages.keys() == {"mail", "age", "secret"}


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class Hidden:
    number: int
    seed: InitVar[int]


@dataclass
class Unresolved:
    other: "NoSuchClass"  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (bytes, "bytes cannot be read from JSON"),
        (complex, "use str, int"),
        (type[int], "cannot be read"),
        (dict[float, int], "float cannot be the key"),
        (dict[Level, int], "its values are integers"),
        (list[bytes], "bytes"),
        (dict[str | None, int], "cannot be the key"),
        (Literal[Colour.RED], "write texts, integers"),
        (Figure, "Figure is abstract: name the classes that derive from it"),
        (TypeAliasType("Names", "list['Name']"), "write it without quotes"),
        (dict[Literal["a", 1], int], "cannot be the key"),
        (dict[bool, int], "cannot be the key"),
        (Box, "~T may be anything"),
    ],
)
def test_a_hint_that_json_cannot_say_is_refused_by_name(hint: object, message: str) -> None:
    with pytest.raises(TypeHintError, match=message):
        look_into(field_for(hint))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Hidden, "'seed' is no field of it"),
        (Unresolved, "'NoSuchClass' is not defined: define it at the top of its module"),
    ],
)
def test_a_dataclass_that_json_cannot_say_is_refused_by_name(kind: type, message: str) -> None:
    with pytest.raises(TypeHintError, match=message):
        schema_for(kind)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(hint=st.sampled_from([hint for hint, _, _ in ROUND_TRIPS] + [Order, Even, Contact]), wire=_json)
def test_any_json_is_read_or_refused_and_nothing_else(hint: object, wire: object) -> None:
    made = field_for(hint)
    try:
        value = made.deserialize(wire)
    except ValidationError as error:
        strict_json.dumps(error.messages)
    else:
        write(made, value)


@dataclass
class Parcel:
    lines: Mapping[str, list[Line]]
    due: date


def test_what_cannot_be_written_is_told_by_member_key_and_place() -> None:
    wrong: Any = {"article": "pen"}
    parcel = Parcel({"a": [Line(article="pen")], "b": [Line(article="ink"), wrong]}, due="soon")  # type: ignore[arg-type]
    with pytest.raises(ValidationError) as refused:
        write(field_for(list[Parcel]), [Parcel({}, date(2026, 1, 2)), parcel])
    assert refused.value.messages[1]["lines"] == {"b": {1: ["Not of the type Line, but dict."]}}
    assert refused.value.messages[1]["due"] == ["Not of the type date, but str."]
    price: Any = "free"
    with pytest.raises(ValidationError) as refused:
        write(field_for(Line), Line(article="pen", price=price))
    assert refused.value.messages == {"unitPrice": ["Not of the type Decimal, but str."]}


@dataclass
class Chain:
    next: "Chain | None" = None


def test_what_holds_itself_is_not_written() -> None:
    chain = Chain()
    chain.next = chain
    with pytest.raises(ValidationError, match="holds itself"):
        write(field_for(Chain), chain)


@dataclass
class Nothing:
    pass


@pytest.mark.parametrize("value", [5, "x", [], True])
def test_what_is_no_object_is_told_which_members_are_expected(value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        field_for(list[Line]).deserialize([value])
    assert refused.value.messages == {0: ["Not an object with the members article, count, unitPrice."]}
    with pytest.raises(ValidationError) as refused:
        field_for(Nothing).deserialize(value)
    assert refused.value.messages == ["Not an object."]


def test_a_schema_of_the_authors_own_says_itself_what_is_wrong() -> None:
    class TextSchema(Schema):
        text = fields.String()

        @pre_load
        def read(self, value: object, **options: object) -> object:
            if value == "":
                raise ValidationError("empty")
            return {"text": value} if isinstance(value, str) else value

    @dataclass
    class Note:
        text: str
        Schema: ClassVar[type] = TextSchema

    assert field_for(Note).deserialize("x") == {"text": "x"}
    for value, messages in (("", {"_schema": ["empty"]}), (5, ["Not an object with the members text."])):
        with pytest.raises(ValidationError) as refused:
            field_for(Note).deserialize(value)
        assert refused.value.messages == messages
