"""TypedDicts, NamedTuples and generic dataclasses as hints, and that nothing gets lost between caller and service."""

import collections
import datetime as dt
import enum
import typing
from collections.abc import AsyncIterator, Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    Self,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import pytest
import typing_extensions
from marshmallow import EXCLUDE, ValidationError, validate
from typing_extensions import TypeAliasType

from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.call_errors import InvalidParamsError, LocalServiceException
from gemstone_events.rpc.client.remote_service import RemoteService
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.signatures.compound_fields import write
from gemstone_events.rpc.signatures.type_hints import is_rich
from gemstone_events.rpc.signatures.typed_fields import field_for, look_into
from gemstone_events.rpc.signatures.typed_parameters import TypedFunction, TypeHintError, typed_function
from gemstone_events.rpc.wire import ServerSettings
from gemstone_events.rpc.wires.memory.server import open_url

T = TypeVar("T")
U = TypeVar("U")
DAY = dt.date(2026, 1, 2)


class Colour(enum.Enum):
    RED = "red"


class Base(TypedDict):
    id: int


class Movie(Base, total=False):
    title: Required[str]
    made: dt.date
    note: Annotated[str, validate.Length(max=3)]


class Cast(TypedDict):
    movies: list[Movie]
    lead: Movie | None
    sequel: "NotRequired[Cast]"


class Draft(TypedDict, total=False):
    title: "Required[str]"
    pages: "int"


class Point(NamedTuple):
    """A place."""

    x: int
    day: dt.date = DAY


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: "Page[T] | None" = None


@dataclass
class Pair(Generic[T, U]):
    first: T
    second: U | None = None


@dataclass
class Days(Page[dt.date]):
    note: str = ""


@dataclass
class Mixed(Page[str], Generic[T]):  # T is not what it is in Page
    other: T | None = None


@dataclass
class Node:
    children: list[Self]
    parent: Self | None = None


@dataclass
class Endless(Generic[T]):
    value: T
    next: "Endless[list[T]] | None" = None


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str


@dataclass
class BigCat(Cat):
    size: int = 1


@dataclass
class Odd:
    """Its members are named like what marshmallow has."""

    fields: int
    kind: int
    Meta: int
    load: int = 1
    _kind: int = 2


class Ignoring:
    class Meta:
        unknown = EXCLUDE


@dataclass
class Flat(Ignoring):
    x: int


@dataclass
class Deep(Ignoring):
    x: int
    y: int


class GenericDict(TypedDict, Generic[T]):
    item: T


class Numbers(NamedTuple):
    one: int
    two: int


class GenericTuple(NamedTuple, Generic[T]):
    item: T


Dashed = TypedDict("Dashed", {"in-reply-to": int, "load": NotRequired[str]})
Dotted = TypedDict("Dotted", {"a.b": int})


class Foreign(typing_extensions.TypedDict):
    day: dt.date
    note: typing_extensions.NotRequired[str]


Bare = collections.namedtuple("Bare", "a b")
Place = NewType("Place", Point)
Bound = TypeVar("Bound", bound=Point)
Either = TypeVar("Either", int, str)
Points = TypeAliasType("Points", list[Point])
ByName = TypeAliasType("ByName", dict[str, T], type_params=(T,))
movie: Movie = {"id": 1, "title": "M"}

