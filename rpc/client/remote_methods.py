"""The methods of a remote service, as attributes."""

from collections.abc import Callable
from typing import Any, TypeAlias, Unpack

from gemstone_events.rpc.client.async_call import AsyncMethodCall, finish
from gemstone_events.rpc.client.requests import OPTIONS, CallOptions, check_options
from gemstone_events.rpc.protocol import Params
from gemstone_events.strict_json import JsonValue

Begin: TypeAlias = Callable[[str, Params, CallOptions], AsyncMethodCall[JsonValue]]


class RemoteMethods:
    """The methods of a remote service, as attributes or by ``[name]``.

    Args:
        begin: begins a call of the method of that name, with parameters and options.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin: Begin = begin

    def __getattr__(self, name: str) -> "RemoteMethod":
        _refuse_private(name)
        return self[name]

    def __getitem__(self, name: str) -> "RemoteMethod":
        return RemoteMethod(name, self._begin, CallOptions())


class RemoteMethod:
    """A method of a remote service. An attribute of it is another method, whose name goes on after a dot.

    Args:
        name: the method's name.
        begin: see ``RemoteMethods``.
        options: go with each call.
    """

    def __init__(self, name: str, begin: Begin, options: CallOptions) -> None:
        self._name: str = name
        self._begin: Begin = begin
        self._options: CallOptions = options

    def __getattr__(self, name: str) -> "RemoteMethod":
        _refuse_private(name)
        return self[name]

    def __getitem__(self, name: str) -> "RemoteMethod":
        return RemoteMethod(f"{self._name}.{name}", self._begin, self._options)

    def __repr__(self) -> str:
        return f"<remote method {self._name}>"

    # Any: the value in a thread, to be awaited on a loop. No type says "depends on where you are".
    def __call__(self, *args: JsonValue, **kwargs: JsonValue) -> Any:
        """Call it with parameters by place, or by name.

        ``__async=True`` returns an ``AsyncMethodCall``, as ``call_async`` does.

        Raises:
            ValueError: there are both; or they are not strict JSON.
            RemoteServiceError: it brought no result.
        """
        is_async = kwargs.pop("__async", False)
        call = self.call_async(*args, **kwargs)
        return call if is_async else finish(call)

    def call_async(self, *args: JsonValue, **kwargs: JsonValue) -> AsyncMethodCall[JsonValue]:
        """Begin a call, and return at once, in threads and on event loops."""
        if args and kwargs:
            options = "".join(f"{name}=…, " for name in kwargs if name in OPTIONS).removesuffix(", ")
            mend = f"; options go into with_options({options})" if options else ""
            raise ValueError(f"{self._name!r} takes its parameters by place or by name, not both{mend}")
        return self._begin(self._name, args or kwargs, self._options)

    def with_options(self, **options: Unpack[CallOptions]) -> "RemoteMethod":
        """Return the same method, to be called with these options too.

        Raises:
            TypeError: there is no such option.
        """
        check_options(options)
        return RemoteMethod(self._name, self._begin, {**self._options, **options})


def _refuse_private(name: str) -> None:
    if name.startswith("_"):
        raise AttributeError(f"{name!r} is no method's name; if one is called so, write [{name!r}]")
