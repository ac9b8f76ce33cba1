"""Parameters and results of functions by their type hints: on the server's side, and on the client's."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Generic, TypeVar, cast

import pytest
from marshmallow import Schema, fields

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.call_errors import InvalidAnswerError, LocalServiceException
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.errors import InvalidParams
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.signatures.typed_parameters import ResultError, TypedFunction, typed_function
from gemstone_events.strict_json import JsonValue


@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str = "EUR"


def add(first: Money, second: Money, times: int = 1) -> Money:
    """Add amounts."""
    return Money((first.amount + second.amount) * times, first.currency)


async def add_later(first: Money, *more: Money, factor: int = 1) -> Money:
    return Money((first.amount + sum((each.amount for each in more), Decimal(0))) * factor)


def simple(number: int, body: JsonValue = None, table: dict[str, JsonValue] | None = None) -> int:
    return number


def lies(kind: str) -> Money:
    return cast(Money, {"amount": Money, "json": {"amount": "1", "currency": "EUR"}}[kind])


def hidden(other: "NoSuchClass", when: datetime) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def hidden_only(other: "NoSuchClass") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def unreadable(body: bytes, when: datetime) -> None: ...


def add_all(amounts: list[Money]) -> Money:
    return Money(sum((each.amount for each in amounts), Decimal(0)))


@dataclass
class Parcel:
    content: bytes


@dataclass
class Van:
    parcels: "dict[str, list[Parcel | None]]"
    next: "Van | None" = None


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    content: T


def inside(vans: list[Van]) -> None: ...
def generic(box: Box) -> None: ...  # type: ignore[type-arg]


def typed(function: Callable[..., object]) -> TypedFunction:
    """The types of a function that has them."""
    found = typed_function(function.__name__, function, always=True)
    assert found is not None
    return found


async def answer(method: Method, params: object) -> dict[str, object]:
    """What a caller gets."""

    async def invoke(
        method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext
    ) -> object:
        result = method.function(*args, **kwargs)
        return await result if method.is_coroutine else result  # type: ignore[misc]

    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method.name, "params": params}).encode()
    raw = await Dispatcher(MethodTable([method]), invoke=invoke).dispatch(body, CallContext("test"))
    assert raw is not None
    return cast("dict[str, object]", json.loads(raw))


EUR, TWO = {"amount": "1.50", "currency": "EUR"}, {"amount": "2"}


@pytest.mark.parametrize(
    ("function", "params", "result"),
    [
        (add, [EUR, TWO], "3.50"),
        (add, {"second": TWO, "first": EUR, "times": 2}, "7.00"),
        (add_later, [EUR, TWO, TWO], "5.50"),
        (add_later, {"first": EUR, "factor": 3}, "4.50"),
        (partial(add, times=2), [EUR, TWO], "7.00"),
    ],
)
async def test_a_method_takes_and_returns_dataclasses(
    function: Callable[..., object], params: object, result: str
) -> None:
    reply = await answer(Method("add", function), params)

    assert reply == {"jsonrpc": "2.0", "id": 1, "result": {"amount": result, "currency": "EUR"}}


@pytest.mark.parametrize(
    ("params", "data"),
    [
        ([EUR, {"amount": "x"}], {"second": {"amount": ["Not a valid number."]}}),
        ([EUR, {**TWO, "more": 1}], {"second": {"more": ["Unknown field."]}}),
        ([EUR, "2"], {"second": ["Not an object with the members amount, currency."]}),
        ([EUR, TWO, "2"], {"times": ["Not a valid integer."]}),
        ([EUR], "missing a required argument: 'second'"),
        ({"first": EUR, "second": TWO, "third": TWO}, "got an unexpected keyword argument 'third'"),
    ],
)
async def test_parameters_that_do_not_fit_are_invalid_and_the_data_says_why(params: object, data: object) -> None:
    reply = await answer(Method("add", add), params)

    assert reply["error"] == {"code": -32602, "message": "Invalid params", "data": data}


@pytest.mark.parametrize("kind", ["amount", "json"])
async def test_a_result_that_its_hint_forbids_is_an_internal_error_and_logged(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await answer(Method("lies", lies), [kind])

    assert reply["error"] == {"code": -32603, "message": "Internal error"}
    assert "the result of lies does not fit its type hint" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


def test_a_method_whose_hints_say_nothing_more_than_json_is_left_as_it_was() -> None:
    method = Method("simple", simple)

    assert method.types is None
    assert method.function is simple
    assert method.bind(["x"]) == (["x"], {})
    assert Method("hidden", hidden_only).types is None


def test_a_typed_method_checks_simple_types_too() -> None:
    with pytest.raises(InvalidParams) as refused:
        Method("simple", simple, types=typed(simple)).bind(["x"])
    assert refused.value.data == {"number": ["Not a valid integer."]}


def test_a_method_with_a_schema_loads_by_it_and_writes_by_its_hints() -> None:
    class Amounts(Schema):
        amount = fields.Decimal(required=True)

    def double(amount: object) -> Money:
        assert isinstance(amount, Decimal)
        return Money(amount * 2)

    method = Method("double", double, schema=Amounts())
    args, kwargs = method.bind({"amount": "2.5"})

    assert method.function(*args, **kwargs) == {"amount": "5.0", "currency": "EUR"}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (hidden, r"the type hint of 'other' of 'm': .*'NoSuchClass' is not defined"),
        (unreadable, "the type hint of 'body' of 'm': bytes cannot be read from JSON"),
        (inside, "the type hint of 'vans' of 'm': the field 'content' of Parcel: bytes cannot be read from JSON"),
        (generic, "the type hint of 'box' of 'm': the field 'content' of Box: ~T may be anything"),
    ],
)
def test_a_hint_of_a_typed_method_that_cannot_be_used_is_refused_by_name(
    function: Callable[..., object], message: str
) -> None:
    with pytest.raises(ServiceConfigurationError, match=message):
        Method("m", function)


def test_the_request_handler_is_no_parameter() -> None:
    def who(handler: object, money: Money) -> tuple[object, Money]:
        return handler, money

    method = Method("who", who, takes_handler=True)
    args, kwargs = method.bind([TWO], "the handler")

    assert method.types is not None
    assert method.function(*args, **kwargs) == ("the handler", {"amount": "2", "currency": "EUR"})


def test_a_client_writes_arguments_by_name_where_they_have_one() -> None:
    money = Money(Decimal("1.50"))

    assert typed(add).dump((money,), {"second": money}) == {"first": EUR, "second": EUR}
    assert typed(add_later).dump((money, money), {}) == [EUR, EUR]
    assert typed(simple).dump((5, [None]), {}) == {"number": 5, "body": [None]}


def test_a_client_refuses_arguments_that_do_not_fit_before_anything_is_called() -> None:
    money = Money(Decimal(1))
    with pytest.raises(LocalServiceException) as refused:
        typed(add).dump((money, "2"), {})
    assert refused.value.data == {"second": ["Not of the type Money, but str."]}
    with pytest.raises(TypeError, match=r"add\(\): missing a required argument: 'second'"):
        typed(add).dump((money,), {})
    with pytest.raises(TypeError, match="all by position or all by name"):
        typed(add_later).dump((money,), {"factor": 2})


def test_a_client_is_told_where_in_an_argument_something_is_wrong() -> None:
    def ship(vans: dict[str, list[Money]], *more: Money, **others: Money) -> None: ...

    money = Money(Decimal(1))
    wrong = cast("Money", {"amount": "1"})
    with pytest.raises(LocalServiceException) as refused:
        typed(ship).dump(({"a": [money], "b": [money, wrong]}, money, wrong), {"other": wrong})
    reason = ["Not of the type Money, but dict."]
    assert refused.value.data == {"vans": {"b": {1: reason}}, "more": {1: reason}, "others": {"other": reason}}


async def test_which_of_further_parameters_does_not_fit_is_told() -> None:
    reply = await answer(Method("add", add_later), [EUR, TWO, 5])

    assert reply["error"] == {
        "code": -32602,
        "message": "Invalid params",
        "data": {"more": {"1": ["Not an object with the members amount, currency."]}},
    }


async def test_the_caller_is_at_fault_however_much_is_wrong() -> None:
    wrong = [{"amount": "x", **{str(number): number for number in range(200)}} for _ in range(1000)]
    reply = await answer(Method("add", add_all), [wrong])

    assert reply["error"]["code"] == -32602
    assert len(json.dumps(reply)) < 10_000


def test_a_client_reads_a_result_or_tells_that_it_is_none() -> None:
    assert typed(add).load_result(TWO) == Money(Decimal(2))
    with pytest.raises(InvalidAnswerError) as refused:
        typed(add).load_result({"amount": 2, "colour": "red"})
    assert refused.value.data == {"colour": ["Unknown field."]}


async def test_an_awaitable_result_is_written_when_it_is_there() -> None:
    def soon() -> object:
        return asyncio.sleep(0, Money(Decimal(1)))

    soon.__annotations__["return"] = Money
    function = typed(soon).dumping(soon)
    assert await function() == {"amount": "1", "currency": "EUR"}  # type: ignore[misc]


def test_none_is_the_only_result_of_a_function_that_returns_none() -> None:
    def nothing(when: datetime) -> None: ...

    assert typed(nothing).dump_result(None) is None
    with pytest.raises(ResultError):
        typed(nothing).dump_result(datetime.now(UTC))
