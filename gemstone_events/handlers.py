"""The decorators, and what they declare: event handlers and exposed methods."""

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, get_type_hints

from marshmallow import Schema

from gemstone_events.errors import GemstoneError, ServiceConfigurationError
from gemstone_events.event import Event
from gemstone_events.names import check_name, check_pattern
from gemstone_events.retry import RetryPolicy
from gemstone_events.schema import SchemaLike, instance

Function = TypeVar("Function", bound=Callable[..., object])

_EVENTS = "__gemstone_event_handlers__"
_METHOD = "__gemstone_exposed_method__"


class EveryInstance:
    """The type of ``EVERY_INSTANCE``."""

    def __repr__(self) -> str:
        return "EVERY_INSTANCE"


EVERY_INSTANCE = EveryInstance()
"""As a handler's group: each running instance of the service gets its own copy."""


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """What ``@event_handler`` declares.

    Attributes:
        pattern: the event name, or a pattern.
        group: who competes for the events; None stands for the service's name.
        concurrency: how many events of this subscription are handled at once, at least 1.
        timeout: seconds that one attempt may take.
        retry: what happens to failures.
        schema: what bodies are loaded with before the handler sees them.
        hold_until_final: leave the delivery unacked with the broker until the event is handled or dead.
    """

    pattern: str
    group: str | EveryInstance | None = None
    concurrency: int = 10
    timeout: float = 60.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    schema: Schema | None = None
    hold_until_final: bool = False


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """What ``@exposed_method`` declares.

    Attributes:
        name: the name on the wire, or None for the function's own.
        private: only authenticated callers may call it.
        requires_handler_reference: the function takes the request's handler first.
        schema: what named parameters are loaded with before the method sees them.
        idempotent: calling it twice has the effect of calling it once.
        scopes: what a caller must have been granted.
        raises: subclasses of ``RpcError`` that callers may be answered with.
        tags: words to group methods by.
        deprecated: callers should turn to something else.
    """

    name: str | None = None
    private: bool = False
    requires_handler_reference: bool = False
    schema: Schema | None = None
    idempotent: bool = False
    scopes: tuple[str, ...] = ()
    raises: tuple[type[GemstoneError], ...] = ()
    tags: tuple[str, ...] = ()
    deprecated: bool = False


class BoundFunction(Protocol):
    """A method bound to its service or container."""

    __name__: str

    def __call__(self, *arguments: object) -> object:
        """Run it."""


@dataclass(frozen=True, slots=True)
class EventHandler:
    """A declared handler, bound and checked.

    Attributes:
        name: its class and function, the part of the inbox key that tells handlers apart.
        function: what to call with the body, and the event if ``takes_event``.
        is_coroutine: it is ``async def``; others run in the service's threads.
    """

    name: str
    function: BoundFunction
    options: HandlerOptions
    takes_event: bool
    is_coroutine: bool


def event_handler(
    event_name: str,
    *,
    group: str | EveryInstance | None = None,
    concurrency: int = 10,
    timeout: float = 60.0,
    retry: RetryPolicy | None = None,
    schema: SchemaLike | None = None,
    hold_until_final: bool = False,
) -> Callable[[Function], Function]:
    """Handle events. The function takes the body and, as a second parameter annotated ``Event``, the whole event.

    Args:
        event_name: an event name or a pattern: ``*`` for one word, ``#`` for any number of words.
        group: instances of one group compete for events; by default the service's name. ``EVERY_INSTANCE`` gives
            every running instance its own copy.
        concurrency: how many events are handled at once, at least 1.
        timeout: seconds that one attempt may take before it counts as failed.
        retry: attempts and delays; ``RetryPolicy()`` by default.
        schema: a marshmallow schema; the handler gets what it loads. A body that fails it is a dead letter.
        hold_until_final: keep the delivery unacked with the broker until the event is handled or dead, instead of
            acking as soon as the store has recorded the failed attempt.

    Raises:
        InvalidPatternError: the name or pattern can match nothing.
        ServiceConfigurationError: another argument is out of range.
    """
    if callable(event_name):
        raise ServiceConfigurationError('@event_handler needs an event name: write @event_handler("order.placed")')
    if concurrency < 1:
        raise ServiceConfigurationError(f"concurrency of the handler of {event_name!r} must be at least 1")
    if not 0 < timeout < math.inf:
        raise ServiceConfigurationError(
            f"timeout of the handler of {event_name!r} must be more than 0 seconds, and finite"
        )
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ServiceConfigurationError(
            f"retry of the handler of {event_name!r} is {retry!r}: write retry=RetryPolicy(attempts=...)"
        )
    if isinstance(group, str):
        check_name("group", group)
    options = HandlerOptions(
        pattern=check_pattern(event_name),
        group=group,
        concurrency=concurrency,
        timeout=timeout,
        retry=retry or RetryPolicy(),
        schema=None if schema is None else instance(schema),
        hold_until_final=hold_until_final,
    )

    def declare(function: Function) -> Function:
        setattr(function, _EVENTS, (*getattr(function, _EVENTS, ()), options))
        return function

    return declare


