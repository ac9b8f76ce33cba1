"""The OpenRPC document of a service's methods."""

import datetime as dt
import enum
import json
from dataclasses import dataclass

import pytest
from marshmallow import Schema, fields

from gemstone_events import strict_json
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.handlers import declared_methods, exposed_method
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.description.discover import SelfDescription
from gemstone_events.rpc.description.openrpc import ServiceInfo, info_of, openrpc_document
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.errors import InternalError, RpcError
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.request_handler import RpcHandler
from tests.unit.description_checks import check_openrpc_schema, check_references

INFO = ServiceInfo("shop", "1.2.0", "Sells things.")


class OutOfStock(RpcError):
    """None left."""

    code, message = 1001, "Out of stock"


@dataclass
class Line:
    article: str
    count: int = 1


@dataclass
class Order:
    id: int
    lines: list[Line]


DEFAULT_LINE = Line("x")


async def place(customer: str, lines: list[Line], note: str | None = None) -> Order:
    """Place an order.

    It is checked first.

    Args:
        customer: who orders,
            and pays.

    Returns:
        The order.
    """
    return Order(1, lines)


def described(*methods: Method, **options: bool) -> dict[str, dict]:
    """Return the Method Objects by name, of a document that OpenRPC's own schema takes."""
    document = openrpc_document(methods, INFO, ["http://127.0.0.1:8001/api"], **options)
    check_openrpc_schema(document)
    check_references(document)
    return {method["name"]: method for method in document["methods"]}


def test_a_document_says_what_the_service_is_and_where() -> None:
    urls = ["http://127.0.0.1:8001/api", "amqp://a/%2F#shop", "amqp://b/%2F#shop", "http://127.0.0.1:0/api"]
    document = openrpc_document([], INFO, urls)
    check_openrpc_schema(document)
    assert document["openrpc"] == "1.3.2"
    assert document["info"] == {"title": "shop", "version": "1.2.0", "description": "Sells things."}
    assert document["servers"] == [
        {"name": "http", "url": "http://127.0.0.1:8001/api"},
        {"name": "amqp", "url": "amqp://a/%2F#shop"},
        {"name": "amqp-2", "url": "amqp://b/%2F#shop"},
    ]
    assert document["methods"] == []


def test_a_method_is_described_by_its_hints_and_its_docstring() -> None:
    found = described(Method("orders.place", place, raises=[OutOfStock], tags=["orders"]))["orders.place"]
    errors = [error["$ref"].rpartition("/")[2] for error in found.pop("errors")]
    assert found == {
        "name": "orders.place",
        "summary": "Place an order.",
        "description": "It is checked first.",
        "tags": [{"name": "orders"}],
        "paramStructure": "either",
        "params": [
            {
                "name": "customer",
                "schema": {"type": "string"},
                "required": True,
                "description": "who orders, and pays.",
            },
            {
                "name": "lines",
                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}},
                "required": True,
            },
            {"name": "note", "schema": {"type": ["string", "null"], "default": None}, "required": False},
        ],
        "result": {
            "name": "result",
            "schema": {"$ref": "#/components/schemas/Order"},
            "description": "The order.",
        },
    }
    assert errors == ["OutOfStock", "InternalError", "InvalidParams", "Interrupted", "Overloaded", "DeadlineExceeded"]


def test_errors_are_components_with_code_and_message() -> None:
    document = openrpc_document([Method("place", place, raises=[OutOfStock])], INFO)
    errors = document["components"]["errors"]
    assert errors["OutOfStock"] == {"code": 1001, "message": "Out of stock"}
    assert errors["InternalError"] == {"code": InternalError.code, "message": InternalError.message}


def test_each_code_is_told_once_and_the_authors_own_goes_first() -> None:
    class Busy(RpcError):
        code, message = -32003, "Come back later"

    class OutOfStock(RpcError):
        code, message = 1002, "Another one"

    methods = [Method("a", place, raises=[Busy]), Method("b", place, raises=[OutOfStock]), Method("c", place)]
    methods += [Method("d", place, raises=[globals()["OutOfStock"]])]
    document = openrpc_document(methods, INFO)
    check_openrpc_schema(document)
    errors = document["components"]["errors"]
    first = [errors[error["$ref"].rpartition("/")[2]]["code"] for error in document["methods"][0]["errors"]]
    assert len(set(first)) == len(first)
    assert first[0] == -32003
    assert errors["OutOfStock"]["code"] == 1002
    assert errors["OutOfStock2"]["code"] == 1001


