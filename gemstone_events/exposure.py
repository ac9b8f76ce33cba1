"""What a service shows over JSON-RPC: its methods, the dispatcher around them, and the Tornado application."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Protocol

from gemstone_events.container import Container
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.handlers import MethodOptions, declared_methods
from gemstone_events.idempotency import AnsweredOnce, KeepAnswer, KeyedCall
from gemstone_events.loopback import is_loopback
from gemstone_events.plugins import BasePlugin
from gemstone_events.rpc.answering import make_answer
from gemstone_events.rpc.authentication.caller import Authentication
from gemstone_events.rpc.authentication.failed_attempts import FailedAttempts
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.description.discover import SelfDescription
from gemstone_events.rpc.description.openrpc import info_of
from gemstone_events.rpc.dispatcher import Dispatcher, DispatchLimits
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.protocol import JsonRpcRequest
from gemstone_events.rpc.request_handler import RpcHandler
from gemstone_events.rpc.wires.http.application import HttpLimits, RpcApplication, WebPages, make_application
from gemstone_events.rpc.wires.http.documents import ASYNCAPI_PATH, OPENRPC_PATH
from gemstone_events.rpc.wires.http.guard import HttpGuard
from gemstone_events.rpc.wires.http.handlers import GemstoneCustomHandler
from gemstone_events.rpc.wires.http.health import HealthCheck, HealthChecks
from gemstone_events.settings import Settings
from gemstone_events.statistics import Statistics
from gemstone_events.store.port import EventStore
from gemstone_events.strict_json import JsonValue


class RunInUnit(Protocol):
    """Runs a function in a unit of work and returns its result when everything is committed."""

    def __call__(
        self,
        function: Callable[..., object],
        is_coroutine: bool,
        args: Sequence[object],
        kwargs: Mapping[str, object],
        traceparent: str | None,
        *,
        is_answer: bool,
        keep: KeepAnswer | None = None,
    ) -> Awaitable[object]:
        """Run it; if ``is_answer``, nothing is committed unless the result is strict JSON.

        What ``keep`` makes of the result is committed as well.
        """


class Specs(Protocol):
    """Says what a service is and does."""

    def __call__(self, *, with_private: bool) -> Mapping[str, object]:
        """Return it, with private methods or without."""


class Exposure:
    """The exposed methods of one service, ready to be called.

    Args:
        settings: the service's.
        containers: whose exposed methods these are.
        specs: says what the service is and does.
        components: methods of the services of components.
        plugins: who is told of calls and internal errors; looked at anew each time.
        run_in_unit: runs a method.
        authenticate: asked who calls a private method, with the request's handler.
        store: returns the service's store, which keeps answers for repeated calls; None while it does not run.
        urls: returns the service's URLs, for its description.
        by_token: ``authenticate`` looks at nothing but the token that ``validation_strategies`` find.

    Raises:
        ServiceConfigurationError: a method is declared wrongly, or two have one name.
    """

    def __init__(
        self,
        settings: Settings,
        containers: Iterable[Container],
        specs: Specs,
        components: Iterable[Method],
        plugins: Mapping[str, BasePlugin],
        run_in_unit: RunInUnit,
        authenticate: Callable[[RpcHandler], object],
        store: Callable[[], EventStore | None],
        urls: Callable[[], Sequence[str]] = tuple,
        *,
        by_token: bool = False,
    ) -> None:
        self._settings = settings
        self._plugins = plugins
        self._run_in_unit = run_in_unit
        self._specs = specs
        self.authentication = Authentication(
            authenticate,
            strategies=settings.validation_strategies,
            attempts=FailedAttempts(settings.failed_attempts, settings.failed_attempts_window),
            required=settings.require_authentication,
            by_token=by_token,
        )
        self._statistics = Statistics()
        everything = settings.require_authentication
        methods = [
            _method(*declared, private=everything)
            for container in containers
            for declared in declared_methods(container)
        ]
        methods += components
        methods.append(Method("get_service_specs", self._specs_for, private=everything, takes_handler=True))
        if settings.use_statistics:
            methods.append(Method("statistics", self._statistics.report, private=everything))
        self.methods = methods
        info = info_of(settings, settings.service_name, settings.version)
        self.self_description = SelfDescription(methods, info, urls)
        self.dispatcher = Dispatcher(
            MethodTable([*methods, self.self_description.method]),
            invoke=self._invoke,
            authorize=self.authentication.authorize,
            require_authentication=settings.require_authentication,
            on_call=self._notify_plugins,
            on_internal_error=self._report_internal_error,
            limits=DispatchLimits(call_timeout=settings.call_timeout, concurrent_calls=settings.max_concurrent_calls),
            legacy_envelope=settings.legacy_envelope,
        )
        self.answer = make_answer(self.dispatcher, self.authentication)
        self._answered_once = AnsweredOnce(store, self.dispatcher.limits.response_bytes)

    def check_access(self, *, authenticates: bool) -> None:
        """Refuse settings that let everybody in from elsewhere, or nobody at all.

        Args:
            authenticates: the service says who calls.

        Raises:
            ServiceConfigurationError: the message says how to mend it.
        """
        settings = self._settings
        name = settings.service_name
        is_open = not authenticates and not settings.allow_unauthenticated
        if settings.port is not None and not is_loopback(settings.host) and is_open:
            raise ServiceConfigurationError(
                f"{name!r} would listen on {settings.host} without authentication: override authenticate_request or "
                "api_token_is_valid, or set allow_unauthenticated if all its methods may be called by anybody"
            )
        if settings.require_authentication and not authenticates:
            raise ServiceConfigurationError(
                f"nobody could call {name!r}: require_authentication is set, so override authenticate_request or "
                "api_token_is_valid"
            )

    def warn_of_unreachable_methods(self, logger: logging.Logger, *, authenticates: bool) -> None:
        """Log which methods are private although the service never says who calls."""
        for method in [] if authenticates else self.methods:
            if method.private:
                logger.warning("nobody can call %s: it is private, and authenticate_request denies all", method.name)

    def application(
        self,
        microservice: object,
        ready: HealthCheck,
        events: Callable[[], Mapping[str, JsonValue]],
        pages: Sequence[tuple[str, type[GemstoneCustomHandler]]] = (),
    ) -> RpcApplication:
        """Return the Tornado application: JSON-RPC, health, the author's pages and static files.

        Args:
            microservice: what the author's handlers find as ``self.microservice``.
            ready: answers ``GET /health/ready``.
            events: returns the AsyncAPI document.
            pages: shown besides the author's own.
        """
        settings = self._settings
        return make_application(
            self.dispatcher,
            HttpGuard.for_service(
                settings.host, settings.accessible_at, settings.allowed_hosts, settings.allowed_origins
            ),
            endpoint=settings.endpoint,
            limits=HttpLimits(body_bytes=settings.max_body),
            pages=WebPages(
                microservice=microservice,
                extra_handlers=[*pages, *settings.extra_handlers],
                static_dirs=settings.static_dirs,
                template_dir=settings.template_dir,
            ),
            health=HealthChecks(ready=ready),
            authentication=self.authentication,
            documents={
                OPENRPC_PATH: lambda is_known: self.self_description.document(with_private=is_known),
                ASYNCAPI_PATH: lambda is_known: events(),
            },
        )

    async def _specs_for(self, handler: object) -> Mapping[str, object]:
        """Return what the service is and does, for people and clients."""
        return self._specs(with_private=await self.self_description.is_open_to(handler))

    async def _invoke(
        self, method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext
    ) -> object:
        traceparent = context.headers.get("traceparent")
        with self._statistics.measure(method.name) if self._settings.use_statistics else nullcontext():
            run = partial(
                self._run_in_unit, method.function, method.is_coroutine, args, kwargs, traceparent, is_answer=True
            )
            if context.idempotency_key is None:
                return await run()
            return await self._answered_once.run(await KeyedCall.of(self._settings.service_name, method, context), run)

    def _notify_plugins(self, request: JsonRpcRequest) -> None:
        for plugin in self._plugins.values():
            plugin.on_method_call(request)

    def _report_internal_error(self, error: BaseException) -> None:
        for plugin in self._plugins.values():
            plugin.on_internal_error(error)


def _method(name: str, function: Callable[..., object], options: MethodOptions, *, private: bool) -> Method:
    """Return what is declared of a function; ``private``: everything of the service is."""
    return Method(
        options.name or name,
        function,
        private=options.private or private,
        takes_handler=options.requires_handler_reference,
        schema=options.schema,
        idempotent=options.idempotent,
        scopes=options.scopes,
        raises=options.raises,
        tags=options.tags,
        deprecated=options.deprecated,
    )
