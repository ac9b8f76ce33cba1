"""One attempt at handling one event, from its bytes to what the store shall write about it."""

import asyncio
import time
import traceback
from dataclasses import dataclass
from enum import Enum

from gemstone_events import execution
from gemstone_events.call_scope import CallScope, call_scope
from gemstone_events.cancellation import is_cancelled
from gemstone_events.codec import decode
from gemstone_events.deadlines import Timeouts
from gemstone_events.errors import DecodeError, SchemaError
from gemstone_events.event import Event, new_id
from gemstone_events.execution import Threads
from gemstone_events.handlers import EventHandler
from gemstone_events.message import Message
from gemstone_events.retry import RetryPolicy
from gemstone_events.schema import load
from gemstone_events.store.port import Changes, DeadLetter, EventStore, InboxKey, Retry
from gemstone_events.unit_of_work import UnitOfWork

MAX_ERROR_CHARACTERS = 8000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One handler's turn at one message.

    Attributes:
        key: the inbox key.
        failures: how many attempts have failed before, or were begun by a process that is gone.
        error: the last failure before, for people.
        redelivered: the transport surely delivered it before.
    """

    key: InboxKey
    handler: EventHandler
    message: Message
    failures: int = 0
    error: str = ""
    redelivered: bool = False


class Kind(Enum):
    """How an attempt ended."""

    HANDLED = "handled"
    RETRY = "retry"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an attempt.

    Attributes:
        changes: what the store shall write; until then nothing has happened.
        error: for people, the last lines of a failure.
        delay: seconds until the next attempt.
    """

    kind: Kind
    changes: Changes
    error: str = ""
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Workplace:
    """What the attempts of one service work with.

    Attributes:
        store: where units of work will be written; an attempt writes nothing.
        threads: where ``def`` handlers run.
        max_body: the longest body in bytes that is decoded.
    """

    store: EventStore
    threads: Threads
    max_body: int


async def attempt(
    turn: Attempt, workplace: Workplace, timeouts: Timeouts, seconds: float, retry: RetryPolicy
) -> Verdict:
    """Decode, validate and handle; whatever goes wrong is part of the verdict.

    A turn that has no attempt left is buried without that.

    Args:
        turn: what to attempt.
        workplace: what to work with.
        timeouts: of all attempts of the handler's group.
        seconds: how long the handler may take, from when it begins.
        retry: what to do about failures.
    """
    if turn.failures >= retry.attempts:  # its last attempts ended with their process
        return buried(turn, "exhausted", turn.error or "the process ended during each attempt")
    try:
        event = decode(turn.message, max_body=workplace.max_body)
        body = _load(turn.handler, event)
    except DecodeError as error:
        return buried(turn, "undecodable", str(error))
    except SchemaError as error:
        return buried(turn, "schema", str(error))
    except Exception as error:  # noqa: BLE001 - a hook of the author's schema
        return failed(turn, error, retry)
    handler = turn.handler
    arguments = (body, event) if handler.takes_event else (body,)
    limit = timeouts.within(None)
    try:
        scope = CallScope(time.monotonic() + seconds, event.traceparent)
        with UnitOfWork(workplace.store, cause=event) as unit, call_scope(scope), limit:
            await execution.run(
                handler.function,
                arguments,
                is_coroutine=handler.is_coroutine,
                threads=workplace.threads,
                begins=lambda: limit.begin(seconds),
            )
    except TimeoutError as error:
        overdue = TimeoutError(f"no outcome within {seconds:g} seconds")
        return failed(turn, overdue if limit.expired() else error, retry)
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        return failed(turn, RuntimeError(f"something that the handler awaits was cancelled: {error}"), retry)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever ends a handler, as sys.exit(), ends only the handler
        return failed(turn, error, retry)
    return Verdict(Kind.HANDLED, unit.complete(turn.key))


def failed(turn: Attempt, error: BaseException, retry: RetryPolicy) -> Verdict:
    """Return the verdict on a failure: another attempt, or a dead letter."""
    failures = turn.failures + 1
    report = _report(error)
    if not retry.allows(error, failures):
        return buried(turn, "exhausted" if failures >= retry.attempts else "fatal", report)
    delay = retry.delay(failures)
    return Verdict(Kind.RETRY, Changes(retries=[Retry(turn.key, turn.message, failures, delay, report)]), report, delay)


def buried(turn: Attempt, reason: str, error: str) -> Verdict:
    """Return the verdict that makes the message a dead letter."""
    letter = DeadLetter(new_id(), turn.key, turn.message, reason, error, turn.failures + 1)
    return Verdict(Kind.DEAD, Changes(dead_letters=[letter]), error)


def _report(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))[-MAX_ERROR_CHARACTERS:]
    except Exception as unprintable:  # noqa: BLE001 - the author's exception may be of any kind
        return (
            f"{type(error).__qualname__}, which cannot be shown, for that failed with {type(unprintable).__qualname__}"
        )


def _load(handler: EventHandler, event: Event) -> object:
    schema = handler.options.schema
    return event.data if schema is None else load(schema, event.data, f"the body of {event.type!r}")
