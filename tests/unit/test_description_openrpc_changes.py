"""What a new version of a service breaks for its callers."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from gemstone_events.rpc.description.changes import Change
from gemstone_events.rpc.description.openrpc import ServiceInfo, openrpc_document
from gemstone_events.rpc.description.openrpc_changes import check_openrpc, openrpc_changes
from gemstone_events.rpc.description.references import DescriptionError
from gemstone_events.rpc.errors import RpcError
from gemstone_events.rpc.methods import Method

PARAMS = "methods/call/params"


class OutOfStock(RpcError):
    code, message = 1001, "Out of stock"


def document(*methods: Method) -> dict[str, Any]:
    return openrpc_document(methods, ServiceInfo("shop"))


def changes(old: object, new: object, **options: Any) -> list[Change]:
    """Return what changes when one function takes the place of another."""
    return openrpc_changes(document(Method("call", old)), document(Method("call", new, **options)))  # type: ignore[arg-type]


def call(customer: str, count: int = 1) -> int:
    return count


def test_nothing_changes_between_equal_documents() -> None:
    assert changes(call, call) == []


def test_a_method_that_is_gone_breaks_its_callers() -> None:
    old = document(Method("a", call), Method("b", call))
    assert openrpc_changes(old, document(Method("b", call))) == [Change("methods/a", "the method is gone")]
    assert openrpc_changes(document(Method("b", call)), old) == []


def test_a_method_that_strangers_do_not_see_may_only_be_hidden() -> None:
    old = document(Method("a", call), Method("b", call))
    (gone,) = openrpc_changes(old, document(Method("b", call)), new_is_for_strangers=True)
    assert (gone.path, gone.is_breaking) == ("methods/a", True)
    assert gone.message.startswith("the method is gone, or private and not shown to strangers")
    # Where others that are private are shown, nothing is hidden.
    known = document(Method("b", call), Method("c", call, private=True))
    assert openrpc_changes(old, known, new_is_for_strangers=True) == [Change("methods/a", "the method is gone")]


def test_a_method_that_becomes_private_breaks_strangers() -> None:
    assert changes(call, call, private=True) == [
        Change("methods/call", "the method is private now"),
        Change("methods/call/errors/-32001", "the error is new: 'Access denied'", is_breaking=False),
    ]
    private = document(Method("call", call, private=True))
    assert openrpc_changes(private, document(Method("call", call))) == []


def test_a_scope_more_breaks_those_who_lack_it() -> None:
    old = document(Method("call", call, private=True, scopes=["a"]))
    new = document(Method("call", call, private=True, scopes=["a", "c", "b"]))
    assert openrpc_changes(old, new) == [Change("methods/call/x-scopes", "callers need b, c now")]
    assert openrpc_changes(new, old) == []


def test_a_parameter_that_is_gone_breaks_even_if_it_could_be_left_out() -> None:
    def new(customer: str) -> int: ...

    assert changes(call, new) == [Change("methods/call/params/count", "the parameter is gone")]


def test_a_parameter_with_another_name_is_recognised() -> None:
    def new(client: str, count: int = 1) -> int: ...

    gone, added, moved = changes(call, new)
    assert gone == Change("methods/call/params/customer", "the parameter is gone (renamed to 'client'?)")
    assert added == Change("methods/call/params/client", "the parameter is new and required")
    assert "from (customer, count) to (client, count)" in moved.message


def test_a_new_parameter_breaks_only_where_it_is_required() -> None:
    def required(customer: str, place: str, count: int = 1) -> int: ...

    def optional(customer: str, count: int = 1, place: str = "") -> int: ...

    assert changes(call, optional) == []
    assert Change("methods/call/params/place", "the parameter is new and required") in changes(call, required)


def test_a_parameter_that_becomes_required_breaks_and_the_reverse_does_not() -> None:
    def new(customer: str, count: int) -> int: ...

    assert changes(call, new) == [Change("methods/call/params/count", "the parameter is required now")]
    assert changes(new, call) == []


def test_another_order_breaks_calls_by_position() -> None:
    def new(count: int, customer: str) -> int: ...

    def old(customer: str, count: int) -> int: ...

    [change] = changes(old, new)
    assert change.path == "methods/call/params"
    assert "from (customer, count) to (count, customer)" in change.message


def test_a_parameter_put_before_others_breaks_calls_by_position() -> None:
    def new(customer: str, note: str = "", count: int = 1) -> int: ...

    [change] = changes(call, new)
    assert "calls by position break" in change.message


def test_the_order_does_not_matter_where_parameters_go_by_name_only() -> None:
    def old(*, a: int, b: int) -> int: ...

    def new(*, b: int, a: int) -> int: ...

    assert changes(old, new) == []


def test_a_method_that_takes_parameters_by_name_only_breaks_calls_by_position() -> None:
    def new(*, customer: str, count: int = 1) -> int: ...

    [change] = changes(call, new)
    assert change.message == "parameters are taken by-name only, and no longer either"
    assert changes(new, call) == []


def test_types_of_parameters_may_widen_and_of_results_narrow() -> None:
    def wider(customer: str | None, count: float = 1) -> int: ...

    def looser(customer: str, count: int = 1) -> int | None: ...

    assert changes(call, wider) == []
    assert [change.path for change in changes(wider, call)] == [
        "methods/call/params/customer",
        "methods/call/params/count",
    ]
    assert [change.path for change in changes(call, looser)] == ["methods/call/result"]
    assert changes(looser, call) == []


def test_a_new_error_and_a_lost_promise_are_risky() -> None:
    old = document(Method("call", call, idempotent=True))
    found = openrpc_changes(old, document(Method("call", call, raises=[OutOfStock], deprecated=True)))
    assert found == [
        Change("methods/call", "the method is not idempotent any more: nobody may repeat a call", is_breaking=False),
        Change("methods/call", "the method is deprecated now", is_breaking=False),
        Change("methods/call/errors/1001", "the error is new: 'Out of stock'", is_breaking=False),
        Change("methods/call/errors/-32004", "the error is new: 'Outcome unknown'", is_breaking=False),
    ]
    assert openrpc_changes(document(Method("call", call, raises=[OutOfStock])), document(Method("call", call))) == []


class Old(TypedDict):
    title: str
    year: NotRequired[int]


class New(TypedDict):
    title: NotRequired[str]
    year: int


def test_members_of_a_typed_dict_may_come_to_be_required_or_missing() -> None:
    def old(film: Old) -> Old: ...
    def new(film: New) -> New: ...

    assert changes(old, new) == [
        Change(f"{PARAMS}/film/properties/year", "is required now"),
        Change("methods/call/result/properties/title", "may be missing now"),
    ]


@dataclass
class Few:
    count: int = 1
    colour: Literal["red", "blue"] = "red"


@dataclass
class Many:
    count: int = 2
    colour: Literal["red", "blue"] = "red"


FIRST, SECOND = dt.date(2026, 1, 1), dt.date(2026, 1, 2)


def test_another_default_is_risky_for_it_changes_what_old_calls_mean() -> None:
    def old(count: int = 1, day: dt.date = FIRST, few: Few | None = None) -> Few: ...
    def new(count: int = 2, day: dt.date = SECOND, few: Many | None = None) -> Many: ...

    message = "the default changed from {} to {}: leaving it out means something else"
    assert changes(old, new) == [
        Change(f"{PARAMS}/count", message.format(1, 2), is_breaking=False),
        Change(f"{PARAMS}/day", message.format("'2026-01-01'", "'2026-01-02'"), is_breaking=False),
        Change(f"{PARAMS}/few/properties/count", message.format(1, 2), is_breaking=False),
    ]


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (None, None), ([], [])])
def test_an_equal_default_is_the_same(one: object, other: object) -> None:
    assert _defaults(one, other) == []


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, None), (None, 0), ("a", "b")])
def test_a_default_of_another_type_is_another(one: object, other: object) -> None:
    assert [change.is_breaking for change in _defaults(one, other)] == [False]


def test_a_default_that_is_not_described_any_more_is_another() -> None:
    [change] = _defaults(1, ...)
    assert "to one that is not described" in change.message
    assert _defaults(..., 1) == []


def _defaults(*values: object) -> list[Change]:
    """Return what changes between two defaults; an ellipsis is none."""
    found = [
        {"openrpc": "1.3.2", "methods": [{"name": "m", "params": [{"name": "p", "schema": schema}]}]}
        for schema in ({} if value is ... else {"default": value} for value in values)
    ]
    return openrpc_changes(*found)  # type: ignore[arg-type]


def test_a_result_that_is_no_longer_described_breaks_readers() -> None:
    old = {"openrpc": "1.3.2", "methods": [{"name": "a", "params": [], "result": {"name": "r", "schema": {}}}]}
    new = {"openrpc": "1.3.2", "methods": [{"name": "a", "params": []}]}
    assert openrpc_changes(old, new) == [Change("methods/a/result", "the result is gone")]
    assert openrpc_changes(new, old) == []


def test_descriptors_and_errors_of_other_documents_are_followed() -> None:
    def shared(required: bool) -> dict[str, object]:
        param = {"name": "x", "schema": {"type": "string"}, "required": required}
        method = {
            "name": "a",
            "params": [{"$ref": "#/components/contentDescriptors/X"}],
            "errors": [{"$ref": "#/components/errors/E"}],
        }
        components = {"contentDescriptors": {"X": param}, "errors": {"E": {"code": 1, "message": "m"}}}
        return {"openrpc": "1.2.6", "methods": [method], "components": components}

    assert openrpc_changes(shared(False), shared(True)) == [
        Change("methods/a/params/x", "the parameter is required now")
    ]


@pytest.mark.parametrize("found", [None, [], {}, {"openrpc": "1.3.2"}, {"openrpc": 1, "methods": []}, {"methods": []}])
def test_another_json_text_is_no_openrpc_document(found: object) -> None:
    with pytest.raises(DescriptionError):
        check_openrpc(found)


@pytest.mark.parametrize(
    "method",
    [5, {}, {"name": ""}, {"name": "a", "params": {}}, {"name": "a", "params": [{}]}, {"name": "a", "errors": 1}],
    ids=str,
)
def test_a_method_that_cannot_be_read_is_an_error(method: object) -> None:
    broken = {"openrpc": "1.3.2", "methods": [method]}
    with pytest.raises(DescriptionError):
        openrpc_changes(broken, broken)


def test_names_do_not_matter_where_parameters_go_by_position_only() -> None:
    def old(a: int, b: str, /) -> None: ...
    def renamed(x: int, y: str, /) -> None: ...
    def swapped(b: str, a: int, /) -> None: ...
    def shorter(a: int, /) -> None: ...
    def longer(x: int, y: str, z: int = 1, /) -> None: ...

    assert changes(old, renamed) == changes(old, longer) == []
    assert [change.path for change in changes(old, swapped)] == [f"{PARAMS}/a", f"{PARAMS}/b", PARAMS]
    assert changes(old, shorter) == [Change(f"{PARAMS}/b", "the parameter is gone")]


@pytest.mark.parametrize("star", ["*", "**"])
def test_further_parameters_are_compared_too(star: str) -> None:
    def function(parameters: str) -> Callable[..., object]:
        made: dict[str, Callable[..., object]] = {}
        exec(f"def call({parameters}) -> None: ...", made)  # noqa: S102 - for what stars there may be
        return made["call"]

    slash, old = "/, " if star == "*" else "", function(f"{star}a: int")
    further = f"{PARAMS}/x-further-params"
    assert changes(old, function("")) == [Change(further, "further parameters are not taken any more")]
    assert changes(old, function(f"{star}a: str")) == [Change(further, "type changed from integer to string")]
    assert changes(old, function(f"{star}a: float")) == []
    assert changes(old, function(f"b: int = 1, {slash}{star}a: int")) == []
    assert changes(old, function(f"b: str = '', {slash}{star}a: int")) == [
        Change(f"{PARAMS}/b", "type changed from integer to string")
    ]
    assert not any(change.is_breaking for change in changes(function(""), old))


def test_what_is_no_longer_listed_may_be_taken_as_something_further() -> None:
    def old(*, a: int = 1) -> None: ...
    def new(**more: int) -> None: ...
    def by_place(a: int = 1) -> None: ...

    assert changes(old, new) == []
    assert changes(by_place, new) == [Change(f"{PARAMS}/a", "the parameter is gone")]


def test_schemas_that_hold_each_other_too_deeply_are_an_error() -> None:
    def chain(leaf: str) -> dict[str, Any]:
        schemas: dict[str, Any] = {"s9999": {"type": leaf}}
        for number in range(9999):
            schemas[f"s{number}"] = {"properties": {"next": {"$ref": f"#/components/schemas/s{number + 1}"}}}
        param = {"name": "p", "schema": {"$ref": "#/components/schemas/s0"}}
        return {"methods": [{"name": "m", "params": [param]}], "components": {"schemas": schemas}}

    with pytest.raises(DescriptionError, match="too deeply"):
        openrpc_changes(chain("string"), chain("integer"))
