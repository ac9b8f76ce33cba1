"""The asynchronous core of all clients: deadline, headers, attempts and reading, over any wire."""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeVar, Unpack

from gemstone_events.call_scope import current_call_scope
from gemstone_events.deadlines import Timeouts
from gemstone_events.retry import RetryPolicy
from gemstone_events.rpc.authentication.credentials import Credentials
from gemstone_events.rpc.call_context import IDEMPOTENCY_HEADER, TRACE_HEADER
from gemstone_events.rpc.call_errors import (
    CallTimeoutError,
    DeadlineExceededError,
    InterruptedCallError,
    OutcomeUnknownError,
    OverloadedError,
    RemoteServiceError,
    RequestRefusedError,
    ServiceException,
    ServiceUnreachableError,
)
from gemstone_events.rpc.client.answers import check_silence, read_batch, read_single
from gemstone_events.rpc.client.call_counts import CallCounts, is_outcome_known
from gemstone_events.rpc.client.requests import (
    CallOptions,
    IdempotencyKey,
    MethodCall,
    Notification,
    Request,
    check_headers,
    check_options,
    check_timeout,
    check_url,
    encode,
)
from gemstone_events.rpc.client.results import BatchResult, Result
from gemstone_events.rpc.wire import ClientWire, WireRequest
from gemstone_events.schemes import mask

DEFAULT_TIMEOUT = 30.0

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
# A wire ends its calls by itself; this is for one that does not.
_GRACE_SECONDS = 1.0
_NOT_CARRIED_OUT = (ServiceUnreachableError, OverloadedError)
_MAYBE_CARRIED_OUT = (OutcomeUnknownError, InterruptedCallError, DeadlineExceededError)

_logger = logging.getLogger("gemstone_events.rpc.client")

T = TypeVar("T")
Failure = TypeVar("Failure", bound=BaseException)


class Wires(Protocol):
    """Where a caller finds its way to a service: ``WirePool``, or something like it."""

    def wire_for(self, url: str) -> ClientWire:
        """Return the wire that a URL is called by."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request or a batch that is ready to be sent; its clock is running.

    Attributes:
        body: JSON-RPC.
        headers: what goes with it.
        deadline: when it is given up, by ``time.monotonic``.
        calls: what is to be answered, in order.
        count: how many requests it holds, notifications included.
        is_repeatable: it may be sent again though its outcome is unknown.
        what: the methods' names, for people.
    """

    body: bytes
    headers: Mapping[str, str]
    deadline: float
    calls: Sequence[MethodCall]
    count: int
    is_repeatable: bool
    what: str

    @property
    def seconds_left(self) -> float:
        """How long it may still take."""
        return self.deadline - time.monotonic()


