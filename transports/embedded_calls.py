"""What the event loop asks of the bus thread, and how the answers reach it. The functions run on the event loop."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from gemstone_events.transport import Receive, Subscription
from gemstone_events.transports.embedded_consumer import Parcel
from gemstone_events.transports.embedded_publisher import Answer, PublishCall


class SubscribeCall(NamedTuple):
    """Declare and consume; the future is done after the first attempt."""

    subscriptions: Sequence[Subscription]
    receive: Receive
    future: asyncio.Future[None]


class StopCall(NamedTuple):
    """Claim no more; when the future is done, no more deliveries are on their way."""

    future: asyncio.Future[None]


class CloseCall(NamedTuple):
    """Settle, give back, let go of the file and end the thread."""

    future: asyncio.Future[None]


Call: TypeAlias = PublishCall | SubscribeCall | StopCall | CloseCall


def finish(future: asyncio.Future[None]) -> None:
    """Wake who waits for a call."""
    if not future.done():
        future.set_result(None)


def fail(future: asyncio.Future[None], error: Exception) -> None:
    """Raise an error where a call is waited for."""
    if not future.done():
        future.set_exception(error)


def resolve(answers: Sequence[Answer]) -> None:
    """Tell publish calls their outcomes."""
    for future, outcome in answers:
        if not future.done():
            future.set_result(outcome)


def hand_out(receive: Receive, parcels: Sequence[Parcel]) -> None:
    """Call the receiver with what came."""
    loop = asyncio.get_running_loop()
    for parcel in parcels:  # each on its own: a receiver that raises for one subscription does not rob the others
        loop.call_soon(receive, parcel.subscription, parcel.deliveries)
