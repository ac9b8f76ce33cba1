"""From an OpenRPC document to a typed client: one Python module, the same every time."""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gemstone_events.rpc.description.openrpc_changes import check_openrpc
from gemstone_events.rpc.description.python_names import LINE, Names, call_lines, class_name, docstring, literal
from gemstone_events.rpc.description.python_types import TYPE_NAMES, PythonTypes, Record, Value, union
from gemstone_events.rpc.description.references import DescriptionError, Members, References, members
from gemstone_events.strict_json import JsonValue

RUNTIME = "gemstone_events.rpc.description.typed_client"

_OF_RUNTIME = frozenset({"AsyncClient", "BlockingClient", "Record", "TypedMethod", "given", "leading"})
_STANDARD = (
    ("dataclasses", frozenset({"dataclass", "field"})),
    ("decimal", frozenset({"Decimal"})),
    ("typing", frozenset({"Any", "Literal"})),
    ("uuid", frozenset({"UUID"})),
)
_IMPORTED = _OF_RUNTIME.union({"annotations", "dt"}, *(names for _, names in _STANDARD))
_OF_CLIENTS = frozenset({"aclose", "close", "with_options"})
_INDENT = " " * 4


@dataclass(frozen=True, slots=True)
class _Method:
    """One method, as it is written.

    Attributes:
        name: in Python.
        constant: the name of the ``TypedMethod``.
        key: on the wire.
        further: the type of ``*args`` or ``**kwargs``, if it takes any.
        text: the paragraphs of its docstring.
    """

    name: str
    constant: str
    key: str
    values: Sequence[Value]
    is_by_position: bool
    further: str
    returns: str
    is_idempotent: bool
    text: Sequence[str]


def write_client(document: Mapping[str, JsonValue], source: str, name: str | None = None) -> str:
    """Return a Python module with a client for a service: ``Name``, which blocks, and ``AsyncName``.

    The methods have the document's names with underscores for dots; what is no name in Python is changed a little.
    Texts of the document become docstrings and literals and can be nothing else.

    Args:
        document: an OpenRPC document, from whomever.
        source: what it was made from, for people; without credentials.
        name: the class's name; default: the service's, with ``Client`` behind it where a dataclass has that name.

    Raises:
        DescriptionError: it is no OpenRPC document, or cannot be followed.
    """
    # What is one object in memory may be two in JSON; a module must not depend on that.
    found = check_openrpc(json.loads(json.dumps(document)))
    info = members(found.get("info", {}), "info")
    classes = Names(TYPE_NAMES | _IMPORTED)
    own = None if name is None else _take_client(classes, name)
    types = PythonTypes(References(found), classes)
    read = list(_Reader(References(found), types).methods(found))
    blocking, asynchronous = own or _take_client(classes, _client_name(info, classes))
    methods = list(_named(read, classes))
    records = [line for record in types.records for line in _write_record(record, classes)]
    constants = [line for method in methods for line in _write_constant(method)]
    about = str(info.get("description", ""))
    body = [*records, "", "", *constants] if constants else records
    code = "\n".join(
        [
            *body,
            *_write_client(blocking, "BlockingClient", about, methods, is_async=False),
            *_write_client(asynchronous, "AsyncClient", about, methods, is_async=True),
        ]
    )
    return "\n".join([*_write_head(info, source), "", *_imports(code), code]) + "\n"


def _client_name(info: Members, classes: Names) -> str:
    """Return the client's name: the service's, unless a dataclass has it, which callers write more often."""
    name = class_name(str(info.get("title", "")))
    return f"{name}Client" if {name, f"Async{name}"} & set(classes) else name


def _take_client(classes: Names, name: str) -> tuple[str, str]:
    return classes.take(name), classes.take(f"Async{name}")


