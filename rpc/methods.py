"""Exposed methods, and how the parameters of a call become the arguments of a function."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from marshmallow import Schema, ValidationError

from gemstone_events.errors import GemstoneError, ServiceConfigurationError
from gemstone_events.rpc.errors import InvalidParams, RpcError
from gemstone_events.rpc.protocol import Params
from gemstone_events.rpc.signatures.typed_parameters import TypedFunction, typed_function, why_unbound

MAX_METHOD_NAME_BYTES = 200
RESERVED_PREFIX = "rpc."
HANDLER = "handler"

Arguments: TypeAlias = "tuple[Sequence[object], Mapping[str, object]]"
"""Positional and keyword arguments, ready for the call."""

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.]*")
_PLAIN = inspect.Parameter.POSITIONAL_OR_KEYWORD
_NO_KEYWORDS: Mapping[str, object] = {}


class MethodNameError(ServiceConfigurationError, ValueError):
    """A method's name breaks the rules, or two methods have one name."""


def check_method_name(name: object, *, reserved: bool = False) -> str:
    """Return ``name`` if a method may be exposed under it; ``reserved``: by the framework itself.

    Raises:
        MethodNameError: it may not; ``rpc.`` is reserved by JSON-RPC 2.0, section 4.
    """
    if not isinstance(name, str) or len(name) > MAX_METHOD_NAME_BYTES or not _NAME.fullmatch(name):
        raise MethodNameError(
            f"method name {str(name)[:80]!r} is not valid: use a letter, then letters, digits, '_' and '.', "
            f"{MAX_METHOD_NAME_BYTES} in all at most"
        )
    if name.startswith(RESERVED_PREFIX) and not reserved:
        raise MethodNameError(f"method name {name!r} is not valid: JSON-RPC reserves names that begin with 'rpc.'")
    return name


