"""Whether a method can stand for the one that its interface declares: whoever calls that may call this."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter, Signature

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management.descriptors import MethodDescriptor

_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_Call = tuple[Sequence[str], Mapping[str, str]]


def check_substitute(cls: type, interface: type, method: MethodDescriptor) -> None:
    """Check that a class's method takes every call that its interface's does, by position and by name.

    It may have more parameters, as long as callers can leave them out. What counts is what is really called: a decorator
    that passes on ``*args`` and ``**kwargs`` takes everything.

    Raises:
        ServiceConfigurationError: it is no method, ``def`` for ``async def`` or the other way round, or there is a call
            that it does not take; the message shows both.
    """
    function, name = getattr(cls, method.name), f"{cls.__qualname__}.{method.name}"
    if not callable(function):
        raise ServiceConfigurationError(f"{name} has to be a method, as in its interface")
    if inspect.iscoroutinefunction(inspect.unwrap(function)) != method.is_async:
        wanted = "async def" if method.is_async else "def"
        raise ServiceConfigurationError(f"{name} has to be '{wanted}', as in its interface")
    own, declared = _own_signature(cls, method.name), method.types.signature
    if own is None:
        return
    for call in _calls(list(declared.parameters.values())):
        if reason := _why_not(own, declared, call):
            raise ServiceConfigurationError(
                f"{name}{_shown(own)} cannot stand for {interface.__qualname__}.{method.name}{_shown(declared)}: "
                f"{reason}; give it the same parameters, by the same names"
            )


def _own_signature(cls: type, name: str) -> Signature | None:
    """Return the parameters that callers pass; None where nobody can tell, as of functions in C."""
    found = inspect.getattr_static(cls, name)
    bound = found.__get__(object(), cls) if hasattr(found, "__get__") else found
    try:
        return inspect.signature(bound, follow_wrapped=False)
    except ValueError:
        return None


def _calls(declared: Sequence[Parameter]) -> Iterator[_Call]:
    """Yield the calls that show what a function takes: of all parameters and the required ones, by position and by name.

    Each argument is the name of its parameter.
    """
    required = [each for each in declared if each.default is Parameter.empty and each.kind not in _VARIADIC]
    for parameters in (declared, required):
        more = {f"any_{each.name}": "" for each in parameters if each.kind is Parameter.VAR_KEYWORD}
        for kinds in (_BY_POSITION, (Parameter.POSITIONAL_ONLY,)):
            args = [each.name for each in parameters if each.kind in kinds]
            kwargs = {each.name: each.name for each in parameters if each.kind in _BY_NAME and each.name not in args}
            yield args, {**kwargs, **more}


def _why_not(own: Signature, declared: Signature, call: _Call) -> str:
    """Return why a function does not take a call, or takes an argument for another; empty where it does."""
    args, kwargs = call
    try:
        bound = own.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    for name, given in bound.arguments.items():
        if name in declared.parameters and declared.parameters[name].kind in _BY_NAME and given != name:
            return f"{name!r} has another place"
    return ""


def _shown(signature: Signature) -> str:
    """Return a signature for people, without type hints."""
    return str(Signature([each.replace(annotation=Parameter.empty) for each in signature.parameters.values()]))
