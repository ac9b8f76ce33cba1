"""The typed client that is written from an OpenRPC document."""

import ast
import json
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemstone_events.rpc.description.client_writer import write_client
from gemstone_events.rpc.description.references import DescriptionError
from gemstone_events.rpc.description.typed_client import to_json

EVIL = '"""); __import__("os").abort()  # \\'
IMPORTS = {
    "__future__",
    "dataclasses",
    "datetime",
    "decimal",
    "gemstone_events.rpc.description.typed_client",
    "typing",
    "uuid",
}
CALLS = {"TypedMethod", "dataclass", "field", "given", "leading", "_call"}


def method(name: str, *params: dict[str, Any], result: object = None, **members: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "params": list(params)}
    described |= {} if result is None else {"result": {"name": "result", "schema": result}}
    return {**described, **members}


def param(name: str, schema: object = None, required: bool = True, **members: Any) -> dict[str, Any]:
    return {"name": name, "schema": {} if schema is None else schema, "required": required, **members}


def document(*methods: dict[str, Any], schemas: dict[str, Any] | None = None, **info: Any) -> dict[str, Any]:
    return {
        "openrpc": "1.3.2",
        "info": {"title": "shop", "version": "1.0", **info},
        "methods": list(methods),
        "components": {"schemas": schemas or {}},
    }


def written(*methods: dict[str, Any], **options: Any) -> str:
    return write_client(document(*methods, **options), "shop.py")


def signature(text: str, name: str, client: str = "Shop") -> str:
    """Return a method's line as it is written, without line breaks."""
    found = next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == client)
    function = next(
        node for node in found.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    )
    assert function.returns is not None
    return f"{name}({ast.unparse(function.args)}) -> {ast.unparse(function.returns)}"


def imported(text: str) -> list[str]:
    """Return the names that a module has from its imports."""
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return [name.asname or name.name for node in imports for name in node.names]


