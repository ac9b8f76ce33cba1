"""A connection that comes back."""

import asyncio

import pytest

from gemstone_events.errors import TransportRefusedError, TransportUnavailableError
from gemstone_events.transports.amqp_link import FIRST_PAUSE, LONGEST_PAUSE, Link, jittered_pause


class Session:
    """A session that ends when it is told."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1
        if not self.ended.done():
            self.ended.set_result("closed")


class Broker:
    """Answers one attempt after the other as planned, then with sessions; notes the pauses between."""

    def __init__(self, *plan: Exception) -> None:
        self.plan = list(plan)
        self.sessions: list[Session] = []
        self.failures: list[int] = []
        self.changes = 0
        self._news = asyncio.Event()
        self.link = Link("test", self.connect, self.change, self.pause)

    async def connect(self) -> Session:
        if self.plan:
            raise self.plan.pop(0)
        self.sessions.append(Session())
        return self.sessions[-1]

    def change(self) -> None:
        self.changes += 1
        self._news.set()

    def pause(self, failures: int) -> float:
        self.failures.append(failures)
        return 0.0

    async def until_session(self, count: int) -> Session:
        async with asyncio.timeout(10):
            while len(self.sessions) < count or self.link.session is not self.sessions[-1]:
                self._news.clear()
                await self._news.wait()
        return self.sessions[-1]


async def test_a_refused_first_attempt_is_an_error_and_the_last_one() -> None:
    broker = Broker(TransportRefusedError("wrong password"))
    with pytest.raises(TransportRefusedError, match="wrong password"):
        await broker.link.start()
    assert broker.link.trouble == "test: wrong password"
    await broker.link.close()
    assert broker.sessions == []


async def test_a_broker_that_cannot_be_reached_is_tried_again_until_it_can() -> None:
    broker = Broker(*(TransportUnavailableError("down") for _ in range(5)))
    await broker.link.start()
    assert (broker.link.session, broker.link.trouble) == (None, "test: down")
    await broker.until_session(1)
    assert broker.link.trouble == ""
    assert broker.failures == [0, 1, 2, 3, 4]
    await broker.link.close()


async def test_after_a_first_attempt_no_error_is_the_last_one() -> None:
    broker = Broker()
    await broker.link.start()
    broker.plan = [
        TransportRefusedError("drift"),
        RuntimeError("can't start new thread"),
        TransportUnavailableError("x"),
    ]
    broker.sessions[0].ended.set_result("the broker went away")
    assert broker.link.session is None
    await broker.until_session(2)
    await broker.link.close()


async def test_sessions_that_do_not_last_make_the_pauses_grow() -> None:
    broker = Broker()
    await broker.link.start()
    for count in range(1, 6):
        session = await broker.until_session(count)
        session.ended.set_result("cut")
    await broker.until_session(6)
    assert broker.failures == [0, 1, 2, 3, 4]
    await broker.link.close()


async def test_a_retired_link_keeps_its_session_and_opens_no_other() -> None:
    broker = Broker()
    await broker.link.start()
    await broker.link.retire()
    session = broker.sessions[0]
    assert broker.link.session is session
    assert not session.ended.done()
    session.ended.set_result("gone")
    await asyncio.sleep(0)
    assert len(broker.sessions) == 1
    await broker.link.close()


async def test_closing_twice_closes_the_session_once() -> None:
    broker = Broker()
    await broker.link.start()
    await broker.link.close()
    await broker.link.close()
    assert broker.sessions[0].closed == 1
    assert broker.link.trouble == "test: closed"


async def test_a_session_that_opens_while_the_link_closes_is_closed_too() -> None:
    broker = Broker()
    opening, go_on = asyncio.Event(), asyncio.Event()
    connect = broker.connect

    async def slowly() -> Session:
        opening.set()
        await go_on.wait()
        return await connect()

    link = Link("test", slowly, broker.change, broker.pause)
    starting = asyncio.create_task(link.start())
    await opening.wait()
    await link.close()
    go_on.set()
    await starting
    assert (link.session, broker.sessions[0].closed) == (None, 1)


def test_pauses_grow_have_a_limit_and_differ() -> None:
    for failures, limit in ((0, FIRST_PAUSE), (1, 0.2), (5, 3.2), (9, LONGEST_PAUSE), (10_000, LONGEST_PAUSE)):
        pauses = [jittered_pause(failures) for _ in range(200)]
        assert 0 <= min(pauses) < limit / 4
        assert limit * 3 / 4 < max(pauses) <= limit