class _Reader:
    """Reads the methods of a document."""

    def __init__(self, references: References, types: PythonTypes) -> None:
        self._references = references
        self._types = types

    def methods(self, document: Members) -> Iterator[_Method]:
        listed = document["methods"]
        assert isinstance(listed, list)
        for entry in listed:
            yield self._method(self._references.resolve(entry, "a method"))

    def _method(self, described: Members) -> _Method:
        key = described.get("name")
        if not isinstance(key, str) or not key:
            raise DescriptionError("a method has no name")
        wanted = class_name(key)
        is_by_position = described.get("paramStructure") == "by-position"
        names = Names({"self", "leading", "given", "further"})
        values = [self._value(names, param, f"{wanted}Params") for param in _list(described, "params")]
        if is_by_position:
            values = [_without_default(value) for value in values]
        result = self._references.resolve(described.get("result", {"schema": {"type": "null"}}), key)
        further = described.get("x-further-params")
        more = further.get("by-position" if is_by_position else "by-name") if isinstance(further, Mapping) else None
        return _Method(
            name=key,
            constant="",
            key=key,
            values=values,
            is_by_position=is_by_position,
            further="" if more is None else self._types.hint(more, f"{wanted}Further"),
            returns=self._types.hint(result.get("schema", {}), f"{wanted}Result"),
            is_idempotent=described.get("x-idempotent") is True,
            text=list(self._text(described, values, result)),
        )

    def _value(self, names: Names, entry: JsonValue, wanted: str) -> Value:
        param = self._references.resolve(entry, "a parameter")
        key = param.get("name")
        if not isinstance(key, str) or not key:
            raise DescriptionError("a parameter has no name")
        text = " ".join(str(param.get("description") or "").split())
        schema = param.get("schema", {})
        return self._types.value(
            names.take(key), key, schema, param.get("required") is True, f"{wanted}{class_name(key)}", text
        )

    def _text(self, described: Members, values: Sequence[Value], result: Members) -> Iterator[str]:
        yield " ".join(str(described.get("summary") or "").split())
        yield str(described.get("description") or "")
        if described.get("deprecated") is True:
            yield "Deprecated."
        if described.get("x-private") is True:
            scopes = ", ".join(str(scope) for scope in _list(described, "x-scopes"))
            yield f"Callers need the scopes {scopes}." if scopes else "Callers have to authenticate."
        if lines := [f"    {value.name}: {_one_line(value.description)}" for value in values if value.description]:
            yield "\n".join(["Args:", *lines])
        if text := _one_line(str(result.get("description") or "")):
            yield f"Returns:\n    {text}"
        errors = [self._references.resolve(error, "an error") for error in _list(described, "errors")]
        own = [error for error in errors if isinstance(error.get("code"), int) and not _is_reserved(error["code"])]
        if own:
            lines = [
                f"    CalledServiceError: {error['code']} {_one_line(str(error.get('message', '')))}" for error in own
            ]
            yield "\n".join(["Raises:", *lines])


def _write_head(info: Members, source: str) -> list[str]:
    what = f"Client of the service {info.get('title', '')!s}, version {info.get('version', '')!s}."
    how = f"Written by gemstone generate-client: do not edit, but write it anew.\nSource: {source}"
    return docstring([what, how], "")


def _named(methods: Sequence[_Method], classes: Names) -> Iterator[_Method]:
    """Yield methods under names in Python. In a class's body they hide what its hints are written with: its classes too."""
    names, constants = Names(_OF_CLIENTS.union(classes)), Names()
    for method in methods:
        name = names.take(method.key)
        yield replace(method, name=name, constant=f"_{constants.take(name.upper())}")


def _write_record(record: Record, classes: Names) -> Iterator[str]:
    names = Names({"Meta", "Schema"}.union(classes))
    values = [replace(value, name=names.take(value.key)) for value in record.values]
    described = [f"    {value.name}: {_one_line(value.description)}" for value in values if value.description]
    attributes = "\n".join(["Attributes:", *described]) if described else ""
    yield from ("", "", "@dataclass(frozen=True, slots=True, kw_only=True)", f"class {record.name}(Record):")
    text = docstring([record.description, attributes], _INDENT)
    yield from [*text, ""] if text else []
    for value in values:
        if value.name == value.key:
            default = "" if value.default is None else f" = {value.default}"
            yield f"{_INDENT}{value.name}: {value.hint}{default}"
        else:
            arguments = [f'metadata={{"data_key": {literal(value.key)}}}']
            arguments += [] if value.default is None else [f"default={value.default}"]
            yield from call_lines(f"{value.name}: {value.hint} = field", arguments, "", _INDENT)


