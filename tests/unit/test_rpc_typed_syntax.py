"""Hints in the syntax of Python 3.12: aliases by ``type``, and type variables in brackets."""

import sys
from typing import Any

import pytest

from gemstone_events.rpc.description.json_schemas import JsonSchemas
from gemstone_events.rpc.signatures.typed_parameters import TypedFunction, TypeHintError, typed_function

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 cannot read it")

CODE = """
from dataclasses import dataclass
from datetime import date
from typing import Annotated

DAY = date(2026, 1, 2)

type Number = int
type Numbers = list[Number]
type Pair[T] = tuple[T, T]
type Maybe[T] = T | None
type Endless = list[Endless] | int
type Tree = list[Node]

@dataclass
class Page[T]:
    items: list[T]
    next: "Page[T] | None" = None

@dataclass
class Noted[T](Page[T]):
    note: T | None = None

@dataclass
class Either[T: (int, str)]:
    value: T

@dataclass
class Node:
    children: Tree

class Days(Page[date]):
    pass

def first[T: date](value: T) -> T: ...
def anything[T](value: T) -> T: ...

ROUND_TRIPS = [
    (Number, 1),
    (Numbers | None, [1]),
    (dict[Number, Maybe[date]], {1: DAY, 2: None}),
    (Pair[date], (DAY, DAY)),
    (Page[Pair[Number]], Page([(1, 2)], Page([]))),
    (Noted[date], Noted([DAY], None, DAY)),
    (Page[Page[Maybe[date]]], Page([Page([None, DAY])])),
    (Either[int], Either(1)),
    (Tree, [Node([Node([])])]),
    (Days, Days([DAY])),
    (Annotated[Maybe[Number], "a note"], None),
]
"""


@pytest.fixture(scope="module")
def module() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(CODE, "syntax.py", "exec"), names)  # noqa: S102 - for 3.11 it would be no module
    # Texts are looked up where the classes say that they are from.
    vars(sys.modules[__name__]).update({name: names[name] for name in ("Page", "Node")})
    return names


def typed(hint: object) -> TypedFunction:
    def keep(value: object) -> object:
        return value

    keep.__annotations__ = {"value": hint, "return": hint}
    found = typed_function("keep", keep, always=True)
    assert found is not None
    return found


def test_they_mean_what_they_mean_in_the_older_syntax(module: dict[str, Any]) -> None:
    for hint, value in module["ROUND_TRIPS"]:
        types = typed(hint)
        assert types.load_result(types.dump_result(value)) == value
        assert JsonSchemas().of_hint(hint)
    assert typed_function("first", module["first"]) is not None


@pytest.mark.parametrize(
    ("name", "message"), [("Endless", "holds itself"), ("Page", "T may be anything"), ("Pair", "T may be anything")]
)
def test_what_says_too_little_is_refused(module: dict[str, Any], name: str, message: str) -> None:
    with pytest.raises(TypeHintError, match=message):
        typed(module[name])
    with pytest.raises(TypeHintError, match="T may be anything"):
        typed_function("anything", module["anything"], always=True)
