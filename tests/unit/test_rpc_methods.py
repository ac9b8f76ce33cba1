"""How parameters become arguments, and which declarations are refused."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps

import pytest
from marshmallow import Schema, fields, post_load

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.errors import InvalidParams
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.protocol import Params


def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


@pytest.mark.parametrize("name", ["a", "add", "users.register", "A.b_C.9", "rpcx", "rpc"])
def test_a_name_of_letters_digits_dots_and_underscores_is_taken(name: str) -> None:
    assert Method(name, add).name == name


@pytest.mark.parametrize("name", ["", "_add", "1a", "a-b", "a b", ".a", "é", "a\n", "__init__", "a" * 201, "rpc.x", 5])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ServiceConfigurationError, match="is not valid") as refused:
        Method(name, add)
    assert isinstance(refused.value, ValueError)


def test_two_methods_of_one_name_are_refused_and_both_are_named() -> None:
    def other() -> None: ...

    with pytest.raises(ServiceConfigurationError, match=r"'add'.*\.add and .*other") as refused:
        MethodTable([Method("add", add), Method("add", other)])
    assert isinstance(refused.value, ValueError)


def test_a_table_finds_its_methods_by_name() -> None:
    method = Method("add", add)
    table = MethodTable([method])

    assert (table.get("add"), table.get("__init__"), len(table), list(table)) == (method, None, 1, [method])


@pytest.mark.parametrize("params", [[1], [1, 5], (), {"a": 1}, {"a": 1, "b": 5}])
def test_parameters_that_fit_bind_as_they_would_be_called(params: object) -> None:
    def flexible(a: int = 0, b: int = 2) -> int:
        return a + b

    args, kwargs = Method("add", flexible).bind(params)  # type: ignore[arg-type]

    assert flexible(*args, **kwargs) == (flexible(**params) if isinstance(params, dict) else flexible(*params))  # type: ignore[misc]


@pytest.mark.parametrize("params", [[], (), [1, 2, 3], {}, {"b": 1}, {"a": 1, "c": 3}, {"self": 1, "a": 1}])
def test_parameters_that_do_not_fit_are_invalid_and_the_data_says_why(params: object) -> None:
    with pytest.raises(InvalidParams) as refused:
        Method("add", add).bind(params)  # type: ignore[arg-type]
    assert "argument" in str(refused.value.data)


def keyword_only(a: int, *, b: int) -> None: ...
def positional_only(a: int, /, b: int) -> None: ...
def variable(*args: int) -> None: ...
def keywords(**kwargs: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "good", "bad"),
    [
        (keyword_only, {"a": 1, "b": 2}, [1, 2]),
        (positional_only, [1, 2], {"a": 1, "b": 2}),
        (variable, [1, 2, 3], {"a": 1}),
        (keywords, {"x": 1, "y": 2}, [1]),
    ],
)
def test_every_kind_of_parameter_is_respected(function: Callable[..., None], good: object, bad: object) -> None:
    method = Method("m", function)
    args, kwargs = method.bind(good)  # type: ignore[arg-type]
    function(*args, **kwargs)
    with pytest.raises(InvalidParams):
        method.bind(bad)  # type: ignore[arg-type]


def test_binding_does_not_call_the_function() -> None:
    def fails(a: int) -> None:
        raise AssertionError

    Method("fails", fails).bind([1])


def handler_first(request_handler: object, a: int) -> tuple[object, int]:
    return request_handler, a


def handler_keyword(a: int, *, handler: object) -> tuple[object, int]:
    return handler, a


@pytest.mark.parametrize("function", [handler_first, handler_keyword])
@pytest.mark.parametrize("params", [[7], {"a": 7}])
def test_the_handler_is_the_first_argument_or_the_keyword(function: Callable[..., object], params: object) -> None:
    method = Method("m", function, takes_handler=True)
    args, kwargs = method.bind(params, "the handler")  # type: ignore[arg-type]

    assert function(*args, **kwargs) == ("the handler", 7)


@pytest.mark.parametrize(
    ("function", "params"),
    [
        (handler_first, {"a": 1, "request_handler": 2}),
        (handler_keyword, {"a": 1, "handler": 2}),
        (lambda handler, **rest: None, {"handler": 1}),
    ],
)
def test_a_caller_cannot_pass_the_handler(function: Callable[..., object], params: dict[str, object]) -> None:
    with pytest.raises(InvalidParams):
        Method("m", function, takes_handler=True).bind(params)  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [lambda: None, lambda *args: None, lambda *, a: None])
def test_a_method_that_takes_the_handler_needs_a_parameter_for_it(function: Callable[..., object]) -> None:
    with pytest.raises(ServiceConfigurationError, match="no parameter for it"):
        Method("m", function, takes_handler=True)


class AddSchema(Schema):
    a = fields.Integer(required=True, strict=True)
    b = fields.Integer(load_default=10)


@pytest.mark.parametrize("params", [[1], {"a": 1}])
def test_a_schema_loads_the_parameters_by_name(params: object) -> None:
    args, kwargs = Method("add", add, schema=AddSchema()).bind(params)  # type: ignore[arg-type]

    assert (args, dict(kwargs)) == ((), {"a": 1, "b": 10})


@pytest.mark.parametrize(
    ("params", "data"),
    [
        ({"a": "x"}, {"a": ["Not a valid integer."]}),
        ({"a": 1, "z": 1}, {"z": ["Unknown field."]}),
        (["x"], {"a": ["Not a valid integer."]}),
        ([1, 2, 3], "too many positional arguments"),
    ],
)
def test_what_a_schema_refuses_is_answered_with_its_messages(params: object, data: object) -> None:
    with pytest.raises(InvalidParams) as refused:
        Method("add", add, schema=AddSchema()).bind(params)  # type: ignore[arg-type]
    assert refused.value.data == data


def test_a_schema_that_loads_an_object_is_the_authors_mistake_and_not_the_callers() -> None:
    class ObjectSchema(AddSchema):
        @post_load
        def make(self, data: dict[str, int], **kwargs: object) -> object:
            return object()

    with pytest.raises(TypeError, match="ObjectSchema"):
        Method("add", add, schema=ObjectSchema()).bind({"a": 1})


@pytest.mark.parametrize("function", [variable, positional_only])
def test_a_schema_needs_parameters_with_names(function: Callable[..., object]) -> None:
    with pytest.raises(ServiceConfigurationError, match="need names"):
        Method("m", function, schema=AddSchema())


async def coroutine() -> None: ...


@wraps(add)
async def wrapping(*args: int) -> int:
    return add(*args)


class CallableObject:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [(add, False), (coroutine, True), (partial(coroutine), True), (wrapping, True), (CallableObject(), True)],
)
def test_coroutine_functions_are_told_from_plain_ones(function: Callable[..., object], expected: bool) -> None:
    assert Method("m", function).is_coroutine is expected


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator])
def test_a_generator_cannot_be_exposed(function: Callable[..., object]) -> None:
    with pytest.raises(ServiceConfigurationError, match="generator"):
        Method("m", function)


def test_the_documentation_of_a_method_is_its_docstring_unless_it_is_given() -> None:
    assert (Method("add", add).doc, Method("add", add, doc="x").doc) == ("Add two numbers.", "x")


@pytest.mark.parametrize(
    ("function", "params", "told"),
    [
        (lambda article: article, {"artikel": 1}, "'article'; got an unexpected keyword argument 'artikel'"),
        (lambda article: article, {}, "missing a required argument: 'article'"),
        (lambda article, *, count=1: article, {"x" * 999: 1}, f"unexpected keyword argument '{'x' * 200}'"),
        (lambda article, **others: article, {"artikel": 1}, "missing a required argument: 'article'"),
        (lambda article=1: article, {"artikel": 1}, "got an unexpected keyword argument 'artikel'"),
        (lambda article: article, [], "missing a required argument: 'article'"),
    ],
)
def test_a_misspelt_parameter_is_named_beside_the_missing_one(
    function: Callable[..., object], params: Params, told: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        Method("m", function).bind(params)
    assert str(refused.value.data).endswith(told)
    assert str(refused.value.data).count("unexpected") == told.count("unexpected")


def test_a_misspelt_parameter_of_a_typed_method_is_named_beside_the_missing_one() -> None:
    def receive(when: dt.date) -> None: ...

    with pytest.raises(InvalidParams) as refused:
        Method("m", receive).bind({"wann": "2024-01-01"})
    assert refused.value.data == "missing a required argument: 'when'; got an unexpected keyword argument 'wann'"