def exposed_method(
    name: str | None = None,
    private: bool = False,
    is_coroutine: bool | None = None,
    requires_handler_reference: bool = False,
    *,
    schema: SchemaLike | None = None,
    idempotent: bool = False,
    scopes: Sequence[str] = (),
    raises: Sequence[type[GemstoneError]] = (),
    tags: Sequence[str] = (),
    deprecated: bool = False,
) -> Callable[[Function], Function]:
    """Expose a method through JSON-RPC.

    Args:
        name: the name on the wire; by default the function's own. Letters, digits, dots and underscores.
        private: only callers that ``authenticate_request`` accepts may call it.
        is_coroutine: of no effect, and taken only so that older code keeps running: ``async def`` runs on the loop,
            ``def`` in the service's threads.
        requires_handler_reference: the method takes the request's handler as its first argument.
        schema: a marshmallow schema for named parameters.
        idempotent: calling it twice has the effect of calling it once, so that callers and brokers may repeat a call
            whose outcome they do not know.
        scopes: what a caller must have been granted, all of them; the method is then private.
        raises: subclasses of ``RpcError`` that callers may be answered with; they are described, not enforced.
        tags: words to group methods by in the service's description.
        deprecated: callers should turn to something else; the description says so.
    """
    if callable(name):
        raise ServiceConfigurationError("@exposed_method needs parentheses: write @exposed_method()")
    for option, words in (("scopes", scopes), ("tags", tags)):
        if isinstance(words, str):
            raise ServiceConfigurationError(f"{option} is a list: write {option}=[{words!r}]")
    if isinstance(raises, type):
        raise ServiceConfigurationError(f"raises is a list: write raises=[{raises.__name__}]")
    if is_coroutine is not None:
        warnings.warn("is_coroutine has no effect: write async def", DeprecationWarning, stacklevel=2)
    options = MethodOptions(
        name,
        private or bool(scopes),
        requires_handler_reference,
        None if schema is None else instance(schema),
        idempotent,
        tuple(scopes),
        tuple(raises),
        tuple(tags),
        deprecated,
    )

    def declare(function: Function) -> Function:
        declare_method(function, options)
        return function

    return declare


def declare_method(function: Callable[..., object], options: MethodOptions) -> None:
    """Mark a function as exposed."""
    setattr(function, _METHOD, options)


def method_options(function: object) -> MethodOptions | None:
    """Return what is declared of an exposed function, or None where it is not exposed."""
    options = getattr(function, _METHOD, None)
    return options if isinstance(options, MethodOptions) else None


def declared_methods(owner: object) -> Iterator[tuple[str, Callable[..., object], MethodOptions]]:
    """Yield attribute name, bound function and options of every exposed method of an object."""
    for attribute, function in _functions(owner):
        if (options := method_options(function)) is not None:
            _refuse_generator(owner, attribute, function)
            yield attribute, getattr(owner, attribute), options


def declared_handlers(owner: object) -> Iterator[EventHandler]:
    """Yield every event handler of an object, bound.

    Raises:
        ServiceConfigurationError: a handler cannot be called with a body, or a body and an event.
    """
    for attribute, function in _functions(owner):
        for options in getattr(function, _EVENTS, ()):
            _refuse_generator(owner, attribute, function)
            bound: BoundFunction = getattr(owner, attribute)
            yield EventHandler(
                name=f"{type(owner).__name__}.{attribute}",
                function=bound,
                options=options,
                takes_event=_takes_event(bound, f"{type(owner).__name__}.{attribute}"),
                is_coroutine=inspect.iscoroutinefunction(bound),
            )


def _functions(owner: object) -> Iterator[tuple[str, object]]:
    # Statically, so that no property runs; in the order of declaration, so that start-up is the same every time.
    seen: set[str] = set()
    for base in reversed(type(owner).__mro__):
        for attribute in vars(base):
            if attribute not in seen:
                seen.add(attribute)
                yield attribute, inspect.getattr_static(type(owner), attribute)


def _refuse_generator(owner: object, attribute: str, function: object) -> None:
    name = f"{type(owner).__name__}.{attribute}"
    if inspect.isgeneratorfunction(function) or getattr(function, "__tornado_coroutine__", False):
        raise ServiceConfigurationError(
            f"{name} is a generator, whose body would never run: write async def, and await instead of yield"
        )
    if inspect.isasyncgenfunction(function):
        raise ServiceConfigurationError(f"{name} is a generator, whose body would never run: return instead of yield")


def _takes_event(function: BoundFunction, name: str) -> bool:
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    surplus = [p for p in parameters if p not in positional[:2] and p.default is p.empty]
    surplus = [p for p in surplus if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    events = [p for p in positional if _is_event(function, p)]
    expected = (
        "a handler takes the body and, if it likes, a second parameter annotated Event: (self, body, event: Event)"
    )
    if not positional or surplus:
        raise ServiceConfigurationError(f"the signature of {name}{inspect.signature(function)} is wrong: {expected}")
    if events and events != positional[1:2]:
        raise ServiceConfigurationError(
            f"the signature of {name}{inspect.signature(function)} is wrong: only the second parameter may be the "
            f"Event; {expected}"
        )
    if len(positional) > 1 and not events and positional[1].default is inspect.Parameter.empty:
        raise ServiceConfigurationError(
            f"the second parameter of {name}{inspect.signature(function)} must be annotated Event: {expected}"
        )
    return bool(events)


def _is_event(function: BoundFunction, parameter: inspect.Parameter) -> bool:
    if isinstance(parameter.annotation, str):
        try:
            return get_type_hints(function).get(parameter.name) is Event
        except NameError:  # an annotation that only the type checker can resolve; the name itself must do
            return parameter.annotation.rpartition(".")[2] == "Event"
    return parameter.annotation is Event
