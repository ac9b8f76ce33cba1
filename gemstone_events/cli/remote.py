"""Calls of commands: by a service's name or by its URL, within the time that a command has."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from gemstone_events.call_scope import CallScope, call_scope
from gemstone_events.cli.connections import CLIENT, settings_of
from gemstone_events.cli.directory import Directory, NameNotFoundError
from gemstone_events.errors import GemstoneError
from gemstone_events.names import check_name
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


class UnknownMethodError(MethodNotFoundError):
    """The service has no such method.

    Attributes:
        known: the names of its methods; empty where it does not tell.
    """

    def __init__(self, error: MethodNotFoundError, known: Sequence[str]) -> None:
        super().__init__(error.message, code=error.code, data=error.data)
        self.known = known


async def call_name(
    directory: Directory, name: str, request: Request, headers: Mapping[str, str], timeout: float
) -> JsonValue:
    """Look a service up, and call it; of several addresses the first one that can be reached.

    Args:
        directory: where it is looked up; it is closed at the end.
        name: the service's name, or a glob pattern.
        request: the call, or a notification.
        headers: what goes with it.
        timeout: seconds for all of it.

    Raises:
        NameNotFoundError: there is no such service, or no time.
        RemoteServiceError: the call brought no result.
    """
    deadline = time.monotonic() + timeout
    async with directory:
        with call_scope(CallScope(deadline)):
            try:
                urls = await directory.locate(name)
                return await _call_first(directory.wires, urls, request, headers, timeout)
            except ServiceUnreachableError as error:
                _check_time(repr(name), error, deadline, timeout)
                if isinstance(error, ServiceNotFoundError):
                    raise await directory.missing(name, error) from error
                raise


async def call_url(
    url: str,
    namespace: str | None,
    request: Request,
    headers: Mapping[str, str],
    timeout: float,
    *,
    is_timed: bool = False,
) -> JsonValue:
    """Call a service where it is.

    Args:
        url: the service's.
        namespace: that of the service, on a broker; None for the configured one.
        request: the call, or a notification.
        headers: what goes with it.
        timeout: seconds for all of it.
        is_timed: say on standard error how long it took.

    Raises:
        NameNotFoundError: there was no time.
        RemoteServiceError: the call brought no result.
    """
    namespace = check_name("namespace", namespace or settings_of().namespace)
    wires = WirePool(ClientSettings(namespace=namespace, client=CLIENT))
    try:
        wires.wire_for(url)  # loads libraries, which is not the call's time
        started = time.monotonic()
        try:
            return await _call_one(wires, url, request, headers, timeout)
        except ServiceUnreachableError as error:
            _check_time(mask(url), error, started + timeout, timeout)
            raise
        finally:
            if is_timed:
                print(f"the call took {time.monotonic() - started:.5f} seconds", file=sys.stderr)
    finally:
        await wires.close()


async def _call_first(
    wires: WirePool, urls: Sequence[str], request: Request, headers: Mapping[str, str], timeout: float
) -> JsonValue:
    """Call the first address that can be reached."""
    for url in urls[:-1]:
        with suppress(ServiceUnreachableError):
            return await _call_one(wires, url, request, headers, timeout)
    return await _call_one(wires, urls[-1], request, headers, timeout)


async def _call_one(
    wires: WirePool, url: str, request: Request, headers: Mapping[str, str], timeout: float
) -> JsonValue:
    caller = Caller(url, timeout=timeout, headers=headers)
    outgoing = caller.prepare(request)
    if isinstance(request, Notification):
        await caller.notify(wires, outgoing)
        return None
    try:
        return (await caller.call(wires, outgoing)).result
    except MethodNotFoundError as error:
        known = () if request.method_name in (DISCOVER, SPECS) else await _methods_of(wires, caller)
        raise UnknownMethodError(error, known) from error


async def _methods_of(wires: WirePool, caller: Caller) -> Sequence[str]:
    """Return the methods that a service tells of; none where it does not."""
    for method in (DISCOVER, SPECS):  # services of gemstone have the second one only
        with suppress(GemstoneError):
            call = MethodCall(method, idempotent=True, timeout=min(_LISTING_SECONDS, caller.timeout))
            return _names((await caller.call(wires, caller.prepare(call))).result)
    return ()


def _names(described: JsonValue) -> Sequence[str]:
    methods = described.get("methods") if isinstance(described, Mapping) else None
    if isinstance(methods, Mapping):
        return list(methods)
    if not isinstance(methods, list):
        return ()
    named = [method.get("name") for method in methods if isinstance(method, Mapping)]
    return [name for name in named if isinstance(name, str)]


def _check_time(target: str, error: ServiceUnreachableError, deadline: float, timeout: float) -> None:
    """Say it where the time was up: nothing is known then of who is there."""
    if time.monotonic() < deadline or isinstance(error, RequestRefusedError):
        return
    why = "" if timeout < _TOO_SHORT else f": {error}"
    raise NameNotFoundError(
        f"{target} was not reached within {timeout:g} seconds (--timeout), and not called{why}"
    ) from error