ROUND_TRIPS: list[tuple[Any, object]] = [
    (Base, {"id": 1}),
    (Movie, movie),
    (Movie, {**movie, "made": DAY, "note": "abc"}),
    (Cast, {"movies": [movie], "lead": None, "sequel": {"movies": [], "lead": movie}}),
    (Draft, {"title": "a"}),
    (Dashed, {"in-reply-to": 1, "load": "x"}),
    (Foreign, {"day": DAY}),
    (Point, Point(1)),
    (Point, Point(1, dt.date(1999, 1, 1))),
    (Bare, Bare(1, ["x"])),
    (Page[Point], Page([Point(1)], Page([]))),
    (Page[Movie], Page([movie])),
    (Page[Page[Decimal]], Page([Page([Decimal("1.10")])])),
    (Page[int | None], Page([1, None])),
    (Pair[int, dt.date], Pair(1, DAY)),
    (Days, Days([DAY], Page([DAY]), "x")),
    (Mixed[dt.date], Mixed(["a"], None, DAY)),
    (Node, Node([Node([])], Node([]))),
    (Annotated[Page[int], "a comment"], Page([1])),
    (Odd, Odd(1, 2, 3)),
    (Place, Point(1)),
    (Bound, Point(1)),
    (Either, "x"),
    (Points, [Point(1)]),
    (ByName[Point], {"a": Point(1)}),
    (Literal["a", 1], "a"),
    (Colour, Colour.RED),
    (int | None, None),
    (Sequence[Point], [Point(1)]),
    (MutableSequence[int], [1]),
    (Mapping[str, Point], {"a": Point(1)}),
    (tuple[int, ...], (1, 2)),
    (tuple[int, Point], (1, Point(1))),
    (set[dt.date], {DAY}),
    (dt.datetime, dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.timezone(dt.timedelta(hours=1)))),
    (UUID, UUID(int=1)),
    (Decimal, Decimal("1.10")),
    (str | UUID, UUID(int=1)),
    (str | Colour, Colour.RED),
    (str | dt.datetime | Decimal, Decimal(1)),
    (float | int, 5),
    (Decimal | float, 1.5),
    (Decimal | float, Decimal("1.5")),
    (int | bool, True),
    (object | Point, Point(1)),
    (dict[str, str] | Cat, Cat("a")),
    (Flat | Deep, Deep(1, 2)),
    (Cat | BigCat, BigCat("a", 2)),
    (Annotated[int, {"unhashable": 1}], 5),
]


def keeping(hint: object) -> TypedFunction:
    """The types of a function that returns what it gets."""

    def keep(value: object) -> object:
        return value

    keep.__annotations__ = {"value": hint, "return": hint}
    found = typed_function("keep", keep, always=True)
    assert found is not None
    return found


class Keeper:
    """Calls a service on the wire in memory, which returns what it gets."""

    def __init__(self) -> None:
        self.hint: object = object
        self.got: list[object] = []
        self._service = RemoteService("memory://hints#keeper")

    def __repr__(self) -> str:
        return "Keeper()"

    async def dispatch(self, body: bytes, context: CallContext) -> bytes | None:
        method = Method("keep", self.keep, types=keeping(self.hint))

        async def invoke(method: Method, args: Sequence[Any], kwargs: Mapping[str, Any], context: CallContext) -> Any:
            return method.function(*args, **kwargs)

        return await Dispatcher(MethodTable([method]), invoke=invoke).dispatch(body, context)

    def keep(self, value: object) -> object:
        self.got.append(value)
        return value

    async def call(self, hint: object, value: object) -> object:
        """Call as a proxy does."""
        self.hint, types = hint, keeping(hint)
        return types.load_result((await self._service.call_method_async("keep", types.dump((value,), {}))).result)

    async def send(self, hint: object, wire: Any) -> object:
        """Call as a stranger does, who sends anything."""
        self.hint = hint
        return (await self._service.call_method_async("keep", [wire])).result

    async def close(self) -> None:
        await self._service.aclose()


@pytest.fixture
async def keeper() -> AsyncIterator[Keeper]:
    settings = ServerSettings(
        service="keeper", presence=lambda: Presence(service="keeper", instance="1"), concurrency=1
    )
    wire, made = open_url("memory://hints", settings), Keeper()
    await wire.start(made.dispatch)
    yield made
    await made.close()
    await wire.close()


@pytest.mark.parametrize(("hint", "value"), ROUND_TRIPS, ids=lambda each: repr(each)[:50])
async def test_a_value_arrives_and_comes_back_as_it_was(keeper: Keeper, hint: object, value: object) -> None:
    result = await keeper.call(hint, value)

    assert (keeper.got, result) == ([value], value)
    assert type(keeper.got[0]) is type(result) is type(value)


