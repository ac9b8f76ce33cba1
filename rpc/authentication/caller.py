"""Finds out who calls, on every wire, and keeps those from guessing who fail too often."""

import asyncio
import hashlib
import hmac
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import isawaitable, iscoroutine
from typing import TypeAlias

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.logs import printable
from gemstone_events.rpc.authentication.failed_attempts import FailedAttempts, network_of
from gemstone_events.rpc.authentication.strategies import BaseValidationStrategy
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.errors import AccessDenied
from gemstone_events.rpc.methods import Method
from gemstone_events.rpc.request_handler import CURRENT_USER, RpcHandler

Check: TypeAlias = Callable[[RpcHandler], object]
"""The service's ``authenticate_request``: returns, or is awaited for, something true for callers that it knows."""

_SHOWN = 200
_logger = logging.getLogger("gemstone_events.rpc.authentication")


def deny(handler: RpcHandler) -> bool:
    """Know nobody: the default of ``Authentication``."""
    return False


class TooManyFailedAttempts(AccessDenied):
    """The caller failed too often, and is not looked at for a while.

    Args:
        seconds: for how long.
    """

    def __init__(self, seconds: float) -> None:
        self.retry_after = math.ceil(seconds)
        super().__init__(data={"reason": "too many failed attempts", "retry_after": self.retry_after})


class Authentication:
    """How one service finds out who calls it, on all its wires.

    Args:
        check: its ``authenticate_request``.
        strategies: where tokens may stand. A request carries credentials if one of them finds some, or if it has the
            header ``Authorization``; only such a request can fail an attempt.
        attempts: counts failed attempts, by wire and peer.
        required: who calls is asked for all methods, and over HTTP before the body is read.
        by_token: the check asks about the token that the strategies find, and looks at nothing else.

    Raises:
        ServiceConfigurationError: a strategy is none.
    """

    def __init__(
        self,
        check: Check = deny,
        *,
        strategies: Sequence[BaseValidationStrategy] = (),
        attempts: FailedAttempts | None = None,
        required: bool = False,
        by_token: bool = False,
    ) -> None:
        self._check = check
        self._by_token = by_token
        self._strategies = tuple(map(_checked, strategies))
        self._attempts = FailedAttempts() if attempts is None else attempts
        self.required = required

    @property
    def challenge(self) -> str:
        """What HTTP's ``WWW-Authenticate`` says (RFC 9110, section 11.6.1)."""
        return ", ".join(dict.fromkeys(s.challenge for s in self._strategies if s.challenge)) or "Gemstone"

    async def authorize(self, method: Method | None, context: CallContext) -> object:
        """Return who calls, for ``Dispatcher``; a false value for a stranger."""
        if context.caller is None:
            return False
        return await context.caller.identify("an unknown method" if method is None else method.name)

    def begin(self, handler: RpcHandler, purpose: str) -> object:
        """Return what the check says, or what it is awaited for.

        Raises:
            TooManyFailedAttempts: it is not asked.
        """
        seconds = self._attempts.seconds_left(_peer(handler))
        if seconds:
            _log_denial(handler, purpose, "too many failed attempts")
            raise TooManyFailedAttempts(seconds)
        return self._check(handler)

    def fail(self, handler: RpcHandler, purpose: str) -> None:
        """Take notice that the check does not know the caller."""
        if self._carries_credentials(handler):
            self._attempts.add(_peer(handler))
            _log_denial(handler, purpose, f"wrong credentials{self._advice(handler)}")
        elif purpose != CURRENT_USER:  # nothing is denied to those who say nothing of themselves
            _log_denial(handler, purpose, "no credentials")

    def mark(self, handler: RpcHandler, salt: str) -> str:
        """Return a keyed hash of the tokens that a request carries; empty where there is none. See ``Caller``."""
        tokens = [strategy.extract_api_token(handler) for strategy in self._strategies]
        if not any(tokens):
            return ""
        return hmac.new(salt.encode(), json.dumps(tokens).encode(), hashlib.sha256).hexdigest()

    def _carries_credentials(self, handler: RpcHandler) -> bool:
        if "Authorization" in handler.request.headers:
            return True
        return self._has_token(handler)

    def _has_token(self, handler: RpcHandler) -> bool:
        return any(strategy.extract_api_token(handler) is not None for strategy in self._strategies)

    def _advice(self, handler: RpcHandler) -> str:
        """Return what to say to the service's people where the credentials are not even looked at."""
        if not self._by_token or self._has_token(handler):
            return ""
        places = " and ".join(strategy.place or type(strategy).__name__ for strategy in self._strategies)
        return f" (Authorization is not read: validation_strategies look for {places or 'nothing'})"


