"""The OpenRPC document of a service (https://spec.open-rpc.org, version 1.3)."""

import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import cast
from urllib.parse import urlsplit

import docstring_parser
from docstring_parser import Docstring
from marshmallow import Schema, ValidationError, missing

from gemstone_events import strict_json
from gemstone_events.rpc.description.json_schemas import JsonSchema, JsonSchemas, is_json
from gemstone_events.rpc.errors import (
    AccessDenied,
    DeadlineExceeded,
    InternalError,
    Interrupted,
    InvalidParams,
    Overloaded,
    RpcError,
)
from gemstone_events.rpc.methods import RESERVED_PREFIX, Method
from gemstone_events.rpc.signatures.compound_fields import write
from gemstone_events.rpc.signatures.strict_fields import AnyField
from gemstone_events.rpc.signatures.type_hints import UnresolvedHint, namespace_of, resolve
from gemstone_events.strict_json import JsonValue

OPENRPC_VERSION = "1.3.2"

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """What a description says of the service as a whole.

    Attributes:
        name: the service's name.
        version: the version of what it offers, its author's own.
        description: what it is for.
    """

    name: str
    version: str = "0.0.0"
    description: str = ""

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the Info Object, which OpenRPC and AsyncAPI share."""
        described: dict[str, JsonValue] = {"description": self.description} if self.description else {}
        return {"title": self.name, "version": self.version, **described}


def openrpc_document(
    methods: Iterable[Method], info: ServiceInfo, servers: Sequence[str] = (), *, with_private: bool = True
) -> dict[str, JsonValue]:
    """Return the OpenRPC document of a service.

    Types come from marshmallow schemas and type hints; what JSON cannot express is described as anything.

    Args:
        methods: what it exposes; those that begin with ``rpc.`` are left out.
        info: what it is.
        servers: its URLs, without credentials.
        with_private: describe private methods too.
    """
    writer = _Writer()
    described = [
        writer.method(method)
        for method in sorted(methods, key=lambda method: method.name)
        if not method.name.startswith(RESERVED_PREFIX) and (with_private or not method.private)
    ]
    components = {"schemas": writer.schemas.components, "errors": writer.errors}
    return {
        "openrpc": OPENRPC_VERSION,
        "info": info.to_dict(),
        "servers": list(_servers(servers)),
        "methods": described,
        "components": {name: dict(sorted(members.items())) for name, members in components.items() if members},
    }


def info_of(owner: object, name: str, version: str = "0.0.0") -> ServiceInfo:
    """Return what is said of a service; its description is its own class's docstring."""
    return ServiceInfo(name, version, inspect.cleandoc(type(owner).__dict__.get("__doc__") or ""))


@dataclass(slots=True)
class _Writer:
    """Writes methods, and collects what they share."""

    schemas: JsonSchemas = field(default_factory=JsonSchemas)
    errors: dict[str, JsonValue] = field(default_factory=dict)

    def method(self, method: Method) -> dict[str, JsonValue]:
        doc = docstring_parser.parse(method.doc)
        params, structure = self._params(method, doc)
        found: dict[str, JsonValue] = {
            "name": method.name,
            "summary": doc.short_description or "",
            "description": doc.long_description or "",
            "tags": [{"name": tag} for tag in method.tags],
            "paramStructure": structure,
            "params": params,
            "result": self._result(method, doc),
            "errors": [self._error(kind) for kind in _errors_of(method)],
            "deprecated": method.deprecated,
            "x-private": method.private,
            "x-scopes": sorted(method.scopes),
            "x-idempotent": method.idempotent,
        }
        if further := [p for p in method.signature.parameters.values() if p.kind in _VARIADIC]:
            # OpenRPC has no word for "*args" and "**kwargs".
            found["x-further-params"] = {
                "by-position" if p.kind is p.VAR_POSITIONAL else "by-name": self._schema_of(method, p.name)
                for p in further
            }
        mandatory = ("name", "params", "result", "paramStructure")
        return {name: value for name, value in found.items() if name in mandatory or value}

    def _params(self, method: Method, doc: Docstring) -> tuple[list[JsonValue], str]:
        texts = {each.arg_name: each.description or "" for each in doc.params}
        parameters = [p for p in method.signature.parameters.values() if p.kind not in _VARIADIC]
        is_by_position = _is_by_position(method.signature.parameters.values())
        if is_by_position:
            parameters = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        if method.schema is None:
            described = [
                _content(p.name, self._schema_with_default(method, p), texts.get(p.name), _is_needed(p))
                for p in parameters
            ]
            has_places = all(p.kind is not p.KEYWORD_ONLY for p in parameters)
        else:
            described = list(self._params_of_schema(method.schema, method.signature.parameters, texts))
            # By position, values get the names of the function's parameters, and only then meet the schema.
            has_places = [content["name"] for content in described] == [p.name for p in parameters]
        in_order = sorted(described, key=lambda content: not content["required"])
        structure = "by-position" if is_by_position else "either" if has_places and in_order == described else "by-name"
        # "All optional params MUST be positioned after all required params": by name, the order does not matter.
        return cast("list[JsonValue]", in_order if structure == "by-name" else described), structure

    def _params_of_schema(
        self, schema: Schema, parameters: Mapping[str, inspect.Parameter], texts: Mapping[str, str]
    ) -> Iterator[dict[str, JsonValue]]:
        for name, member in _in_order(schema, list(parameters)):
            parameter = parameters.get(member.attribute or name)
            needed_by_function = parameter is not None and _is_needed(parameter)
            required = member.required or (needed_by_function and member.load_default is missing)
            text = texts.get(name) or str(member.metadata.get("description", ""))
            yield _content(member.data_key or name, self.schemas.of_field(member), text, required)

    def _result(self, method: Method, doc: Docstring) -> JsonValue:
        text = doc.returns.description if doc.returns else None
        return _content("result", self._schema_of(method, "return"), text)

    def _schema_of(self, method: Method, place: str) -> JsonSchema:
        if method.types is not None and place in method.types.parameters:
            return self.schemas.of_field(method.types.parameters[place])
        if method.types is not None and place == "return" and method.types.result is not None:
            return self.schemas.of_field(method.types.result)
        signature = method.signature
        hint = signature.return_annotation if place == "return" else signature.parameters[place].annotation
        try:
            return self.schemas.of_hint(resolve(hint, namespace_of(method.function), {}))
        except UnresolvedHint:
            return {}

    def _schema_with_default(self, method: Method, parameter: inspect.Parameter) -> JsonSchema:
        schema, default = self._schema_of(method, parameter.name), _default_of(method, parameter)
        # Beside a reference it would not count (draft-07).
        return schema if default is ... or "$ref" in schema else {**schema, "default": cast(JsonValue, default)}

    def _error(self, kind: type[RpcError]) -> JsonValue:
        described: JsonValue = {"code": kind.code, "message": kind.message}
        name, number = kind.__name__, 1
        while self.errors.get(name, described) != described:  # another class of the same name
            number += 1
            name = f"{kind.__name__}{number}"
        self.errors[name] = described
        return {"$ref": f"#/components/errors/{name}"}