def _write_constant(method: _Method) -> list[str]:
    arguments = [literal(method.key), method.returns]
    arguments += ["idempotent=True"] if method.is_idempotent else []
    return call_lines(f"{method.constant} = TypedMethod[{method.returns}]", arguments, "", "")


def _write_client(name: str, base: str, about: str, methods: Sequence[_Method], *, is_async: bool) -> Iterator[str]:
    yield from ("", "", f"class {name}({base}):")
    way = "Calls the service from event loops." if is_async else "Calls the service from threads and scripts."
    yield from docstring([way, about], _INDENT)
    for method in methods:
        yield ""
        head = f"{'async ' if is_async else ''}def {method.name}"
        yield from call_lines(head, _parameters(method), f" -> {method.returns}:", _INDENT)
        yield from docstring(method.text, _INDENT * 2)
        call = f"return {'await ' if is_async else ''}self._call"
        yield from call_lines(call, [method.constant, *_arguments(method)], "", _INDENT * 2)


def _parameters(method: _Method) -> list[str]:
    required = [f"{value.name}: {value.hint}" for value in method.values if value.default is None]
    optional = [f"{value.name}: {value.hint} = {value.default}" for value in method.values if value.default is not None]
    further = f"{'*' if method.is_by_position else '**'}further: {method.further}" if method.further else ""
    return ["self", *required, *optional, *([further] if further else [])]


def _arguments(method: _Method) -> list[str]:
    """Return what is sent: parameters by name where possible, for it says what it means."""
    if method.is_by_position:
        required = [value.name for value in method.values if value.default is None]
        others = [value.name for value in method.values if value.default is not None]
        others += ["*further"] if method.further else []
        places = [*required, f"*leading({', '.join(others)})"] if others else required
        return [f"[{', '.join(places)}]"]
    certain = [f"{literal(value.key)}: {value.name}" for value in method.values if not value.is_omissible]
    maybe = [f"{literal(value.key)}: {value.name}" for value in method.values if value.is_omissible]
    found = ["{" + ", ".join(certain) + "}"]
    found += [f"given({{{', '.join(maybe)}}})"] if maybe else []
    return [*found, "further"] if method.further else found


def _without_default(value: Value) -> Value:
    """Return a parameter that is left out by None: only so it is known what was given, where places count."""
    if value.default is None:
        return value
    return replace(value, hint=union([value.hint, "None"]), default="None", is_omissible=True)


def _imports(code: str) -> Iterator[str]:
    """Yield the imports that the code needs, in the order that isort likes."""
    used = _names_used(ast.parse(code))
    yield from ("from __future__ import annotations", "")
    standard = [
        f"from {module} import {', '.join(found)}" for module, names in _STANDARD if (found := sorted(used & names))
    ]
    standard = ["import datetime as dt", *standard] if "dt" in used else standard
    yield from [*standard, ""] if standard else []
    names = sorted(used & _OF_RUNTIME)
    line = f"from {RUNTIME} import {', '.join(names)}"
    wrapped = [f"from {RUNTIME} import (", *(f"{_INDENT}{name}," for name in names), ")"]
    yield from [line] if len(line) <= LINE else wrapped


def _names_used(tree: ast.Module) -> set[str]:
    """Return the names that mean something of the module: in a function, its own parameters hide it."""
    nodes = list(ast.walk(tree))
    hidden: set[int] = set()
    for function in nodes:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            parameters = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
            inner = [node for statement in function.body for node in ast.walk(statement)]
            hidden.update(id(node) for node in inner if isinstance(node, ast.Name) and node.id in parameters)
    return {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in hidden}


def _list(described: Members, name: str) -> Sequence[JsonValue]:
    found = described.get(name, [])
    if not isinstance(found, list):
        raise DescriptionError(f"{name} of {str(described.get('name'))[:80]!r} is no list")
    return found


def _is_reserved(code: JsonValue) -> bool:
    return isinstance(code, int) and -32768 <= code <= -32000


def _one_line(text: str) -> str:
    return " ".join(text.split())
