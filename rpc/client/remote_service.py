"""A service somewhere else, to be called like an object."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, NoReturn, Self, TypeVar, Unpack

from gemstone_events.retry import RetryPolicy
from gemstone_events.rpc.allow_list import AllowList
from gemstone_events.rpc.authentication.credentials import Credentials
from gemstone_events.rpc.call_errors import InvalidAnswerError, ServiceNotLocatedError
from gemstone_events.rpc.client.async_call import AsyncMethodCall, finish, is_on_loop
from gemstone_events.rpc.client.call_counts import CallCounts
from gemstone_events.rpc.client.caller import DEFAULT_TIMEOUT, Caller, Outgoing, Wires
from gemstone_events.rpc.client.home import Home
from gemstone_events.rpc.client.legacy_authentication import choose_credentials
from gemstone_events.rpc.client.remote_methods import RemoteMethods
from gemstone_events.rpc.client.requests import CallOptions, MethodCall, Notification, Request, request_of
from gemstone_events.rpc.client.results import Result
from gemstone_events.rpc.protocol import Params
from gemstone_events.rpc.wire import ClientSettings, WireCounts
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_THIS_MACHINE = AllowList()

T = TypeVar("T")


class RemoteService:
    """A service that is called over any wire: by HTTP, through a broker, over an embedded bus, in the same process.

        billing = RemoteService("http://127.0.0.1:8001/api")
        billing.methods.balance("Ada")              # in a thread or a script: blocks, and returns the result
        await billing.methods.balance("Ada")        # on an event loop
        billing.notifications.invoices.remind(7)    # sent, not answered

    Where no event loop runs in the calling thread, calls block and return their results. Where one runs, they have been
    begun when they return, and bring their results when they are awaited. Each call ends within its ``timeout``.

    It may be used from all threads and event loops at once, and opens nothing before its first call. It is closed by
    ``with``, ``async with``, ``close``, ``aclose``, and by the end of the event loop, or program, that used it.

    Args:
        service_endpoint: the service's URL: ``http://host:port/api``, ``amqp://host/vhost#orders``,
            ``sqlite:///folder/bus.db#orders``, ``memory://bus#orders``.
        timeout: seconds for each call that names none itself, all its attempts included. A call that is made while a
            call is being served never takes longer than that one may.
        authentication: says who calls: ``BearerToken``, ``HeaderToken``, ``CookieToken``, ``HmacKey``.
        namespace: of the services on the broker or bus.
        retry: when calls are repeated; by default never. Calls that were surely not carried out are then repeated, and
            others only if they are ``idempotent`` or have an ``idempotency_key``.
        headers: sent with each call.
        pool: connections that somebody lends, and closes himself; ``namespace`` is then his.
        loop: the event loop that ``pool`` belongs to; the running one where it is left out.
        authentication_method, options: how old gemstone named ``authentication``; deprecated.

    Raises:
        TypeError: the URL is no text, ``retry`` no policy, ``authentication`` no credentials, or ``pool`` and ``loop``
            do not go together.
        ValueError: the timeout or a header cannot be used.
        ServiceConfigurationError: the URL has no scheme, or the authentication cannot be used.
    """

    def __init__(
        self,
        service_endpoint: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        authentication: Credentials | None = None,
        namespace: str = "gemstone",
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        pool: WirePool | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        authentication_method: Credentials | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.url = service_endpoint
        self._caller = Caller(
            service_endpoint,
            timeout=timeout,
            retry=retry,
            headers=headers,
            authentication=choose_credentials(authentication, authentication_method, options),
        )
        self._home = Home(ClientSettings(namespace=namespace), pool, loop)
        self._specs: Mapping[str, JsonValue] | None = None

    @property
    def methods(self) -> RemoteMethods:
        """The service's methods: ``service.methods.add(1, 2)``, ``service.methods["users.register"](name="Ada")``."""
        return RemoteMethods(self._call_by_name)

    @property
    def notifications(self) -> RemoteMethods:
        """The same, to be notified: nothing comes back, and no error of a method either. See ``notify``."""
        return RemoteMethods(self._notify_by_name)

    def __repr__(self) -> str:
        return f"<RemoteService {mask(self.url)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RemoteService can neither be copied nor sent to another process: make one there, by its URL")

    # Any, here and below: the value in a thread, to be awaited on a loop. No type says "depends on where you are".
    def call_method(
        self, method: str | MethodCall, params: "Params | None" = None, **options: Unpack[CallOptions]
    ) -> Any:
        """Call a method, and return a ``Result``; on an event loop it is to be awaited.

        Args:
            method: its name, or a call that brings everything itself.
            params: a list or a mapping.
            options: see ``CallOptions``.

        Raises:
            CalledServiceError: the service answered with an error.
            ServiceUnreachableError: it was not carried out.
            OutcomeUnknownError: it may have been carried out.
            ValueError: it cannot be sent.
        """
        return finish(self.call_method_async(method, params, **options))

    def call_method_async(
        self, method: str | MethodCall, params: "Params | None" = None, **options: Unpack[CallOptions]
    ) -> AsyncMethodCall[Result]:
        """Begin a call as ``call_method`` does, and return at once, in threads and on event loops."""
        outgoing = self._caller.prepare(request_of(MethodCall, method, params, options))
        return self._run(outgoing, lambda wires: self._caller.call(wires, outgoing))

    def notify(self, method: str | Notification, params: "Params | None" = None, **options: Unpack[CallOptions]) -> Any:
        """Send a notification, and return when a service has it; on an event loop it is to be awaited.

        Raises:
            ServiceUnreachableError: no service has it.
            OutcomeUnknownError: a service may have it.
            ValueError: it cannot be sent.
        """
        return finish(self._nothing_of(request_of(Notification, method, params, options)))

    def call_batch(self, *requests: Request, **options: Unpack[CallOptions]) -> Any:
        """Send calls and notifications as one body, and return a ``BatchResult``; on an event loop await it.

        Each call's result carries its own error; an exception means that the batch as a whole brought nothing.

        Args:
            requests: each a ``MethodCall`` or a ``Notification``.
            options: of the batch; see ``CallOptions``. With an idempotency key, each of its calls has one of its own.

        Raises:
            RemoteServiceError: the batch brought nothing; the class says whether it may have been carried out.
            TypeError: something is neither call nor notification.
            ValueError: it cannot be sent.
        """
        outgoing = self._caller.prepare_batch(requests, **options)
        return finish(self._run(outgoing, lambda wires: self._caller.batch(wires, outgoing)))

    @property
    def name(self) -> Any:
        """The service's name, asked for once; on an event loop it is to be awaited."""
        return self._ask_specs(lambda specs: specs.get("name"))

    def get_available_methods(self) -> Any:
        """Return the names of the service's methods, asked for once; on an event loop it is to be awaited."""
        return self._ask_specs(_method_names)

    def refresh_service_info(self) -> Any:
        """Ask the service anew what it is, and return what it says; on an event loop it is to be awaited."""
        self._specs = None
        return self._ask_specs(lambda specs: specs)

    @property
    def counts(self) -> CallCounts:
        """What became of the calls so far."""
        return self._caller.counts

    @property
    def wire_counts(self) -> WireCounts:
        """What the wire has seen since its connections were opened; a lent one, of all its users."""
        wire = self._home.wire_for(self.url)
        return WireCounts() if wire is None else wire.counts

    @classmethod
    def get_service_by_name(
        cls,
        registry_url: str,
        name_pattern: str,
        choose_algorithm: str = "random",
        *,
        allowed_addresses: AllowList = _THIS_MACHINE,
        **settings: Any,
    ) -> Any:
        """Return a ``RemoteService`` that a registry knows; on an event loop it is to be awaited.

        Args:
            registry_url: a service with a method ``locate_service(name)`` that returns URLs.
            name_pattern: a name or a glob pattern.
            choose_algorithm: "random".
            allowed_addresses: which of the URLs may be called; by default those on this machine.
            settings: what both clients are made with: see ``RemoteService``.

        Raises:
            ServiceNotLocatedError: the registry knows none that may be called (a ``ServiceNotFoundError`` and a
                ``ValueError``).
            RemoteServiceError: the registry could not be asked.
            ValueError: there is no such algorithm.
        """
        if choose_algorithm != "random":
            raise ValueError(f"choose_algorithm is 'random', not {choose_algorithm!r}")
        registry = cls(registry_url, **settings)

        def choose(located: Result) -> "RemoteService":
            return cls(_choose(located.result, name_pattern, allowed_addresses), **settings)

        call = MethodCall("locate_service", [name_pattern])
        if is_on_loop():
            return registry._choose_on_loop(call, choose)
        with registry:
            return choose(registry.call_method(call))

    def close(self) -> None:
        """Close the connections; calls under way fail. On an event loop this only begins it. Twice is harmless.

        A closed one that is used again opens new connections.
        """
        self._home.close()

    async def aclose(self) -> None:
        """Close the connections; calls under way fail. Twice is harmless."""
        await self._home.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _run(self, outgoing: Outgoing, function: Callable[[Wires], Coroutine[object, object, T]]) -> AsyncMethodCall[T]:
        return self._home.run(function, outgoing.deadline)

    def _call_by_name(self, name: str, params: Params, options: CallOptions) -> AsyncMethodCall[JsonValue]:
        outgoing = self._caller.prepare(MethodCall(name, params, **options))

        async def value(wires: Wires) -> JsonValue:
            return (await self._caller.call(wires, outgoing)).result

        return self._run(outgoing, value)

    def _notify_by_name(self, name: str, params: Params, options: CallOptions) -> AsyncMethodCall[JsonValue]:
        return self._nothing_of(Notification(name, params, **options))

    def _nothing_of(self, notification: Notification) -> AsyncMethodCall[JsonValue]:
        outgoing = self._caller.prepare(notification)

        async def nothing(wires: Wires) -> JsonValue:
            await self._caller.notify(wires, outgoing)
            return None

        return self._run(outgoing, nothing)

    def _ask_specs(self, read: Callable[[Mapping[str, JsonValue]], T]) -> Any:
        outgoing = self._caller.prepare(MethodCall("get_service_specs"))

        async def ask(wires: Wires) -> T:
            if self._specs is None:
                specs = (await self._caller.call(wires, outgoing)).result
                if not isinstance(specs, Mapping):
                    raise InvalidAnswerError("get_service_specs returned something else than an object")
                self._specs = specs
            return read(self._specs)

        return finish(self._run(outgoing, ask))

    async def _choose_on_loop(self, call: MethodCall, choose: Callable[[Result], "RemoteService"]) -> "RemoteService":
        async with self:
            return choose(await self.call_method_async(call))


RemoteClient = RemoteService


def get_remote_service_instance_for_url(url: str) -> RemoteService:
    """Return a ``RemoteService`` for a URL."""
    return RemoteService(url)


def _method_names(specs: Mapping[str, JsonValue]) -> list[str]:
    methods = specs.get("methods")
    if not isinstance(methods, Mapping):
        raise InvalidAnswerError("get_service_specs returned no methods")
    return sorted(methods)


def _choose(located: JsonValue, pattern: str, allowed: AllowList) -> str:
    found = located if isinstance(located, list) else []
    urls = [url for url in found if isinstance(url, str) and allowed.allows(url)]
    if urls:
        return random.choice(urls)
    if found:
        raise ServiceNotLocatedError(
            f"the registry knows {len(found)} addresses of {pattern!r}, and none that may be called: see "
            "allowed_addresses"
        )
    raise ServiceNotLocatedError(f"the registry knows no service {pattern!r}")
