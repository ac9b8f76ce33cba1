"""Arguments and results by type hints: what a function's hints say is checked, and converted, both ways.

A function is typed if one of its hints is more than JSON has itself (a dataclass, a TypedDict, an Enum, a datetime, a
UUID, a tuple, a Literal...: see ``is_rich``), or if it belongs to the interface of a service (``gemstone_events.management``). All of its parameters and its
result are then checked, the simple ones too: an ``int`` is no text. Any other function is called as it always was, with
what the caller sent.

``field_for`` gives the marshmallow field of a hint, for descriptions.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial, wraps
from inspect import Parameter, Signature, isawaitable
from typing import Any, TypeAlias, cast

from marshmallow import ValidationError

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_errors import InvalidAnswerError, LocalServiceException
from gemstone_events.rpc.errors import InvalidParams
from gemstone_events.rpc.protocol import Params
from gemstone_events.rpc.signatures.compound_fields import collected, write
from gemstone_events.rpc.signatures.strict_fields import AnyField
from gemstone_events.rpc.signatures.type_hints import (
    TypeHintError,
    UnresolvedHint,
    is_anything,
    is_rich,
    namespace_of,
    resolve,
    substituted,
)
from gemstone_events.rpc.signatures.typed_fields import field_for, look_into, schema_for
from gemstone_events.strict_json import JsonValue

__all__ = ["ResultError", "TypeHintError", "TypedFunction", "field_for", "schema_for", "typed_function", "why_unbound"]

_SHOWN = 200
_MAX_MESSAGES = 100
_NOTHING: Mapping[Any, object] = {}
_Convert: TypeAlias = Callable[[AnyField, object], object]


class ResultError(TypeError):
    """A method returned what its own type hint does not allow."""


class TypedFunction:
    """A function's parameters and result, as JSON has them.

    Args:
        name: what the function is called, for messages.
        signature: its parameters, without ``self`` and without what callers cannot pass.
        parameters: a field for each parameter; for ``*args`` and ``**kwargs``, of each single one.
        result: the field of what it returns; None where it does not say.
    """

    def __init__(
        self, name: str, signature: Signature, parameters: Mapping[str, AnyField], result: AnyField | None
    ) -> None:
        self.name = name
        self.signature = signature
        self.parameters = parameters
        self.result = result

    def load(self, params: Params) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the arguments, positional and by name, for a call with JSON parameters.

        Raises:
            InvalidParams: they do not fit; ``data`` says why: a text, or marshmallow's messages by parameter.
        """
        by_position = isinstance(params, list | tuple)
        try:
            bound = (
                self.signature.bind(*params) if by_position else self.signature.bind(**cast(dict[str, object], params))
            )
        except TypeError as error:
            raise InvalidParams(data=why_unbound(self.signature, params, error)) from None
        problems = self._convert(bound, lambda field, value: field.deserialize(value))
        if problems:
            raise InvalidParams(data=problems)
        return bound.args, bound.kwargs

    def dump(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Params:
        """Return the JSON parameters for a call with these arguments: by name, where every parameter has one.

        Raises:
            TypeError: the function cannot be called so; it says what Python says.
            LocalServiceException: an argument is not what its hint says; ``data`` holds the messages by parameter.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}(): {error}") from None
        problems = self._convert(bound, write)
        if problems:
            raise LocalServiceException(f"the arguments of {self.name} do not fit its type hints", data=problems)
        if any(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in self.signature.parameters.values()):
            if bound.kwargs:
                raise TypeError(f"{self.name}(): JSON-RPC takes arguments all by position or all by name")
            return cast("list[JsonValue]", list(bound.args))
        return cast("dict[str, JsonValue]", _by_name(bound))

    def dump_result(self, result: object) -> object:
        """Return a result as a JSON value.

        Raises:
            ResultError: it is not what the function's hint says.
        """
        if self.result is None:
            return result
        try:
            return cast(object, write(self.result, result))
        except ValidationError as error:
            raise ResultError(
                f"the result of {self.name} does not fit its type hint: {_first_of(error.messages)}"
            ) from error

    def load_result(self, result: JsonValue) -> object:
        """Return what a service's result stands for.

        Raises:
            InvalidAnswerError: it is not what the function's hint says; ``data`` holds the messages.
        """
        if self.result is None:
            return result
        try:
            return cast(object, self.result.deserialize(result))
        except ValidationError as error:
            messages = cast(JsonValue, _first_of(error.messages))
            raise InvalidAnswerError(f"the result of {self.name} does not fit its type hint", data=messages) from error

    def dumping(self, function: Callable[..., object]) -> Callable[..., object]:
        """Return a function that does what ``function`` does, and returns a JSON value; awaitable if that is."""
        if self.result is None:
            return function

        @wraps(function)
        def call(*args: object, **kwargs: object) -> object:
            result = function(*args, **kwargs)
            return self._dump_later(result) if isawaitable(result) else self.dump_result(result)

        return call

    async def _dump_later(self, result: Awaitable[object]) -> object:
        return self.dump_result(await result)

    def _convert(self, bound: inspect.BoundArguments, convert: _Convert) -> dict[str, JsonValue]:
        """Convert the arguments in place and return the messages about those that cannot be."""
        problems: dict[str, JsonValue] = {}
        for name, value in bound.arguments.items():
            kind, field = self.signature.parameters[name].kind, self.parameters[name]
            try:
                if kind is Parameter.VAR_POSITIONAL:
                    listed = enumerate(cast("tuple[object, ...]", value))
                    converted = collected((index, partial(convert, field, each)) for index, each in listed)
                    bound.arguments[name] = tuple(converted.values())
                elif kind is Parameter.VAR_KEYWORD:
                    named = cast("dict[str, object]", value).items()
                    bound.arguments[name] = collected((key, partial(convert, field, each)) for key, each in named)
                else:
                    bound.arguments[name] = convert(field, value)
            except ValidationError as error:
                problems[name] = cast(JsonValue, _first_of(error.messages))
        return problems


def why_unbound(signature: Signature, params: Params, error: TypeError) -> str:
    """Return why parameters do not fit a signature.

    What Python says in ``error`` names one that is missing before one that is unknown: a misspelt name is both, and is
    named here as well.
    """
    reason = str(error)
    known = signature.parameters
    if isinstance(params, list | tuple) or any(p.kind is Parameter.VAR_KEYWORD for p in known.values()):
        return reason
    unknown = next((name for name in params if name not in known), None)
    if unknown is None or repr(unknown) in reason:
        return reason
    return f"{reason}; got an unexpected keyword argument {str(unknown)[:_SHOWN]!r}"


def typed_function(
    name: str,
    function: Callable[..., object],
    signature: Signature | None = None,
    *,
    always: bool = False,
    meanings: Mapping[Any, object] = _NOTHING,
) -> TypedFunction | None:
    """Return how a function's parameters and result look in JSON; None where nothing has to be converted.

    Args:
        name: what it is called, for messages.
        function: the function, bound to its object.
        signature: its parameters, where callers cannot pass all of them.
        always: convert and check, even if the hints say nothing that JSON does not have.
        meanings: what type variables of the function's class stand for.

    Raises:
        ServiceConfigurationError: a hint cannot be resolved, or cannot be read from JSON.
    """
    signature = inspect.signature(function) if signature is None else signature
    hints, unresolved = _resolved(signature, namespace_of(function), meanings)
    if not always and not any(is_rich(hint) for hint in hints.values()):
        return None
    for place, reason in unresolved.items():
        raise ServiceConfigurationError(f"the type hint of {place} of {name!r}: {reason}")
    parameters = {each: _field(name, repr(each), hints[each]) for each in signature.parameters}
    hint = hints[_RESULT]
    result = None if is_anything(hint) else _field(name, "the result", hint)
    return TypedFunction(name, signature, parameters, result)


_RESULT = "return"


def _resolved(
    signature: Signature, namespace: Mapping[str, object], meanings: Mapping[Any, object]
) -> tuple[dict[str, object], dict[str, str]]:
    """Return the hints by parameter, the result's as "return", and the reasons why some have none."""
    hints: dict[str, object] = {}
    unresolved: dict[str, str] = {}
    annotations = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    for name, hint in {**annotations, _RESULT: signature.return_annotation}.items():
        try:
            hints[name] = substituted(resolve(hint, namespace, {}), meanings)
        except UnresolvedHint as error:
            hints[name] = object
            unresolved[repr(name)] = str(error)
    return hints, unresolved


def _field(name: str, place: str, hint: object) -> AnyField:
    try:
        field = field_for(hint)
        look_into(field)
    except TypeHintError as error:
        raise TypeHintError(f"the type hint of {place} of {name!r}: {error}") from None
    except RecursionError:
        raise TypeHintError(f"the type hint of {place} of {name!r} holds itself: let a dataclass do that") from None
    return field


def _first_of(messages: object) -> object:
    """Return messages without those that come after so many: they can be longer than what they are about."""
    left = _MAX_MESSAGES

    def cut(part: object) -> object:
        nonlocal left
        if isinstance(part, str):
            left -= 1
        if isinstance(part, Mapping):
            return {key: cut(each) for key, each in part.items() if left > 0}
        return [cut(each) for each in part if left > 0] if isinstance(part, list) else part

    return cut(messages)


def _by_name(bound: inspect.BoundArguments) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is Parameter.VAR_KEYWORD:
            found.update(cast("dict[str, object]", value))
        else:
            found[name] = value
    return found
