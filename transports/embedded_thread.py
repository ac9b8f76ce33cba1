"""The thread that owns the bus file of one transport: it publishes, claims, settles, keeps the lease and recovers.

The event loop hands it calls through thread-safe queues and a waker; it answers with ``call_soon_threadsafe``. All that
waits is done together: publish calls share a transaction, and so do the acks and claims of all subscriptions.
"""

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import apsw

from gemstone_events.errors import TransportRefusedError
from gemstone_events.transport import TransportStatus
from gemstone_events.transports.embedded_bell import Bells
from gemstone_events.transports.embedded_bus import RENEW_SECONDS, Bus
from gemstone_events.transports.embedded_calls import (
    Call,
    CloseCall,
    StopCall,
    SubscribeCall,
    fail,
    finish,
    hand_out,
    resolve,
)
from gemstone_events.transports.embedded_consumer import BusConsumer, Settlement
from gemstone_events.transports.embedded_file import BusFile, CommitUncertainError
from gemstone_events.transports.embedded_publisher import Answer, BusPublisher, PublishCall
from gemstone_events.transports.embedded_recovery import Recovery, explain, is_passing

_POLL_WITH_BELL = 0.1  # a ring is lost only where its sender died between its commit and the ring
_POLL_BUSY, _POLL_IDLE, _BUSY_SECONDS = 0.001, 0.005, 1.0  # where the file system knows no FIFOs
_CLOSING_LOCK_PATIENCE = 0.7


@dataclass(frozen=True, slots=True)
class BusOptions:
    """What the thread works with.

    Attributes:
        file: the bus file, not open.
        namespace: which of the file's environments it works in.
        client: the service's name.
        report: called on the event loop with every new status.
    """

    file: BusFile
    namespace: str
    client: str
    report: Callable[[TransportStatus], None]


