"""Calls of commands: by a service's name or by its URL, within the time that a command has."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gemstone_events.call_scope import CallScope, call_scope
from gemstone_events.cli.connections import CLIENT, settings_of
from gemstone_events.cli.directory import Directory, NameNotFoundError
from gemstone_events.errors import GemstoneError, ServiceConfigurationError
from gemstone_events.names import check_name
from gemstone_events.rpc.authentication.credentials import Credentials
from gemstone_events.rpc.call_errors import (
    MethodNotFoundError,
    RequestRefusedError,
    ServiceNotFoundError,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.caller import Caller
from gemstone_events.rpc.client.requests import MethodCall, Notification, Request
from gemstone_events.rpc.description.discover import DISCOVER
from gemstone_events.rpc.wire import ClientSettings
from gemstone_events.rpc.wire_pool import WirePool
from gemstone_events.schemes import mask
from gemstone_events.strict_json import JsonValue

SPECS = "get_service_specs"

_LISTING_SECONDS = 2.0
_TOO_SHORT = 1.0


@dataclass(frozen=True, slots=True)
class CommandCall:
    """The one call that a command makes.

    Attributes:
        request: the call, or a notification.
        headers: what goes with it.
        timeout: seconds for all of it.
        authentication: shows who calls.
        is_timed: say on standard error how long it took, if anything was called.
    """

    request: Request
    headers: Mapping[str, str]
    timeout: float
    authentication: Credentials | None = None
    is_timed: bool = False


class UnknownMethodError(MethodNotFoundError):
    """The service has no such method.

    Attributes:
        address: the service's URL, without credentials.
        service: its name; empty where it does not tell.
        known: the names of its methods; empty where it does not tell.
    """

    def __init__(self, error: MethodNotFoundError, address: str, service: str, known: Sequence[str]) -> None:
        super().__init__(error.message, code=error.code, data=error.data)
        self.address = address
        self.service = service
        self.known = known


async def call_name(directory: Directory, name: str, call: CommandCall) -> JsonValue:
    """Look a service up, and call it; of several addresses the first one that can be reached.

    Args:
        directory: where it is looked up; it is closed at the end.
        name: the service's name, or a glob pattern.
        call: what is sent.

    Raises:
        NameNotFoundError: there is no such service, or no time.
        RemoteServiceError: the call brought no result.
    """
    async with directory:
        with call_scope(CallScope(time.monotonic() + call.timeout)) as scope:
            try:
                urls = await directory.locate(name)
                return await _call_first(directory.wires, urls, call)
            except ServiceUnreachableError as error:
                _check_time(repr(name), error, scope, call.timeout)
                if isinstance(error, ServiceNotFoundError):
                    raise await directory.missing(name, error) from error
                raise


async def call_url(url: str, namespace: str | None, call: CommandCall) -> JsonValue:
    """Call a service where it is.

    Args:
        url: the service's.
        namespace: that of the service, on a broker; None for the configured one.
        call: what is sent.

    Raises:
        NameNotFoundError: there was no time.
        RemoteServiceError: the call brought no result.
    """
    namespace = check_name("namespace", namespace or settings_of().namespace)
    wires = WirePool(ClientSettings(namespace=namespace, client=CLIENT))
    try:
        wires.wire_for(url)  # loads libraries, which is not the call's time
        with call_scope(CallScope(time.monotonic() + call.timeout)) as scope:
            try:
                return await _call_one(wires, url, call)
            except ServiceUnreachableError as error:
                _check_time(mask(url), error, scope, call.timeout)
                raise
    finally:
        await wires.close()


async def _call_first(wires: WirePool, urls: Sequence[str], call: CommandCall) -> JsonValue:
    """Call the first address that can be reached."""
    for url in urls[:-1]:
        with suppress(ServiceUnreachableError):
            return await _call_one(wires, url, call)
    return await _call_one(wires, urls[-1], call)


async def _call_one(wires: WirePool, url: str, call: CommandCall) -> JsonValue:
    caller = Caller(url, timeout=call.timeout, headers=call.headers, authentication=call.authentication)
    try:
        return await _send(wires, caller, call)
    except MethodNotFoundError as error:
        is_listing = call.request.method_name in (DISCOVER, SPECS)
        described = {} if is_listing else await _description_of(wires, caller)
        service = _service(described) or url.partition("#")[2]
        address = wires.wire_for(url).address(url)
        raise UnknownMethodError(error, address, service, _names(described)) from error


async def _send(wires: WirePool, caller: Caller, call: CommandCall) -> JsonValue:
    outgoing = caller.prepare(call.request)
    started, is_called = time.monotonic(), True
    try:
        if isinstance(call.request, Notification):
            await caller.notify(wires, outgoing)
            return None
        return (await caller.call(wires, outgoing)).result
    except (ServiceUnreachableError, ServiceConfigurationError):
        is_called = False
        raise
    finally:
        if is_called and call.is_timed:
            print(f"the call took {time.monotonic() - started:.5f} seconds", file=sys.stderr)


async def _description_of(wires: WirePool, caller: Caller) -> Mapping[str, JsonValue]:
    """Return what a service tells of itself; nothing where it does not."""
    for method in (DISCOVER, SPECS):  # services of gemstone have the second one only
        with suppress(GemstoneError):
            call = MethodCall(method, idempotent=True, timeout=min(_LISTING_SECONDS, caller.timeout))
            described = (await caller.call(wires, caller.prepare(call))).result
            return described if isinstance(described, Mapping) else {}
    return {}


def _service(described: Mapping[str, JsonValue]) -> str:
    info = described.get("info")
    title = info.get("title") if isinstance(info, Mapping) else None
    return title if isinstance(title, str) else ""


def _names(described: Mapping[str, JsonValue]) -> Sequence[str]:
    methods = described.get("methods")
    if isinstance(methods, Mapping):
        return list(methods)
    if not isinstance(methods, list):
        return ()
    named = [method.get("name") for method in methods if isinstance(method, Mapping)]
    return [name for name in named if isinstance(name, str)]


def _check_time(target: str, error: ServiceUnreachableError, scope: CallScope, timeout: float) -> None:
    """Say it where the time was up: nothing is known then of who is there."""
    if scope.seconds_left > 0 or isinstance(error, RequestRefusedError):
        return
    why = "" if timeout < _TOO_SHORT else f": {error}"
    raise NameNotFoundError(
        f"{target} was not reached within {timeout:g} seconds (--timeout), and not called{why}"
    ) from error