@pytest.mark.parametrize(
    ("hint", "wire", "messages"),
    [
        (Movie, {"id": "1", "title": "M"}, {"id": ["Not a valid integer."]}),
        (Movie, {"id": 1}, {"title": ["Missing data for required field."]}),
        (Movie, {**movie, "stars": 5}, {"stars": ["Unknown field."]}),
        (Movie, {**movie, "note": "abcd"}, {"note": ["Longer than maximum length 3."]}),
        (Cast, {"movies": [{"title": 1}], "lead": None}, {"movies": {"0": {"id": [...], "title": [...]}}}),
        (Draft, {"pages": 1}, {"title": ["Missing data for required field."]}),
        (Movie, [], ["Not an object with the members id, title, made, note."]),
        (Point, [1], ["Not an object with the members x, day."]),
        (Point, {"x": "1"}, {"x": ["Not a valid integer."]}),
        (Page[Point], {"items": [{"x": 1}, {}]}, {"items": {"1": {"x": ["Missing data for required field."]}}}),
        (Days, {"items": ["soon"]}, {"items": {"0": ["Not a valid date."]}}),
        (Mixed[dt.date], {"items": [1]}, {"items": {"0": ["Not a valid string."]}}),
        (Node, {"children": [{}]}, {"children": {"0": {"children": ["Missing data for required field."]}}}),
        (Either, 1.5, [["Not a valid integer."], ["Not a valid string."]]),
        (Decimal, 0.12345678901234567890, ["Too many digits for a number: send a text."]),
        (float, 2**60 + 1, ["Too many digits for a float."]),
        (dict[int, int], {"1": 1, "01": 2}, {"01": {"key": ["Not a valid integer."]}}),
        (dict[UUID, int], {str(UUID(int=1)): 1, UUID(int=1).hex: 2}, ["Several keys mean the same."]),
    ],
    ids=lambda each: repr(each)[:50],
)
async def test_what_a_stranger_sends_is_refused_by_member(
    keeper: Keeper, hint: object, wire: object, messages: object
) -> None:
    with pytest.raises(InvalidParamsError) as refused:
        await keeper.send(hint, wire)

    assert keeper.got == []
    data: Any = refused.value.data
    assert data.keys() == {"value"}
    assert matches(data["value"], messages), data