def check_harmless(text: str) -> None:
    """Fail if a module does anything but import from the framework, and declare."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module in IMPORTS
        elif isinstance(node, ast.Import):
            assert [name.name for name in node.names] == ["datetime"]
        elif isinstance(node, ast.Call):
            called = node.func.value if isinstance(node.func, ast.Subscript) else node.func
            assert (called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)) in CALLS
        elif isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant)
    assert all(
        isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef | ast.Assign | ast.Expr) for node in tree.body
    )


def test_there_is_a_blocking_and_an_asynchronous_class_with_a_method_each() -> None:
    text = written(method("orders.place", param("customer", {"type": "string"}), result={"type": "integer"}))
    assert signature(text, "orders_place") == "orders_place(self, customer: str) -> int"
    assert signature(text, "orders_place", "AsyncShop") == "orders_place(self, customer: str) -> int"
    assert "    async def orders_place(" in text
    assert '_ORDERS_PLACE = TypedMethod[int]("orders.place", int)' in text


@pytest.mark.parametrize(
    ("schema", "hint"),
    [
        ({}, "Any"),
        (True, "Any"),
        ({"type": "string"}, "str"),
        ({"type": "integer"}, "int"),
        ({"type": "number"}, "float"),
        ({"type": "boolean"}, "bool"),
        ({"type": "null"}, "None"),
        ({"type": ["integer", "null"]}, "int | None"),
        ({"type": "string", "format": "date-time"}, "dt.datetime"),
        ({"type": "string", "format": "date"}, "dt.date"),
        ({"type": "string", "format": "time"}, "dt.time"),
        ({"type": "string", "format": "uuid"}, "UUID"),
        ({"type": "string", "format": "decimal"}, "Decimal"),
        ({"type": "string", "format": "email"}, "str"),
        ({"type": "number", "x-unit": "seconds"}, "dt.timedelta"),
        ({"type": "array", "items": {"type": "string"}}, "list[str]"),
        ({"type": "array"}, "list[Any]"),
        ({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]}, "tuple[str, int]"),
        ({"type": "array", "maxItems": 0}, "tuple[()]"),
        ({"type": "object"}, "dict[str, Any]"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "dict[str, int]"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}, {"type": "string"}]}, "int | str | None"),
        ({"oneOf": [{"type": "integer"}, {}]}, "Any"),
        ({"enum": ["a", "b"]}, "Literal['a', 'b']"),
        ({"enum": ["a", None]}, "Literal['a'] | None"),
        ({"enum": [1, True]}, "Literal[1, True]"),
        ({"enum": [1.5]}, "Any"),
        ({"const": "x"}, "Literal['x']"),
        ({"allOf": [{"type": "integer"}]}, "int"),
        ({"type": "nonsense"}, "Any"),
    ],
    ids=str,
)
def test_a_schema_becomes_a_type_hint(schema: object, hint: str) -> None:
    text = written(method("get", param("x", schema), result=schema))
    assert signature(text, "get") == f"get(self, x: {hint}) -> {hint}"


LINE = {
    "type": "object",
    "description": "One line.",
    "properties": {
        "article": {"type": "string", "description": "what"},
        "count": {"type": "integer", "default": 1},
        "class": {"type": "string"},
        "parent": {"anyOf": [{"$ref": "#/components/schemas/Line"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["article"],
}


def test_an_object_becomes_a_dataclass_that_may_hold_itself() -> None:
    reference = {"$ref": "#/components/schemas/Line"}
    text = written(method("get", result={"type": "array", "items": reference}), schemas={"Line": LINE})
    assert signature(text, "get") == "get(self) -> list[Line]"
    assert (
        '''class Line(Record):
    """One line.

    Attributes:
        article: what
    """

    article: str
    count: int = 1
    class_: str | None = field(metadata={"data_key": "class"}, default=None)
    parent: Line | None = None
    tags: list[str] | None = None
'''
        in text
    )


def test_an_object_without_a_name_is_named_after_its_place() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "object", "properties": {"c": {"type": "integer"}}}}}
    text = written(method("orders.get", param("filter", inner), result=inner))
    assert signature(text, "orders_get") == "orders_get(self, filter: OrdersGetParamsFilter) -> OrdersGetResult"
    assert "class OrdersGetResultB(Record):" in text


def test_what_may_be_left_out_has_the_default_of_the_service_or_none() -> None:
    text = written(
        method(
            "find",
            param("name", {"type": "string"}),
            param("limit", {"type": "integer", "default": 10}, False),
            param("order", {"enum": ["asc", "desc"], "default": "asc"}, False),
            param("since", {"type": "string", "format": "date", "default": "2024-01-01"}, False),
            param("note", {"type": ["string", "null"], "default": None}, False),
        )
    )
    assert signature(text, "find") == (
        "find(self, name: str, limit: int=10, order: Literal['asc', 'desc']='asc', "
        "since: dt.date | None=None, note: str | None=None) -> None"
    )
    assert '{"name": name, "limit": limit, "order": order}' in text
    assert 'given({"since": since, "note": note})' in text


def test_parameters_by_position_are_left_out_by_none_only() -> None:
    first, second = param("a", {"type": "integer"}), param("b", {"type": "integer", "default": 2}, False)
    further = {"by-position": {"type": "string"}}
    plain = {"name": "f", "params": [first, second], "paramStructure": "by-position"}
    assert signature(written(plain), "f") == "f(self, a: int, b: int | None=None) -> None"
    assert "[a, *leading(b)]" in written(plain)
    more = written({**plain, "x-further-params": further})
    assert signature(more, "f") == "f(self, a: int, b: int | None=None, *further: str) -> None"
    assert "[a, *leading(b, *further)]" in more


def test_further_parameters_by_name_are_taken() -> None:
    text = written(method("f", param("a"), **{"x-further-params": {"by-name": {"type": "integer"}}}))
    assert signature(text, "f") == "f(self, a: Any, **further: int) -> None"
    assert '{"a": a}, further)' in text


def test_docstrings_say_what_the_document_says() -> None:
    described = method(
        "sell",
        param("customer", description="who buys"),
        result={"type": "integer"},
        summary="Sell something.",
        description="First.\n\nThen.",
        deprecated=True,
        errors=[{"code": 1001, "message": "Out of stock"}, {"code": -32603, "message": "Internal error"}],
        **{"x-private": True, "x-scopes": ["a", "b"]},
    )
    described["result"]["description"] = "How many are left."
    tree = ast.parse(written(described, description="Sells things."))
    client = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Shop")
    assert ast.get_docstring(client) == "Calls the service from threads and scripts.\n\nSells things."
    assert ast.get_docstring(client.body[1]) == (
        "Sell something.\n\nFirst.\n\nThen.\n\nDeprecated.\n\nCallers need the scopes a, b.\n\n"
        "Args:\n    customer: who buys\n\nReturns:\n    How many are left.\n\n"
        "Raises:\n    CalledServiceError: 1001 Out of stock"
    )


def test_names_that_python_does_not_take_are_changed_and_stay_apart() -> None:
    text = written(
        method("class"),
        method("a.b"),
        method("a_b"),
        method("1st"),
        method("_hidden"),
        method("größe"),
        method("close"),
        method("list"),
        method("match", param("self"), param("from"), param("__x"), param("x-y"), param("x_y")),
    )
    tree = ast.parse(text)
    client = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Shop")
    names = [node.name for node in client.body if isinstance(node, ast.FunctionDef)]
    assert names == ["class_", "a_b", "a_b_", "x_1st", "x_hidden", "gr_e", "close_", "list_", "match_"]
    assert signature(text, "match_").startswith("match_(self, self_: Any, from_: Any, x_x: Any, x_y: Any, x_y_: Any)")
    assert '{"self": self_, "from": from_, "__x": x_x, "x-y": x_y, "x_y": x_y_}' in "".join(text.split("\n"))


def test_methods_that_differ_by_capitals_only_call_what_they_say() -> None:
    text = written(method("add"), method("Add"), method("ADD"))
    for name, constant in (("add", "_ADD"), ("Add", "_ADD_"), ("ADD", "_ADD_2")):
        assert f'{constant} = TypedMethod[None]("{name}", None)' in text
        assert f"def {name}(self) -> None:\n        return self._call({constant}, {{}})" in text


def test_a_dataclass_never_has_the_name_of_something_else() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    names = ("Shop", "AsyncShop", "Record", "Any", "list", "UUID")
    text = written(
        *(method(f"get{n}", result={"$ref": f"#/components/schemas/{name}"}) for n, name in enumerate(names)),
        schemas={name: dict(schema) for name in names},
    )
    tree = ast.parse(text)
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert classes == ["Shop", "AsyncShop", "Record_", "Any_", "List", "UUID_", "ShopClient", "AsyncShopClient"]


@pytest.mark.parametrize("record", ["Shop", "AsyncShop"])
def test_where_a_dataclass_is_named_like_the_service_the_client_gives_way(record: str) -> None:
    schemas = {record: {"type": "object", "properties": {"a": {"type": "integer"}}}}
    described = document(method("get", result={"$ref": f"#/components/schemas/{record}"}), schemas=schemas)
    text = write_client(described, "shop.py")
    for line in (
        f"class {record}(Record):",
        "class ShopClient(BlockingClient):",
        "class AsyncShopClient(AsyncClient):",
    ):
        assert line in text
    assert signature(text, "get", "ShopClient") == f"get(self) -> {record}"
    # Who names the class himself gets what he says.
    named = write_client(described, "shop.py", "Shop")
    assert "class Shop(BlockingClient):" in named
    assert f"class {record}_(Record):" in named


def test_a_parameter_may_be_named_like_something_that_is_imported() -> None:
    plain = written(method("get", param("dt"), param("field"), param("UUID"), param("Decimal", required=False)))
    assert signature(plain, "get") == "get(self, dt: Any, field: Any, UUID: Any, Decimal: Any=None) -> None"
    assert not {"dt", "field", "UUID", "Decimal"} & set(imported(plain))
    dates = written(method("get", param("dt", {"type": "string", "format": "date"})))
    assert signature(dates, "get") == "get(self, dt: dt.date) -> None"
    assert "dt" in imported(dates)


def test_the_class_is_named_after_the_service_or_as_one_likes() -> None:
    assert "class OrderDesk(BlockingClient):" in written(title="order-desk")
    assert "class Service(BlockingClient):" in written(title="***")
    text = write_client(document(), "shop.py", "Billing")
    assert "class Billing(BlockingClient):" in text
    assert "class AsyncBilling(AsyncClient):" in text


def test_the_same_document_makes_the_same_module() -> None:
    line = {"$ref": "#/components/schemas/Line"}
    found = document(method("a", param("x", line), result=line), method("b", result=LINE), schemas={"Line": LINE})
    assert write_client(found, "s") == write_client(json.loads(json.dumps(found)), "s")
    assert "Source: s\n" in write_client(found, "s")


def test_nothing_is_imported_that_is_not_used() -> None:
    text = written(method("get", summary="Any UUID of a Decimal, dt.date or Literal field"))
    assert imported(text) == ["annotations", "AsyncClient", "BlockingClient", "TypedMethod"]


def hostile(text: str) -> dict[str, Any]:
    """Return a document with a text wherever one may stand."""
    schema = {
        "type": "object",
        "description": text,
        "properties": {
            text: {"type": "string", "description": text, "default": text},
            "e": {"enum": [text, "a"], "default": text},
        },
    }
    described = method(
        f"m{text}",
        param(f"p{text}", {"type": "string", "default": text}, False, description=text),
        param(f"q{text}", {"const": text}),
        result={"$ref": "#/components/schemas/X"},
        summary=text,
        description=text,
        errors=[{"code": 1, "message": text}],
        **{"x-private": True, "x-scopes": [text]},
    )
    described["result"]["description"] = text
    return document(described, schemas={"X": schema}, title=text, version=text, description=text)


@pytest.mark.parametrize(
    "text",
    [
        EVIL,
        '"',
        "'",
        '""',
        '"""',
        "'''",
        "\\",
        '\\"""',
        "a\nimport os\n",
        "\u202e",
        "\x00",
        "\ud800",
        "{x}",
        "%s",
        "ä" * 200,
    ],
    ids=ascii,
)
def test_no_text_of_a_document_becomes_code(text: str) -> None:
    found = write_client(hostile(text), text)
    check_harmless(found)
    found.encode()


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_no_text_at_all_becomes_code(text: str) -> None:
    check_harmless(write_client(hostile(text), text))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "enum", "const", "anyOf", "allOf", "items", "properties", "required", "default", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_a_schema_of_any_shape_makes_a_harmless_module_or_an_error(schema: object) -> None:
    try:
        text = written(method("get", param("x", schema, required=False), result=schema))
    except DescriptionError:
        return
    check_harmless(text)


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"openrpc": "1.3.2", "methods": [{}]},
        {"openrpc": "1.3.2", "methods": [{"name": "a", "params": {}}]},
        {"openrpc": "1.3.2", "methods": [{"name": "a", "params": [{}]}]},
        {"openrpc": "1.3.2", "methods": [{"name": "a", "params": [5]}]},
        {"openrpc": "1.3.2", "methods": [{"$ref": "#/methods/0"}]},
        {"openrpc": "1.3.2", "methods": [], "info": []},
    ],
    ids=str,
)
def test_what_is_no_document_is_an_error(found: dict[str, Any]) -> None:
    with pytest.raises(DescriptionError):
        write_client(found, "x")