def _in_order(schema: Schema, parameters: Sequence[str]) -> list[tuple[str, AnyField]]:
    """Return what a schema loads, in the order of the function's parameters."""
    loaded = [(name, member) for name, member in schema.fields.items() if not member.dump_only]
    last = len(parameters)
    place = {name: number for number, name in enumerate(parameters)}
    return sorted(loaded, key=lambda pair: place.get(pair[1].attribute or pair[0], last))


def _is_by_position(parameters: Collection[inspect.Parameter]) -> bool:
    """Tell whether some can be passed by position only, and all that are needed can."""
    if any(p.kind is p.POSITIONAL_ONLY for p in parameters):
        return True
    return any(p.kind is p.VAR_POSITIONAL for p in parameters) and not any(
        p.kind is p.KEYWORD_ONLY and _is_needed(p) for p in parameters
    )


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.kind not in _VARIADIC and parameter.default is parameter.empty


def _default_of(method: Method, parameter: inspect.Parameter) -> object:
    """Return a parameter's default as it travels, and an ellipsis where it has none, or none that JSON could carry."""
    default = parameter.default
    if default is parameter.empty:
        return ...
    if isinstance(default, bool | int | float | str | None) and not isinstance(default, Enum):
        return default if is_json(default) else ...
    if method.types is None:
        return ...
    try:
        return strict_json.loads(strict_json.dumps(write(method.types.parameters[parameter.name], default)))
    except (ValidationError, ValueError):
        return ...


def _content(name: str, schema: JsonSchema, text: str | None, required: bool | None = None) -> dict[str, JsonValue]:
    """Return a Content Descriptor Object."""
    found: dict[str, JsonValue] = {"name": name, "schema": schema}
    if text:
        found["description"] = " ".join(text.split())
    if required is not None:
        found["required"] = required
    return found


def _errors_of(method: Method) -> list[type[RpcError]]:
    """Return what a method may be answered with, each code once: the author's own errors go first."""
    framework: list[type[RpcError]] = [InternalError, DeadlineExceeded, Overloaded]
    framework += [InvalidParams] if method.signature.parameters else []
    framework += [AccessDenied] if method.private else []
    framework += [] if method.idempotent else [Interrupted]
    by_code: dict[int, type[RpcError]] = {}
    for kind in (*method.raises, *sorted(framework, key=lambda kind: kind.code)):
        by_code.setdefault(kind.code, kind)
    return list(by_code.values())


def _servers(urls: Sequence[str]) -> Iterator[JsonValue]:
    seen: list[str] = []
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.port == 0:
            continue  # any free port: which one is known when the service runs
        scheme = parts.scheme or "server"
        seen.append(scheme)
        count = seen.count(scheme)
        yield {"name": scheme if count == 1 else f"{scheme}-{count}", "url": url}