def matches(found: object, wanted: object) -> bool:
    """Tell whether a JSON value is another one, in which an ellipsis stands for anything."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(matches(found[key], wanted[key]) for key in wanted)
    return wanted == [...] or found == wanted


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (Movie, {**movie, "stars": 5}, "Unknown field"),
        (Movie, {"id": 1}, "Missing data"),
        (Movie, [movie], "Not of the type Movie"),
        (Point, (1, DAY), "Not of the type Point"),
        (Page[Point], Page([1]), "Not of the type Point"),
        (
            Cat,
            BigCat("a"),
            r"Not of the type Cat itself: what only BigCat has would get lost; the hint may be Cat \| BigCat",
        ),
        (UUID | str, str(UUID(int=1)), r"Would be read as UUID\(.*, a UUID"),
        (Colour | str, "red", "Would be read as <Colour.RED: 'red'>, a Colour"),
        (dict[str, str] | Cat, {"name": "a"}, "Would be read as Cat"),
        (list[list[int]] | list[tuple[int, ...]], [(1,)], "Would be read as"),
        (list[int], {1}, "Not of the type list, but set"),
        (set[int], [1, 1], "Not of the type set, but list"),
        (tuple[int, int], {1, 2}, "Not of the type tuple, but set"),
        (UUID, str(UUID(int=1)), "Not of the type UUID, but str"),
        (Decimal, "1.5", "Not of the type Decimal, but str"),
        (Decimal, 1.5, "Not of the type Decimal, but float"),
        (Decimal, True, "Not of the type Decimal, but bool"),
        (float, 2**60 + 1, "Too many digits"),
        (dt.timedelta, dt.timedelta(days=999_999, microseconds=1), "Too long to be exact"),
        (dt.datetime, DAY, "Not of the type datetime, but date"),
        (dt.time, "noon", "Not of the type time, but str"),
        (list[int], Numbers(1, 2), "Not of the type list, but Numbers"),
        (dict[str, Iterable[int]], {"a": iter([1])}, "Can be iterated only once: make a list of it"),
    ],
    ids=lambda each: repr(each)[:50],
)
async def test_what_would_not_come_back_as_it_was_is_not_sent(
    keeper: Keeper, hint: object, value: object, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        write(field_for(hint), value)
    with pytest.raises(LocalServiceException) as refused:
        await keeper.call(hint, value)
    assert isinstance(refused.value.data, dict)
    assert refused.value.data.keys() == {"value"}
    assert keeper.got == []


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (Page, "'items' of Page: ~T may be anything: say what it is where it is used, as in Page"),
        (Page[T], "~T may be anything"),  # type: ignore[valid-type]
        (T, "~T may be anything"),
        (Page[bytes], "'items' of .*Page.bytes.: bytes cannot be read from JSON"),
        (GenericDict[int], "use a generic dataclass instead"),
        (GenericTuple[int], "use a generic dataclass instead"),
        (GenericDict, "~T may be anything"),
        (Endless[int], "Endless holds itself with ever other arguments"),
        (Self, "typing.Self cannot be read from JSON"),
        (Dotted, "the member 'a.b' of Dotted cannot be read: its name has a dot"),
        (Cat | Dog, "Cat and Dog have the same members in JSON, and cannot be told apart"),
        (list[int] | set[int], "list and set are both arrays in JSON"),
        (tuple[int, int] | list[str], "tuple and list are both arrays in JSON"),
        (float | dt.timedelta | None, "timedelta and float are both numbers in JSON"),
        (Page[float | dt.timedelta], "both numbers"),
    ],
    ids=repr,
)
def test_what_cannot_come_back_as_it_was_is_refused_at_declaration(hint: object, message: str) -> None:
    with pytest.raises(TypeHintError, match=f"(?s)the type hint of 'value' of 'keep': .*{message}"):
        keeping(hint)


@pytest.mark.parametrize(
    "hint",
    [
        Movie,
        list[Movie],
        Foreign,
        Point,
        Bare,
        Page[int],
        Place,
        Bound,
        ByName[Point],
        Points,
        tuple[int, ...],
        typing.Tuple,  # noqa: UP006
        set[int],
        frozenset,
        typing.AbstractSet[int],
        Literal["a"],
        Annotated[int, validate.Range(min=1)],
    ],
    ids=repr,
)
def test_what_json_has_not_itself_makes_a_method_typed(hint: object) -> None:
    assert is_rich(hint)


@pytest.mark.parametrize(
    "hint",
    [int | None, Sequence[int], Mapping[str, str], Either, ByName[int], Annotated[int, "x"], Iterable, T],
    ids=repr,
)
def test_what_json_has_itself_does_not(hint: object) -> None:
    assert not is_rich(hint)


def test_records_that_a_literal_tells_apart_may_have_the_same_members() -> None:
    @dataclass
    class Paid:
        amount: int
        kind: Literal["paid"] = "paid"

    @dataclass
    class Open:
        amount: int
        kind: Literal["open"] = "open"

    made = field_for(Paid | Open)
    look_into(made)
    assert made.deserialize(write(made, Open(1))) == Open(1)


def test_a_type_variable_need_not_be_known_to_the_module() -> None:
    local = TypeVar("local")

    @dataclass
    class Box(Generic[local]):
        item: "local"

    made = field_for(Box[dt.date])
    assert made.deserialize(write(made, Box(DAY))) == Box(DAY)


def test_an_alternative_need_not_compare_equal() -> None:
    @dataclass(eq=False)
    class Mark:
        name: str

    made = field_for(Mark | int)
    assert write(made, Mark("a")) == {"name": "a"}


def test_an_alias_that_holds_itself_is_refused() -> None:
    class Alias:
        __value__: object = None

    Alias.__value__ = list[Alias]
    with pytest.raises(TypeHintError, match="holds itself"):
        keeping(Alias)