class BodySender:
    """Who sent one body (a ``call_context.Caller``).

    Args:
        authentication: how to find out.
        make_handler: returns the request as the check gets to see it.
        body: what was sent; None while it has not come.
    """

    __slots__ = ("_authentication", "_body", "_expected", "_failure", "_is_known", "_lock", "_make_handler", "_user")

    def __init__(
        self, authentication: Authentication, make_handler: Callable[[], RpcHandler], body: bytes | None = None
    ) -> None:
        self._authentication = authentication
        self._make_handler = make_handler
        self._body = body
        self._expected: bytes | None = None
        self._failure: Exception | None = None
        self._lock: asyncio.Lock | None = None
        self._is_known = False
        self._user: object = None

    async def identify(self, purpose: str) -> object:
        """Return what the check says of the caller; see ``Caller``."""
        if self._is_known:
            return self._user
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:  # the calls of a batch come here together
            if self._failure is not None:
                raise self._failure
            if not self._is_known:
                await self._find_out(purpose)
        return self._user

    def identify_now(self, purpose: str) -> object:
        """Return what the check says of the caller, if it is no coroutine; see ``Caller``."""
        if self._is_known:
            return self._user
        with self._checking(purpose) as handler:
            user = self._authentication.begin(handler, purpose)
            if isawaitable(user):
                if iscoroutine(user):
                    user.close()
                raise ServiceConfigurationError(
                    "authenticate_request is a coroutine: await handler.identify() instead of asking current_user"
                )
            self._conclude(handler, purpose, user)
        return self._user

    def sent_body(self, digest: bytes) -> bool:
        """Tell whether the body's SHA-256 is ``digest``, or will be; see ``Caller``."""
        if self._body is None:
            self._expected = digest
            return True
        return hmac.compare_digest(hashlib.sha256(self._body).digest(), digest)

    def mark(self, salt: str) -> str:
        """Return a keyed hash of the tokens that he sent; see ``Caller``."""
        return self._authentication.mark(self._make_handler(), salt)

    def body_came(self, body: bytes) -> None:
        """Take the body. The caller is a stranger if it is not the one for which he was let in."""
        self._body = body
        if self._user and self._expected is not None and not self.sent_body(self._expected):
            self._conclude(self._make_handler(), "any method with a body that was not signed", None)

    async def _find_out(self, purpose: str) -> None:
        try:
            with self._checking(purpose) as handler:
                user = self._authentication.begin(handler, purpose)
                self._conclude(handler, purpose, await user if isawaitable(user) else user)
        except Exception as error:
            if not self._is_known:
                self._failure = error
            raise

    @contextmanager
    def _checking(self, purpose: str) -> Iterator[RpcHandler]:
        handler = self._make_handler()
        try:
            yield handler
        except TooManyFailedAttempts:
            raise
        except AccessDenied:  # a check may say "no" in this way too
            self._conclude(handler, purpose, None)
            raise

    def _conclude(self, handler: RpcHandler, purpose: str, user: object) -> None:
        self._user = user
        self._is_known = True
        if not user:
            self._authentication.fail(handler, purpose)


def _peer(handler: RpcHandler) -> tuple[str, str]:
    return handler.wire, network_of(handler.request.remote_ip or "")


def _log_denial(handler: RpcHandler, purpose: str, reason: str) -> None:
    _logger.warning(
        "access to %s denied: %s, over %s from %s",
        printable(purpose[:_SHOWN]),
        reason,
        printable(handler.wire),
        printable((handler.request.remote_ip or "an unknown peer")[:_SHOWN]),
    )


def _checked(strategy: BaseValidationStrategy) -> BaseValidationStrategy:
    if isinstance(strategy, type) or not callable(getattr(strategy, "extract_api_token", None)):
        mend = f": write {strategy.__name__}()" if isinstance(strategy, type) else ""
        raise ServiceConfigurationError(f"validation_strategies holds {strategy!r}, which finds no tokens{mend}")
    return strategy