def test_only_errors_that_reach_callers_may_be_declared() -> None:
    with pytest.raises(ServiceConfigurationError, match=r"only subclasses of RpcError"):
        Method("place", place, raises=[ServiceConfigurationError])


def test_access_repetition_and_deprecation_are_told() -> None:
    found = described(Method("place", place, private=True, scopes=["b", "a"], idempotent=True, deprecated=True))[
        "place"
    ]
    assert (found["x-private"], found["x-scopes"], found["x-idempotent"]) == (True, ["a", "b"], True)
    assert found["deprecated"] is True
    names = [error["$ref"].rpartition("/")[2] for error in found["errors"]]
    assert "AccessDenied" in names
    assert "Interrupted" not in names
    public = described(Method("place", place))["place"]
    assert not public.keys() & {"x-private", "x-scopes", "x-idempotent", "deprecated", "tags"}


def test_keyword_only_parameters_go_by_name_the_required_ones_first() -> None:
    def call(a: int = 1, *, b: str) -> None: ...

    found = described(Method("call", call))["call"]
    assert found["paramStructure"] == "by-name"
    assert [(param["name"], param["required"]) for param in found["params"]] == [("b", True), ("a", False)]
    assert found["result"]["schema"] == {"type": "null"}


def test_parameters_that_only_have_a_place_go_by_position() -> None:
    def call(a: int, /, *rest: str) -> None: ...

    found = described(Method("call", call))["call"]
    assert found["paramStructure"] == "by-position"
    assert [param["name"] for param in found["params"]] == ["a"]
    assert found["x-further-params"] == {"by-position": {"type": "string"}}


def test_further_parameters_by_name_are_described() -> None:
    def call(**rest: int) -> None: ...

    found = described(Method("call", call))["call"]
    assert found["params"] == []
    assert found["x-further-params"] == {"by-name": {"type": "integer"}}


def test_a_hint_that_cannot_be_resolved_or_expressed_is_anything() -> None:
    def call(a: "Nowhere", b: bytes, c) -> "Neither": ...  # type: ignore  # noqa: F821, PGH003

    found = described(Method("call", call))["call"]
    assert [param["schema"] for param in found["params"]] == [{}, {}, {}]
    assert found["result"]["schema"] == {}


class PlaceSchema(Schema):
    note = fields.String(metadata={"description": "for the packer"})
    customer = fields.String(required=True)
    count = fields.Integer(load_default=1)
    made = fields.DateTime(dump_only=True)


def test_a_schema_describes_the_parameters_in_the_order_of_the_function() -> None:
    def call(customer, note=None, count=0) -> dict[str, int]: ...

    found = described(Method("call", call, schema=PlaceSchema()))["call"]
    assert found["paramStructure"] == "either"
    assert found["params"] == [
        {"name": "customer", "schema": {"type": "string"}, "required": True},
        {
            "name": "note",
            "schema": {"type": "string", "description": "for the packer"},
            "required": False,
            "description": "for the packer",
        },
        {"name": "count", "schema": {"type": "integer", "default": 1}, "required": False},
    ]


def test_a_parameter_that_the_function_needs_is_required_though_the_schema_does_not_say_so() -> None:
    def call(customer, note, count) -> None: ...

    found = described(Method("call", call, schema=PlaceSchema()))["call"]
    assert [(p["name"], p["required"]) for p in found["params"]] == [
        ("customer", True),
        ("note", True),
        ("count", False),
    ]


def test_names_that_only_the_schema_knows_cannot_go_by_position() -> None:
    class Renamed(Schema):
        customer = fields.String(required=True, data_key="customer-name")

    def call(**params) -> None: ...

    found = described(Method("call", call, schema=Renamed()))["call"]
    assert found["paramStructure"] == "by-name"
    assert [param["name"] for param in found["params"]] == ["customer-name"]


def test_what_json_cannot_carry_is_no_default() -> None:
    def call(
        line: Line = DEFAULT_LINE, far: float = float("inf"), some: object = print, many: tuple[int] = ()
    ) -> None: ...

    found = described(Method("call", call))["call"]
    assert [param["required"] for param in found["params"]] == [False] * 4
    assert not any("default" in param["schema"] for param in found["params"])
    strict_json.dumps(found)


class Kind(enum.Enum):
    SMALL = "small"


DAY = dt.date(2026, 1, 2)