def test_documents_that_double_at_every_step_or_never_end_take_no_time() -> None:
    names = [f"S{n}" for n in range(60)]
    doubling = {
        name: {"type": "array", "items": [{"$ref": f"#/components/schemas/S{n + 1}"}] * 2}
        for n, name in enumerate(names)
    }
    endless = {"anyOf": [{"$ref": "#/components/schemas/E"}, {"$ref": "#/components/schemas/E"}]}
    schemas = {**doubling, "S60": {"type": "integer"}, "E": endless}
    text = written(
        method("a", result={"$ref": "#/components/schemas/S0"}),
        method("b", result={"$ref": "#/components/schemas/E"}),
        schemas=schemas,
    )
    assert len(text) < 20_000
    assert signature(text, "b") == "b(self) -> Any"


def load(text: str) -> ModuleType:
    """Return a module, imported."""
    module = ModuleType("written_client")
    sys.modules[module.__name__] = module
    exec(text, module.__dict__)  # noqa: S102 - it was written here
    return module


def test_nothing_in_a_class_hides_what_its_hints_are_written_with() -> None:
    record = {
        "type": "object",
        "properties": {
            "field": {"type": "string", "default": "x"},
            "class": {"type": "string"},
            "Part": {"$ref": "#/components/schemas/Part"},
            "other": {"$ref": "#/components/schemas/Part"},
        },
    }
    part = {"type": "object", "properties": {"a": {"type": "integer"}}}
    reference = {"$ref": "#/components/schemas/Whole"}
    text = written(method("Part"), method("get", result=reference), schemas={"Whole": record, "Part": part})
    for line in (
        'field_: str = field(metadata={"data_key": "field"}',
        "Part_: Part | None = field(",
        "def Part_(self)",
    ):
        assert line in text
    module = load(text)
    whole = module._GET.read({"field": "y", "Part": {"a": 1}})
    assert (whole.field_, whole.Part_.a, whole.other) == ("y", 1, None)


def test_none_is_sent_where_the_default_is_something_else() -> None:
    schema = {
        "type": "object",
        "properties": {"note": {"type": ["string", "null"], "default": "x"}, "when": {"type": "string"}},
    }
    text = written(method("get", result={"$ref": "#/components/schemas/Note"}), schemas={"Note": schema})
    note = load(text).Note
    assert to_json(note(note=None)) == {"note": None}
    assert to_json(note()) == {"note": "x"}
