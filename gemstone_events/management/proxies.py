"""Proxies: objects of an interface's type whose methods call a service wherever it runs."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, cast

from gemstone_events.management.descriptors import MethodDescriptor, ServiceDescriptor
from gemstone_events.rpc.call_errors import LocalServiceException
from gemstone_events.rpc.client.async_call import AsyncMethodCall, is_on_loop
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.strict_json import JsonValue

T = TypeVar("T")


class Begin(Protocol):
    """Begins a call of a service, and returns at once."""

    def __call__(self, call: MethodCall) -> AsyncMethodCall[JsonValue]:
        """Begin it; in threads and on event loops."""


def make_proxy(descriptor: ServiceDescriptor[T], begin: Begin) -> T:
    """Return an object whose methods call a service: ``async def`` is awaited, ``def`` blocks, in threads only.

    It is an instance of the interface, whose ``__init__`` is not run.

    Raises:
        ServiceConfigurationError: a type hint of the interface cannot be used.
    """
    functions: dict[str, object] = {
        name: _async_method(method, begin) if method.is_async else _blocking_method(method, begin)
        for name, method in descriptor.methods.items()
    }
    members: Mapping[str, object] = {
        "__repr__": lambda self: f"<proxy of the service {descriptor.name!r}>",
        "__module__": descriptor.type.__module__,
        **functions,
    }
    kind = type(f"{descriptor.type.__name__}Proxy", (descriptor.type,), dict(members))
    return cast(T, object.__new__(kind))


def _async_method(method: MethodDescriptor, begin: Begin) -> Callable[..., object]:
    async def call(self: object, /, *args: object, **kwargs: object) -> object:
        return method.types.load_result(await begin(_call(method, args, kwargs)))

    return _named(call, method)


def _blocking_method(method: MethodDescriptor, begin: Begin) -> Callable[..., object]:
    def call(self: object, /, *args: object, **kwargs: object) -> object:
        if is_on_loop():
            raise LocalServiceException(
                f"{method.wire_name} would block the event loop: declare it with 'async def' in the interface, or call "
                "it from a thread (await asyncio.to_thread(...))"
            )
        under_way = begin(_call(method, args, kwargs))
        try:
            return method.types.load_result(under_way.result(wait=True))
        finally:
            under_way.cancel()  # of effect only where the waiting was interrupted

    return _named(call, method)


def _call(method: MethodDescriptor, args: tuple[object, ...], kwargs: Mapping[str, object]) -> MethodCall:
    params = method.types.dump(args, kwargs)
    return MethodCall(method.wire_name, params, idempotent=method.is_idempotent)


def _named(call: Callable[..., object], method: MethodDescriptor) -> Callable[..., object]:
    call.__name__, call.__doc__ = method.name, method.doc
    return call