class Method:
    """One exposed method.

    Args:
        name: what callers call it; see ``check_method_name``.
        function: what is called, bound to its object already.
        private: callers need leave (``Dispatcher``'s ``authorize``).
        takes_handler: the function gets the wire's request handler (for HTTP a ``tornado.web.RequestHandler``, for
            wires without one ``None``), as its keyword-only parameter ``handler`` or else as its first argument.
        schema: a marshmallow schema that the parameters, by name, have to pass; the function gets what it loads.
        doc: what the method does; default: the function's docstring.
        idempotent: calling it twice has the effect of calling it once, so that a call may be repeated.
        scopes: what a caller must have been granted, all of them.
        raises: subclasses of ``RpcError`` that the method may answer with, for descriptions.
        tags: words to group methods by, for descriptions.
        deprecated: callers should turn to something else, for descriptions.
        reserved: the name may begin with ``rpc.``: the method is the framework's own.
        types: how the parameters and the result are read and written, where another function's type hints say that:
            those of a service's interface. By default the function's own (see ``typed_parameters``).

    Attributes:
        function: what to call, with what ``bind`` returns; it returns a JSON value.
        is_coroutine: the function is ``async def``; otherwise it may block and belongs into a thread.
        signature: the parameters that callers may pass, without ``handler``.
        types: what the parameters and the result are in JSON, where they have to be converted; else None.

    Raises:
        ServiceConfigurationError: the declaration cannot work.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., object],
        *,
        private: bool = False,
        takes_handler: bool = False,
        schema: Schema | None = None,
        doc: str | None = None,
        idempotent: bool = False,
        scopes: Sequence[str] = (),
        raises: Sequence[type[GemstoneError]] = (),
        tags: Sequence[str] = (),
        deprecated: bool = False,
        reserved: bool = False,
        types: TypedFunction | None = None,
    ) -> None:
        self.name = check_method_name(name, reserved=reserved)
        self.private = private
        self.takes_handler = takes_handler
        self.schema = schema
        self.idempotent = idempotent
        self.scopes = frozenset(scopes)
        self.raises = _checked_errors(name, raises)
        self.tags = tuple(tags)
        self.deprecated = deprecated
        self.doc = doc if doc is not None else inspect.getdoc(function) or ""
        self.is_coroutine = _is_coroutine(name, function)
        self._handler = _handler_parameter(name, function) if takes_handler else None
        self.signature = _signature_without(function, self._handler) if types is None else types.signature
        self.types = typed_function(name, function, self.signature) if types is None else types
        self.function = function if self.types is None else self.types.dumping(function)
        self._bind = self._choose_bind()

    def __repr__(self) -> str:
        return f"Method({self.name!r}, {self.function!r})"

    def bind(self, params: Params, handler: object = None) -> Arguments:
        """Return the arguments for a call with ``params``.

        The function is not called: what it raises later is its own, and never taken for a mistake of the caller.

        Raises:
            InvalidParams: they do not fit; ``data`` says why.
        """
        args, kwargs = self._bind(params)
        if self._handler is None:
            return args, kwargs
        if self._handler.name in kwargs and self._handler.kind is not inspect.Parameter.POSITIONAL_ONLY:
            raise InvalidParams(data=f"got an unexpected keyword argument {self._handler.name!r}")
        if self._handler.kind is inspect.Parameter.KEYWORD_ONLY:
            return args, {**kwargs, HANDLER: handler}
        return (handler, *args), kwargs

    def _choose_bind(self) -> Callable[[Params], Arguments]:
        parameters = self.signature.parameters.values()
        if self.schema is not None:
            if any(p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY) for p in parameters):
                raise ServiceConfigurationError(
                    f"method {self.name!r} has a schema, so all its parameters need names that callers can use: "
                    "declare no '*args' and no positional-only parameters"
                )
            return partial(_bind_by_schema, self.schema, self.signature)
        if self.types is not None:
            return self.types.load
        if all(p.kind is _PLAIN for p in parameters):
            required = frozenset(p.name for p in parameters if p.default is p.empty)
            return partial(_bind_plain, self.signature, frozenset(self.signature.parameters), required)
        return partial(_bind_by_signature, self.signature)


class MethodTable:
    """The methods of a service by name.

    Raises:
        MethodNameError: two methods have one name; the message names both.
    """

    def __init__(self, methods: Iterable[Method] = ()) -> None:
        self._methods: dict[str, Method] = {}
        for method in methods:
            self.add(method)

    def add(self, method: Method) -> None:
        """Add a method; raises ``MethodNameError`` where its name is taken."""
        first = self._methods.setdefault(method.name, method)
        if first is not method:
            raise MethodNameError(
                f"two methods are exposed as {method.name!r}: {_described(first)} and {_described(method)}; "
                "give one of them another name"
            )

    def get(self, name: str) -> Method | None:
        """Return the method of that name, if there is one."""
        return self._methods.get(name)

    def __iter__(self) -> Iterator[Method]:
        return iter(self._methods.values())

    def __len__(self) -> int:
        return len(self._methods)


def _bind_plain(
    signature: inspect.Signature, names: frozenset[str], required: frozenset[str], params: Params
) -> Arguments:
    """Check what most methods need, fast: parameters that may be passed by position and by name."""
    if isinstance(params, Mapping):
        if params.keys() <= names and required <= params.keys():
            return (), params
    elif len(required) <= len(params) <= len(names):
        return params, _NO_KEYWORDS
    return _bind_by_signature(signature, params)  # which raises, with the reason


def _bind_by_signature(signature: inspect.Signature, params: Params) -> Arguments:
    args, kwargs = ((), params) if isinstance(params, Mapping) else (params, _NO_KEYWORDS)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidParams(data=why_unbound(signature, params, error)) from None
    return args, kwargs


def _bind_by_schema(schema: Schema, signature: inspect.Signature, params: Params) -> Arguments:
    if not isinstance(params, Mapping):
        try:
            params = signature.bind_partial(*params).arguments
        except TypeError as error:
            raise InvalidParams(data=str(error)) from None
    try:
        loaded = schema.load(dict(params))
    except ValidationError as error:
        raise InvalidParams(data=error.messages_dict) from None
    if not isinstance(loaded, Mapping):
        raise TypeError(f"schema {type(schema).__name__} has to load parameters to a dict, not to {type(loaded)}")
    return _bind_by_signature(signature, loaded)


def _checked_errors(name: str, raises: Sequence[type[GemstoneError]]) -> tuple[type[RpcError], ...]:
    errors = tuple(kind for kind in raises if isinstance(kind, type) and issubclass(kind, RpcError))
    if len(errors) < len(raises):
        raise ServiceConfigurationError(
            f"method {name!r} declares that it raises {list(raises)}: only subclasses of RpcError reach callers"
        )
    return errors


def _is_coroutine(name: str, function: Callable[..., object]) -> bool:
    plain = inspect.unwrap(function.func if isinstance(function, partial) else function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise ServiceConfigurationError(f"method {name!r} is a generator: return a list instead of yielding")
    return any(inspect.iscoroutinefunction(each) for each in (function, plain, type(plain).__call__))


def _handler_parameter(name: str, function: Callable[..., object]) -> inspect.Parameter:
    parameters = inspect.signature(function).parameters
    named = parameters.get(HANDLER)
    if named is not None and named.kind is named.KEYWORD_ONLY:
        return named
    first = next(iter(parameters.values()), None)
    if first is not None and first.kind in (_PLAIN, inspect.Parameter.POSITIONAL_ONLY):
        return first
    raise ServiceConfigurationError(
        f"method {name!r} asks for the request handler, but has no parameter for it: "
        "let it be the first one, or a keyword-only one named 'handler'"
    )


def _signature_without(function: Callable[..., object], handler: inspect.Parameter | None) -> inspect.Signature:
    signature = inspect.signature(function)
    if handler is None:
        return signature
    return signature.replace(parameters=[p for p in signature.parameters.values() if p.name != handler.name])


def _described(method: Method) -> str:
    return f"{getattr(method.function, '__module__', '?')}.{getattr(method.function, '__qualname__', method.function)}"
