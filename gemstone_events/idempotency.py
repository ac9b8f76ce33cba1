"""Calls with an idempotency key: carried out once, and answered from the store when they come again."""

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gemstone_events import strict_json
from gemstone_events.errors import ServiceConfigurationError, StoreError
from gemstone_events.rpc.call_context import CallContext, Caller
from gemstone_events.rpc.errors import AccessDenied, Interrupted, InvalidParams
from gemstone_events.rpc.methods import Method
from gemstone_events.rpc.protocol import Params
from gemstone_events.rpc.request_handler import CURRENT_USER
from gemstone_events.store.port import Answer, AnswerKey, EventStore
from gemstone_events.strict_json import JsonValue

KeepAnswer: TypeAlias = Callable[[object], Answer]
"""Makes of a method's result the answer that is committed with its effects; ``ValueError``: it cannot be sent."""

_ANY_DEPTH = sys.maxsize


class CarryOut(Protocol):
    """Runs a method, and commits what it did together with the answer that ``keep`` makes of its result."""

    def __call__(self, *, keep: KeepAnswer | None) -> Awaitable[object]:
        """Return the result when all is committed."""


@dataclass(frozen=True, slots=True)
class KeyedCall:
    """One call under its idempotency key.

    Attributes:
        key: which call of which caller.
        fingerprint: of the parameters, to tell a repetition from another call under the same key.
        may_have_run: another instance had it and died, and running it again may have a second effect.
    """

    key: AnswerKey
    fingerprint: str
    may_have_run: bool = False

    @classmethod
    async def of(cls, service: str, method: Method, context: CallContext) -> "KeyedCall":
        """Return the call that has come with ``context``.

        Args:
            service: the name of the service, for several may keep their answers in one store.
            method: what is called. Where it is not for everybody, or sees who calls, no caller can ask for the answer
                to another.
            context: where the call comes from; it has an idempotency key.

        Raises:
            ServiceConfigurationError: the caller is known by nothing that stays the same: he could get the answer to
                another.
        """
        own, sent = f"{service}:{method.name}", context.idempotency_key or ""
        caller = await _name_caller(method, context.caller, f"{own}:{sent}") if context.caller else ""
        key = AnswerKey(own, caller, sent)
        return cls(key, fingerprint(context.params), context.is_repeated and not method.idempotent)


async def _name_caller(method: Method, caller: Caller, salt: str) -> str:
    """Return what tells a method's caller from others; empty where all are one to it, and for strangers."""
    known: object = None
    if method.private or method.scopes:
        known = await caller.identify(method.name)
    elif method.takes_handler:  # its answer may depend on who calls
        with contextlib.suppress(AccessDenied):
            known = await caller.identify(CURRENT_USER)
    if not known:
        return ""
    if name := caller_name(known):
        return name
    if known is True and (mark := caller.mark(salt)):
        return f"token {mark}"
    raise ServiceConfigurationError(
        f"calls of {method.name!r} with an idempotency key cannot be told apart by their callers: let "
        f"authenticate_request return a Principal or a name, not {type(known).__name__!r}; True will do for callers "
        "whose token one of validation_strategies finds"
    )


def caller_name(known: object) -> str:
    """Return the name in what ``authenticate_request`` says of a caller: a text, a number, or an object's ``name``.

    Nothing else stays the same when the caller comes again, so anything else is no name.
    """
    name = getattr(known, "name", known)
    return str(name) if isinstance(name, str | int) and not isinstance(name, bool) else ""


def fingerprint(params: Params) -> str:
    """Return a hash of parameters; the order of names does not count, and none is as good as an empty list."""
    canonical = json.dumps(params or (), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Running:
    fingerprint: str
    answer: "asyncio.Future[Answer | None]"


class AnsweredOnce:
    """Carries calls out once per key; repetitions get the first one's answer, also from other instances on the store.

    Only a result is kept: a call that failed has had no effect in the store, and its repetition is run. Repetitions
    that come while the call runs wait for it, each until its own deadline.

    Args:
        store: returns the service's store, or None while the service does not run.
        max_bytes: size of an answer that can be sent, as JSON.
    """

    def __init__(self, store: Callable[[], EventStore | None], max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._running: dict[AnswerKey, _Running] = {}  # no more than calls may run at once

    async def run(self, call: KeyedCall, carry_out: CarryOut) -> object:
        """Return the result of the call, whenever it was carried out.

        Raises:
            InvalidParams: the key was used with other parameters before.
            Interrupted: it may have been carried out already, and the store cannot tell, for it is not durable.
            ValueError: the result is not strict JSON, or too large to be sent; nothing was committed.
            StoreError: the store cannot be read or written.
            Exception: whatever the method raises.
        """
        store = self._store()
        if store is None:
            return await carry_out(keep=None)
        while (first := self._running.get(call.key)) is not None:
            _check_same(first.fingerprint, call)
            if (answer := await asyncio.shield(first.answer)) is not None:
                return _result(answer, call)
        mine = _Running(call.fingerprint, asyncio.get_running_loop().create_future())
        self._running[call.key] = mine
        answer = None
        try:
            answer = await self._answer(store, call, carry_out)
        finally:
            del self._running[call.key]
            mine.answer.set_result(answer)
        return _result(answer, call)

    async def _answer(self, store: EventStore, call: KeyedCall, carry_out: CarryOut) -> Answer:
        if (stored := await store.find_answer(call.key)) is not None:
            return stored
        if call.may_have_run and not store.durable:
            raise Interrupted
        kept: list[Answer] = []

        def keep(result: object) -> Answer:
            kept.append(self._make_answer(call, result))
            return kept[-1]

        try:
            await carry_out(keep=keep)
        except Exception:
            # Another instance may have been faster. Then whatever this one ran into, often the other's effect, is void.
            with contextlib.suppress(StoreError):
                if (stored := await store.find_answer(call.key)) is not None:
                    return stored
            raise
        return kept[-1]

    def _make_answer(self, call: KeyedCall, result: object) -> Answer:
        body = strict_json.dumps(result)
        if len(body) > self._max_bytes:
            raise ValueError(f"the result has {len(body)} bytes; the limit is {self._max_bytes}")
        strict_json.loads(body, _ANY_DEPTH)  # what cannot be read could answer no repetition
        return Answer(call.key, call.fingerprint, body)


def _result(answer: Answer, call: KeyedCall) -> JsonValue:
    _check_same(answer.fingerprint, call)
    return strict_json.loads(answer.body, _ANY_DEPTH)


def _check_same(known: str, call: KeyedCall) -> None:
    if known != call.fingerprint:
        raise InvalidParams(
            data="the idempotency key was used for a call with other parameters: send each new call with a new key"
        )
