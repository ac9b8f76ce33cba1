"""From the bytes of a request to the bytes of its answer, without I/O: every wire is thin around this.

What is promised:

- ``dispatch`` raises nothing that a caller or a method could cause; only its own cancellation comes through.
- When ``dispatch`` returns, everything in the body has run, notifications too, or has been refused. A wire that tells
  its sender (HTTP 204, an ack) after that, and finishes its dispatches before it closes, loses no notification.
- An answer holds nothing of an exception but what an ``RpcError`` says.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import TypeAlias

from gemstone_events.call_scope import CallScope, call_scope
from gemstone_events.cancellation import is_cancelled
from gemstone_events.deadlines import Timeouts
from gemstone_events.logs import printable
from gemstone_events.rpc.authentication.principal import scopes_of
from gemstone_events.rpc.call_context import IDEMPOTENCY_HEADER, TRACE_HEADER, CallContext
from gemstone_events.rpc.call_errors import ServiceException
from gemstone_events.rpc.errors import (
    AccessDenied,
    DeadlineExceeded,
    InternalError,
    Interrupted,
    InvalidRequest,
    MethodNotFound,
    Overloaded,
    RpcError,
)
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.protocol import (
    LEGACY_NOTIFICATION_ANSWER,
    JsonRpcRequest,
    JsonRpcResponse,
    read_body,
    read_request,
    write_batch,
    write_response,
)
from gemstone_events.strict_json import DEFAULT_MAX_DEPTH, JsonValue

MAX_IDEMPOTENCY_KEY = 200
MAX_SHOWN = 200
ALWAYS_WRITTEN = 1024
"""How long a response of a batch may be, however long those before it were."""

# As JSON's encoder calls what a method forgot to await.
_AWAITABLE = ("type AsyncMethodCall ", "type coroutine ", "type Task ", "type Future ")

_logger = logging.getLogger("gemstone_events.rpc")


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchLimits:
    """Bounds of what callers can make a service do.

    Attributes:
        call_timeout: seconds that a call may take, waiting included; a caller's own shorter deadline counts.
        concurrent_calls: how many calls run at once. A request beyond that is answered with ``Overloaded``; a
            notification, which cannot be answered, waits for its turn within its ``call_timeout``.
        batch_size: how many requests a batch may hold.
        batch_concurrency: how many of them run at once; the others wait, and their ``call_timeout`` has not begun.
        depth: how deeply the JSON of a body may nest.
        response_bytes: size of one encoded response, and, but for short ones, of all responses to a batch together.
    """

    call_timeout: float = 30.0
    concurrent_calls: int = 256
    batch_size: int = 50
    batch_concurrency: int = 10
    depth: int = DEFAULT_MAX_DEPTH
    response_bytes: int = 4 * 1024 * 1024


Invoke: TypeAlias = Callable[[Method, Sequence[object], Mapping[str, object], CallContext], Awaitable[object]]
Authorize: TypeAlias = Callable[[Method | None, CallContext], "object | Awaitable[object]"]


def deny(method: Method | None, context: CallContext) -> bool:
    """Let nobody call a private method: the default of ``Dispatcher``."""
    return False


class Dispatcher:
    """Answers JSON-RPC 2.0 bodies.

    Args:
        methods: what may be called.
        invoke: runs a method with arguments that fit, and returns what the method returns.
        authorize: tells who calls; anything falsy, awaited or not, is a stranger, whom private methods and those with
            scopes are denied. It is not asked for public methods, and asked before the parameters are looked at, so
            that nobody without leave can probe a signature.
        require_authentication: every method is private, and strangers do not learn which there are: ``authorize`` is
            asked for those that do not exist too, with None.
        on_call: sees each request that passed the access check, before its parameters are looked at. What it raises
            fails the call; with an ``RpcError`` it refuses it.
        on_internal_error: sees each exception that was answered with "Internal error".
        limits: bounds.
        legacy_envelope: answer as old gemstone did: each response carries ``result`` and ``error``, notifications
            are answered, a batch of notifications with ``[]``, and ``"params": null`` is taken.
    """

    def __init__(
        self,
        methods: MethodTable,
        *,
        invoke: Invoke,
        authorize: Authorize = deny,
        require_authentication: bool = False,
        on_call: Callable[[JsonRpcRequest], None] | None = None,
        on_internal_error: Callable[[BaseException], None] | None = None,
        limits: DispatchLimits = DispatchLimits(),
        legacy_envelope: bool = False,
    ) -> None:
        self.methods = methods
        self.invoke = invoke
        self.limits = limits
        self._authorize = authorize
        self._is_closed = require_authentication
        self._on_call = on_call
        self._on_internal_error = on_internal_error
        self._legacy = legacy_envelope
        self._timeouts = Timeouts()
        self._slots = asyncio.Semaphore(limits.concurrent_calls)

    async def dispatch(self, body: bytes, context: CallContext) -> bytes | None:
        """Answer one body: a request or a batch. ``None``: there is nothing to answer (notifications only)."""
        try:
            value = read_body(body, self.limits.depth)
            context = _with_idempotency_key(context)
            if isinstance(value, list):
                return await self._dispatch_batch(value, context)
            request = read_request(value, legacy=self._legacy)
        except RpcError as error:
            return self._write(JsonRpcResponse(None, error=error))
        response = await self.handle(request, context)
        if response is not None:
            return self._write(response, request.method)
        return LEGACY_NOTIFICATION_ANSWER if self._legacy else None

    async def handle(self, request: JsonRpcRequest, context: CallContext) -> JsonRpcResponse | None:
        """Run one request and return its response, or ``None`` for a notification (section 4.1)."""
        try:
            response = JsonRpcResponse(request.id, await self._run(request, context))
        except RpcError as error:
            response = JsonRpcResponse(request.id, error=error)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            _logger.exception("method %r failed: something that it awaits was cancelled", request.method)
            response = self._fail(request, RuntimeError(f"something that {request.method!r} awaits was cancelled"))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit too: no caller may end the process, or wait for nothing
            _log_failure(request.method, error)
            response = self._fail(request, error)
        if not request.is_notification:
            return response
        if isinstance(response.error, (DeadlineExceeded, Overloaded)):
            _logger.warning("notification %.200r was not carried out: %s", request.method, response.error)
        return None

    async def _dispatch_batch(self, items: Sequence[JsonValue], context: CallContext) -> bytes | None:
        if not 0 < len(items) <= self.limits.batch_size:
            raise InvalidRequest(data=f"a batch holds 1 to {self.limits.batch_size} requests" if items else None)
        turns = asyncio.Semaphore(self.limits.batch_concurrency)
        began, room = time.monotonic(), self.limits.response_bytes

        async def answer(item: JsonValue, position: int) -> bytes | None:
            nonlocal room
            async with turns:
                response = await self._respond(item, _of_item(context, position, time.monotonic() - began))
            if response is None:
                return None
            raw = self._write(response, _method_of(item), room)
            room = max(0, room - len(raw))
            return raw

        answers = await asyncio.gather(*map(answer, items, range(len(items))))
        responses = [answer for answer in answers if answer is not None]
        return write_batch(responses) if responses or self._legacy else None

    async def _respond(self, item: JsonValue, context: CallContext) -> JsonRpcResponse | None:
        try:
            request = read_request(item, legacy=self._legacy)
        except InvalidRequest as error:
            return JsonRpcResponse(None, error=error)
        return await self.handle(request, context)

    async def _run(self, request: JsonRpcRequest, context: CallContext) -> object:
        seconds = self.limits.call_timeout
        if context.timeout is not None and context.timeout < seconds:
            seconds = context.timeout
            if seconds <= 0:
                raise DeadlineExceeded
        scope = CallScope(time.monotonic() + seconds, context.headers.get(TRACE_HEADER))
        deadline = self._timeouts.within(seconds)
        try:
            with deadline:
                if self._slots.locked() and not request.is_notification:
                    raise Overloaded
                async with self._slots:
                    with call_scope(scope):
                        return await self._call(request, context)
        except TimeoutError as error:
            if deadline.expired():
                raise DeadlineExceeded from error
            raise

    async def _call(self, request: JsonRpcRequest, context: CallContext) -> object:
        method = self.methods.get(request.method)
        if self._is_closed or (method is not None and (method.private or method.scopes)):
            await self._admit(method, context)
        if method is None:
            raise MethodNotFound
        if context.is_repeated and not (method.idempotent or context.idempotency_key):
            raise Interrupted
        if self._on_call is not None:
            self._on_call(request)
        args, kwargs = method.bind(request.params, context.handler if method.takes_handler else None)
        if context.idempotency_key is not None:
            context = replace(context, params=request.params)
        return await self.invoke(method, args, kwargs, context)

    async def _admit(self, method: Method | None, context: CallContext) -> None:
        leave = self._authorize(method, context)
        caller = await leave if isawaitable(leave) else leave
        if not caller:
            raise AccessDenied
        if method is None or not (missing := method.scopes - scopes_of(caller)):
            return
        _logger.warning(
            "access to %s denied: it needs the scopes %s; over %s from %s",
            method.name,
            ", ".join(sorted(missing)),
            printable(context.wire),
            printable(context.peer[:MAX_SHOWN]),
        )
        raise AccessDenied(data={"missing_scopes": sorted(missing)})

    def _fail(self, request: JsonRpcRequest, error: BaseException) -> JsonRpcResponse:
        self._observe(error)
        return JsonRpcResponse(request.id, error=InternalError())

    def _write(self, response: JsonRpcResponse, method: object = None, room: int | None = None) -> bytes:
        """Encode a response to a call of ``method``; ``room``: what earlier ones of its batch leave of ``response_bytes``."""
        limit = self.limits.response_bytes if room is None else max(room, ALWAYS_WRITTEN)
        try:
            raw = write_response(response, legacy=self._legacy)
            if len(raw) > limit:
                raise ValueError(f"it has {len(raw)} bytes; {limit} are left of {self.limits.response_bytes}")
        except ValueError as error:
            mend = "; await it" if any(kind in str(error) for kind in _AWAITABLE) else ""
            _logger.error("the result of %.200r (%.200r) cannot be sent: %s%s", method, response.id, error, mend)
            self._observe(error)
            return write_response(JsonRpcResponse(response.id, error=InternalError()), legacy=self._legacy)
        return raw

    def _observe(self, error: BaseException) -> None:
        if self._on_internal_error is None:
            return
        try:
            self._on_internal_error(error)
        except Exception:
            _logger.exception("a plugin failed to take notice of an internal error")


def _with_idempotency_key(context: CallContext) -> CallContext:
    key = context.headers.get(IDEMPOTENCY_HEADER)
    if key is None:
        return context
    if not 0 < len(key) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest(data=f"an {IDEMPOTENCY_HEADER} has 1 to {MAX_IDEMPOTENCY_KEY} characters")
    return replace(context, idempotency_key=key)


def _of_item(context: CallContext, position: int, waited: float) -> CallContext:
    """Return the context of one request of a batch: the batch's key stands for all of its requests, not for one.

    So does the time that the caller waits: what the requests before this one took, ``waited``, is gone.
    """
    key, timeout = context.idempotency_key, context.timeout
    if key is None and timeout is None:
        return context
    return replace(
        context,
        idempotency_key=None if key is None else f"{key}/{position}",
        timeout=None if timeout is None else timeout - waited,
    )


def _log_failure(method: str, error: BaseException) -> None:
    """Log what a method failed with; in one line where a service that it calls is to blame, for that may last."""
    if isinstance(error, ServiceException) and not _logger.isEnabledFor(logging.DEBUG):
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        _logger.error("method %r failed: %s: %s%s", method, type(error).__name__, printable(str(error)), notes)
    else:
        _logger.error("method %r failed", method, exc_info=error)


def _method_of(item: JsonValue) -> JsonValue:
    return item.get("method") if isinstance(item, dict) else None