class Caller:
    """Calls one service, on the event loop to which the wires belong.

    It is made ready in one step (``prepare``, in the thread and context of whoever calls) and sent in another, so that
    a deadline counts from the moment of the call, and a call that is being served hands its own deadline and trace on.

    Args:
        url: the service's.
        timeout: seconds for a call that names none itself.
        retry: how often, and how soon, a call is repeated within its deadline; None: never. Whatever it says, a call
            that may have been carried out is repeated only if it is idempotent or has an idempotency key.
        headers: sent with each call.
        authentication: shows who calls.

    Raises:
        TypeError: the URL is no text, or ``retry`` no policy.
        UnknownSchemeError: the URL has no scheme.
        ValueError: the timeout or a header cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: RetryPolicy | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        authentication: Credentials | None = None,
    ) -> None:
        if retry is not None and not isinstance(retry, RetryPolicy):
            raise _no_policy(retry)
        self.url = check_url(url)
        self.timeout = check_timeout(timeout)
        self.counts = CallCounts()
        self._shown = mask(url)
        self._timeouts = Timeouts()
        self._retry = retry
        self._headers = check_headers(headers)
        self._credentials = authentication

    def prepare(self, request: Request) -> Outgoing:
        """Make a call or a notification ready.

        Raises:
            ValueError: the parameters are not strict JSON, or a header cannot be sent.
        """
        body = encode(request)
        calls = [request] if isinstance(request, MethodCall) else []
        headers = self._prepare_headers(request.headers, request.idempotency_key)
        is_repeatable = request.idempotent or request.idempotency_key is not None
        return Outgoing(
            body, headers, self._deadline(request.timeout), calls, 1, is_repeatable, repr(request.method_name)
        )

    def prepare_batch(self, requests: Sequence[Request], **options: Unpack[CallOptions]) -> Outgoing:
        """Make a batch ready. It is sent as one: deadline, headers and idempotency key are the batch's.

        Raises:
            TypeError: something is neither a call nor a notification.
            ValueError: the batch is empty, two calls have one id, one brings options of its own, or it cannot be sent.
        """
        _check_batch(requests)
        check_options(options)
        body = b"[%b]" % b",".join(map(encode, requests))
        key = options.get("idempotency_key")
        headers = self._prepare_headers(options.get("headers", _NO_HEADERS), key)
        calls = [request for request in requests if isinstance(request, MethodCall)]
        is_repeatable = key is not None or options.get("idempotent", all(request.idempotent for request in requests))
        what = f"a batch of {len(requests)}"
        deadline = self._deadline(options.get("timeout"))
        return Outgoing(body, headers, deadline, calls, len(requests), is_repeatable, what)

    async def call(self, wires: Wires, outgoing: Outgoing) -> Result:
        """Send a call and return its result, which carries no error.

        Raises:
            RemoteServiceError: it brought none; the class says whether it may have been carried out.
            ServiceConfigurationError: the URL cannot be called.
        """
        (call,) = outgoing.calls
        result = await self._send(wires, outgoing, lambda body: read_single(body, call, self._shown))
        self.counts.answered += 1
        return result

    async def notify(self, wires: Wires, outgoing: Outgoing) -> None:
        """Send a notification, and return when a service has it.

        Raises:
            RemoteServiceError: none has it, or that is unknown.
            ServiceConfigurationError: the URL cannot be called.
        """
        await self._send(wires, outgoing, check_silence)
        self.counts.answered += 1

    async def batch(self, wires: Wires, outgoing: Outgoing) -> BatchResult:
        """Send a batch and return the results of its calls, which carry their errors.

        Raises:
            RemoteServiceError: the batch as a whole brought nothing.
            ServiceConfigurationError: the URL cannot be called.
        """
        results = await self._send(wires, outgoing, lambda body: read_batch(body, outgoing.calls, self._shown))
        self.counts.answered += outgoing.count - len(outgoing.calls)
        self.counts.add_results(results)
        return results

    async def _send(self, wires: Wires, outgoing: Outgoing, read: Callable[[bytes | None], T]) -> T:
        attempts = 1
        doubt: RemoteServiceError | None = None
        try:
            while True:
                wire = wires.wire_for(self.url)  # whoever has closed it does not open it for another attempt
                try:
                    return read(await self._attempt(wire, outgoing))
                except RemoteServiceError as error:
                    pause = self._pause(error, attempts, outgoing)
                    if pause is None:
                        raise
                    doubt = doubt if is_outcome_known(error) else error
                await asyncio.sleep(pause)
                attempts += 1
                self.counts.repeated += 1
        except BaseException as last:
            outcome = last if doubt is None else sum_of(doubt, last)
            self.counts.add_failure(outcome, outgoing.count)
            if isinstance(outcome, ServiceException):
                outcome.add_note(f"calling {outgoing.what} of {self._shown}, attempt {attempts}")
            elif isinstance(outcome, asyncio.CancelledError):
                _logger.debug("nobody waits any more for %s of %s: its outcome is unknown", outgoing.what, self._shown)
            if outcome is not last:
                raise outcome from last
            raise

    async def _attempt(self, wire: ClientWire, outgoing: Outgoing) -> bytes | None:
        left = outgoing.seconds_left
        if left <= 0:
            raise ServiceUnreachableError("no time is left for the call: not sent")
        headers = outgoing.headers
        if self._credentials is not None:
            headers = {**headers, **check_headers(self._credentials.headers(outgoing.body))}
        request = WireRequest(outgoing.body, left, headers, is_answered=bool(outgoing.calls))
        try:
            with self._timeouts.within(left + _GRACE_SECONDS) as deadline:
                return await wire.call(self.url, request)
        except TimeoutError as error:
            if isinstance(error, CallTimeoutError) or not deadline.expired():
                raise
            raise CallTimeoutError(
                f"no answer within {left:.3f} s, and the wire did not say so: it may have been carried out"
            ) from error

    def _pause(self, error: RemoteServiceError, attempts: int, outgoing: Outgoing) -> float | None:
        """Return the seconds to wait before the next attempt, or None where there shall be none."""
        may_go_on = may_repeat(error, is_repeatable=outgoing.is_repeatable)
        if not may_go_on or self._retry is None or not self._retry.allows(error, attempts):
            return None
        pause = self._retry.delay(attempts)
        return pause if pause < outgoing.seconds_left else None

    def _deadline(self, timeout: float | None) -> float:
        seconds = self.timeout if timeout is None else check_timeout(timeout)
        scope = current_call_scope()
        deadline = time.monotonic() + seconds
        return deadline if scope is None else min(deadline, scope.deadline)

    def _prepare_headers(self, own: Mapping[str, str], key: IdempotencyKey) -> Mapping[str, str]:
        headers = {**self._headers, **check_headers(own)} if own else dict(self._headers)
        scope = current_call_scope()
        if scope is not None and scope.traceparent is not None:
            headers.setdefault(TRACE_HEADER, scope.traceparent)
        if key is not None:
            headers[IDEMPOTENCY_HEADER] = secrets.token_urlsafe(18) if key is True else key
        return headers


def may_repeat(error: RemoteServiceError, *, is_repeatable: bool) -> bool:
    """Tell whether a call that ended so may be sent again, there or elsewhere.

    Args:
        error: what it ended with.
        is_repeatable: carrying it out twice does no harm.
    """
    if isinstance(error, RequestRefusedError):  # and would be again
        return False
    return isinstance(error, _NOT_CARRIED_OUT) or (is_repeatable and isinstance(error, _MAYBE_CARRIED_OUT))


def sum_of(doubt: RemoteServiceError, last: Failure) -> Failure | OutcomeUnknownError:
    """Return what became of a call with an earlier attempt that may have been carried out, and a last one."""
    if not isinstance(last, _NOT_CARRIED_OUT):
        return last
    return OutcomeUnknownError(f"the last attempt was not carried out ({last}), but an earlier one may be: {doubt}")


def _no_policy(given: object) -> TypeError:
    mend = f"RetryPolicy(attempts={given})" if isinstance(given, int) else "RetryPolicy(...)"
    return TypeError(f"retry is a RetryPolicy, not {given!r:.100}: write retry={mend}")


def _check_batch(requests: Sequence[Request]) -> None:
    if not requests:
        raise ValueError("a batch holds at least one request")
    for request in requests:
        if not isinstance(request, MethodCall | Notification):
            raise TypeError(f"a batch holds MethodCall and Notification objects, not {type(request).__name__}")
        if request.timeout is not None or request.idempotency_key is not None or request.headers:
            raise ValueError(
                f"{request.method_name!r} is sent as part of a batch: give timeout, idempotency_key and headers to "
                "call_batch, for all of it"
            )
    numbers = Counter(request.id for request in requests if isinstance(request, MethodCall))
    identity, number = next(iter(numbers.most_common(1)), (None, 0))
    if number > 1:
        raise ValueError(f"two calls of the batch have the id {identity!r}: make a MethodCall for each")