class BusThread:
    """Runs the bus of one transport. Its public methods belong to the event loop's thread, all others to its own."""

    def __init__(self, options: BusOptions, loop: asyncio.AbstractEventLoop) -> None:
        self._report_to = options.report
        self._loop = loop
        self._file = options.file
        self._bus = Bus(options.file, options.namespace, options.client)
        self._bells = Bells(options.file.path)
        self._publisher = BusPublisher(self._bus)
        self._consumer: BusConsumer | None = None
        self._opening, self._publishing, self._consuming = Recovery(), Recovery(), Recovery()
        self._calls: deque[Call] = deque()
        self._settled: deque[Settlement] = deque()
        self._signalled = False
        self._closing: CloseCall | None = None
        self._is_ending = False
        self._has_ended = False
        self._look = False
        self._data_version = 0
        self._busy_until = 0.0
        self._next_beat = 0.0
        self._reported = TransportStatus(publishing=False, consuming=True)

    def start(self) -> asyncio.Future[None]:
        """Start the thread; the future is done after its first attempt to open the file."""
        self._waker, self._alarm = socket.socketpair()
        self._waker.setblocking(False)
        self._alarm.setblocking(False)
        opened: asyncio.Future[None] = self._loop.create_future()
        name = f"bus {self._file.path.name}"
        threading.Thread(target=self._run, args=(opened,), name=name, daemon=True).start()
        return opened

    def submit(self, call: Call) -> None:
        """Hand over a call."""
        if isinstance(call, CloseCall):
            self._file.lock_patience = _CLOSING_LOCK_PATIENCE  # it may be waiting for the file at this moment
        self._calls.append(call)
        if self._has_ended:
            self._turn_away()
        else:
            self._wake()

    def settle(self, settlement: Settlement) -> None:
        """Hand over the outcome of a delivery."""
        self._settled.append(settlement)
        self._wake()

    def _wake(self) -> None:
        if not self._signalled:
            self._signalled = True
            with suppress(OSError):  # full: it is awake; closed: it has ended
                self._waker.send(b"!")

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            self._bells.watch(self._alarm.fileno())
            self._open()
            self._report()
            if not isinstance(self._opening.error, TransportRefusedError):
                self._post(finish, opened)
                while not self._is_ending:
                    self._turn()
                self._leave()
            self._is_ending = True
        finally:
            self._end()
            if isinstance(self._opening.error, TransportRefusedError):  # nothing of the thread is left when it is told
                self._post(fail, opened, self._opening.error)

    def _end(self) -> None:
        if not self._is_ending:  # a fault of ours, which the thread's exception hook shows
            self._post(self._report_to, TransportStatus(False, False, "the thread of the bus has failed"))
        self._bells.take_down()
        self._file.close()
        self._alarm.close()
        # On the loop's thread, which may be about to use it: the descriptor's number can be another file's by then.
        if not self._post(self._waker.close):
            self._waker.close()
        self._has_ended = True  # before the queue is emptied, so that no call stays unanswered in it
        self._turn_away()

    def _turn_away(self) -> None:
        """Answer the calls that came too late."""
        with suppress(IndexError):
            while True:
                self._take(self._calls.popleft())
        self._answer(self._publisher.refuse_all())
        if self._closing is not None:
            self._post(finish, self._closing.future)

    def _turn(self) -> None:
        if self._bells.wait(self._time_to_wait()):
            self._look = True
        if self._loop.is_closed():  # and nobody closed the transport: let others have what it holds
            self._is_ending = True
            return
        self._take_calls()
        if not self._file.is_open and self._opening.is_due:
            self._open()
        self._publish()
        self._attempt(self._consuming, self._consume)
        self._attempt(self._consuming, self._beat)
        self._report()

    def _time_to_wait(self) -> float:
        if not self._file.is_open:
            return self._opening.seconds_left
        if self._publisher.is_waiting:
            return 0.0
        now = time.monotonic()
        waits = [max(self._next_beat - now, self._consuming.seconds_left)]
        if self._publishing.error is not None:
            waits.append(self._publishing.seconds_left)
        consumer = self._consumer
        if consumer is not None:
            if self._look or consumer.has_settled or not consumer.is_registered:
                waits.append(self._consuming.seconds_left)
            if not consumer.is_stopped and self._bells.is_hung:
                waits.append(_POLL_WITH_BELL)
            elif not consumer.is_stopped:
                waits.append(_POLL_BUSY if now < self._busy_until else _POLL_IDLE)
        return min(waits)

    def _take_calls(self) -> None:
        with suppress(BlockingIOError):
            self._alarm.recv(4096)
        self._signalled = False  # before the queues are emptied, so that nothing stays unnoticed in them
        while self._settled:
            settlement = self._settled.popleft()
            if self._consumer is not None:
                self._consumer.settle(settlement)
        while self._calls:
            self._take(self._calls.popleft())

    def _take(self, call: Call) -> None:
        match call:
            case PublishCall():
                self._publisher.add(call)
            case SubscribeCall():
                self._consumer = BusConsumer(self._bus, call.subscriptions, call.receive, self.settle)
                self._attempt(self._consuming, self._register)
                self._report()
                self._post(finish, call.future)
            case StopCall():
                if self._consumer is not None:
                    self._consumer.is_stopped = True
                    self._attempt(self._consuming, self._bus.stop_consuming)
                self._post(finish, call.future)
            case CloseCall():
                self._closing = call
                self._is_ending = True

    def _open(self) -> None:
        try:
            self._file.open()
            is_known = self._bus.attach()
        except (apsw.Error, TransportRefusedError) as error:
            self._failed(self._opening, error)
            return
        self._opening.succeeded()
        if self._consumer is not None:
            self._consumer.is_registered = False
            if not is_known:
                self._consumer.forget()

    def _publish(self) -> None:
        if not self._file.is_open:
            self._answer(self._publisher.refuse_all())
        elif self._publisher.is_waiting:
            answers, instances = self._publisher.publish()
            self._answer(answers)
            if self._bus.instance in instances:
                self._look = True
            self._bells.ring(instances - {self._bus.instance})
            self._judge_publishing()
        elif self._publishing.error is not None and self._publishing.is_due:
            self._publisher.probe()
            self._judge_publishing()

    def _judge_publishing(self) -> None:
        if self._publisher.error is None:
            self._publishing.succeeded()
        else:
            self._failed(self._publishing, self._publisher.error)

    def _register(self) -> None:
        if self._consumer is not None:
            self._consumer.register()
            self._look = True
            if self._bus.instance is not None:
                self._bells.hang(self._bus.instance)

    def _consume(self) -> None:
        consumer = self._consumer
        if consumer is None:
            return
        if not consumer.is_registered:
            self._register()
        if not self._look:
            version = self._bus.data_version()
            self._look = version != self._data_version
            self._data_version = version
        if self._look or consumer.has_settled:
            parcels, others = consumer.exchange()
            self._look = False
            self._bells.ring(others - {self._bus.instance})
            if parcels:
                self._busy_until = time.monotonic() + _BUSY_SECONDS
                self._post(hand_out, consumer.receive, parcels)

    def _beat(self) -> None:
        """Keep the lease, notice whose lease ran out, and notice when the file was replaced."""
        now = time.monotonic()
        if now < self._next_beat:
            return
        self._next_beat = now + RENEW_SECONDS
        if self._file.is_displaced():
            self._file.close()
            return
        if not self._bus.stay_alive():
            # The machine slept, or this process was stopped. Perhaps others were as well: they get until the next beat.
            self._register()
            return
        if self._bus.instance is not None:
            self._bells.hang(self._bus.instance)  # again, if somebody who took it for dead removed its bell
        if dead := self._bus.bury_the_dead():
            self._bells.remove(dead)
            self._look = True  # at what they left: our own writing does not change the data version that we poll

    def _leave(self) -> None:
        if not self._file.is_open:
            return
        while self._publisher.is_waiting and self._publishing.error is None:
            self._publish()
        if self._consumer is not None:
            with suppress(apsw.Error, CommitUncertainError):  # then the lease runs out instead
                self._bells.ring(self._consumer.leave())

    def _attempt(self, recovery: Recovery, action: Callable[[], None]) -> None:
        """Do something with the file, unless it is closed or failed a moment ago."""
        if not self._file.is_open or not recovery.is_due:
            return
        try:
            action()
        except (apsw.Error, CommitUncertainError) as error:
            self._failed(recovery, error)
        else:
            recovery.succeeded()

    def _failed(self, recovery: Recovery, error: Exception) -> None:
        recovery.failed(error)
        if not is_passing(error):
            self._file.close()
            self._opening.failed(error)

    def _report(self) -> None:
        errors = [recovery.error for recovery in (self._opening, self._publishing, self._consuming)]
        consumer = self._consumer
        status = TransportStatus(
            publishing=self._file.is_open and self._publishing.error is None,
            consuming=consumer is None
            or (self._file.is_open and consumer.is_registered and self._consuming.error is None),
            detail="; ".join(dict.fromkeys(explain(error) for error in errors if error is not None)),
        )
        if status != self._reported:
            self._reported = status
            self._post(self._report_to, status)

    def _answer(self, answers: Sequence[Answer]) -> None:
        if answers:
            self._post(resolve, answers)

    def _post(self, callback: Callable[..., None], *arguments: object) -> bool:
        """Have something called on the event loop; False where it was closed before the transport."""
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            self._is_ending = True
            return False
        return True