def test_a_default_is_described_as_it_travels() -> None:
    def call(day: dt.date = DAY, kind: Kind = Kind.SMALL, many: tuple[int, str] = (1, "a")) -> None: ...

    params = described(Method("call", call))["call"]["params"]
    assert [param["schema"]["default"] for param in params] == ["2026-01-02", "small", [1, "a"]]


def test_a_document_is_the_same_whatever_the_order_of_declaration() -> None:
    methods = [Method("b", place), Method("a", place, raises=[OutOfStock])]
    assert json.dumps(openrpc_document(methods, INFO)) == json.dumps(openrpc_document(reversed(methods), INFO))


def test_the_description_of_a_service_is_its_own_docstring() -> None:
    class Parent:
        """Of the parent."""

    class Documented(Parent):
        """Sells
        things."""

    class Silent(Parent): ...

    assert info_of(Documented(), "shop", "2.0").to_dict() == {
        "title": "shop",
        "version": "2.0",
        "description": "Sells\nthings.",
    }
    assert info_of(Silent(), "shop").to_dict() == {"title": "shop", "version": "0.0.0"}


def test_the_decorator_declares_errors_tags_and_deprecation() -> None:
    class Service:
        @exposed_method(raises=[OutOfStock], tags=["a"], deprecated=True)
        def sell(self) -> None: ...

    [(_, _, options)] = declared_methods(Service())
    assert (options.raises, options.tags, options.deprecated) == ((OutOfStock,), ("a",), True)


@pytest.mark.parametrize("arguments", [{"tags": "a"}, {"raises": OutOfStock}])
def test_the_decorator_wants_lists(arguments: dict[str, object]) -> None:
    with pytest.raises(ServiceConfigurationError, match="is a list: write"):
        exposed_method(**arguments)


# rpc.discover


class Handler(RpcHandler):
    """A request of somebody that the service knows, or does not, or fails to find out."""

    def __init__(self, user: object) -> None:
        self._user = user

    async def identify(self) -> object:
        if isinstance(self._user, Exception):
            raise self._user
        return self._user


async def discover(description: SelfDescription, user: object) -> dict:
    """Call the method through a dispatcher, as every wire does."""

    async def invoke(method, args, kwargs, context):
        return await method.function(*args, **kwargs)

    dispatcher = Dispatcher(MethodTable([Method("place", place), description.method]), invoke=invoke)
    context = CallContext("memory", make_handler=lambda context: Handler(user))
    answer = await dispatcher.dispatch(b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}', context)
    assert answer is not None
    return json.loads(answer)["result"]


@pytest.mark.parametrize(
    ("user", "names"),
    [("Ada", ["place", "secret"]), (None, ["place"]), (KeyError("X-Token"), ["place"])],
)
async def test_private_methods_are_described_only_to_those_whom_the_service_knows(
    user: object, names: list[str]
) -> None:
    description = SelfDescription([Method("place", place), Method("secret", place, private=True)], INFO)
    document = await discover(description, user)
    check_openrpc_schema(document)
    assert [method["name"] for method in document["methods"]] == names


async def test_the_method_itself_is_not_in_the_document() -> None:
    description = SelfDescription([Method("place", place)], INFO)
    assert [method["name"] for method in (await discover(description, None))["methods"]] == ["place"]
    everything = SelfDescription([Method("place", place), description.method], INFO)
    assert [method["name"] for method in everything.document(with_private=True)["methods"]] == ["place"]


def test_a_document_is_made_once_until_the_addresses_change() -> None:
    urls = ["http://127.0.0.1:1/api"]
    description = SelfDescription([Method("place", place)], INFO, lambda: urls)
    first = description.document(with_private=False)
    assert description.document(with_private=False) is first
    urls.append("amqp://localhost/%2F#shop")
    assert len(description.document(with_private=False)["servers"]) == 2


def test_no_author_can_take_a_reserved_name() -> None:
    with pytest.raises(ServiceConfigurationError, match="reserves names"):
        Method("rpc.discover", place)


def test_what_only_has_a_name_is_not_described_where_parameters_go_by_position() -> None:
    def call(a: int, *rest: str, flag: bool = False) -> None: ...

    found = described(Method("call", call))["call"]
    assert found["paramStructure"] == "by-position"
    assert [param["name"] for param in found["params"]] == ["a"]


def test_a_needed_name_makes_parameters_go_by_name() -> None:
    def call(*rest: str, flag: bool) -> None: ...

    found = described(Method("call", call))["call"]
    assert found["paramStructure"] == "by-name"
    assert [param["name"] for param in found["params"]] == ["flag"]
