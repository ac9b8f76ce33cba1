"""Telling others that a service is there."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from gemstone_events.rpc.call_errors import ServiceUnreachableError
from gemstone_events.rpc.discovery.announcer import Announcer
from gemstone_events.rpc.discovery.strategy import BaseDiscoveryStrategy
from gemstone_events.rpc.discovery.strategy_runner import StrategyRunner
from gemstone_events.rpc.presence import Presence

NEAR, FAR = "http://127.0.0.1:1/api", "http://10.0.0.1:1/api"
LOGGER = logging.getLogger("test_discovery_announcer")


class Board(BaseDiscoveryStrategy):
    """Writes down what it is told."""

    def __init__(self, is_local: bool = True) -> None:
        self.is_local = is_local
        self.pings: list[tuple[str, str]] = []
        self.withdrawn: list[tuple[str, str]] = []
        self.failure: Exception | None = None
        self.presence: object = None

    async def ping(self, name: str, location: str, **kwargs: object) -> None:
        self.pings.append((name, location))
        self.presence = kwargs.get("presence")
        if self.failure is not None:
            raise self.failure

    async def withdraw(self, name: str, location: str) -> None:
        self.withdrawn.append((name, location))


class OfGemstone:
    """As gemstone has them."""

    def __init__(self) -> None:
        self.pings: list[tuple[str, str]] = []

    def ping(self, name: str, location: str) -> None:
        self.pings.append((name, location))

    def locate(self, name: str) -> None:
        """Know nothing."""


def announcer(*strategies: object, urls: tuple[str, ...] = (NEAR,), interval: float = 0.01) -> Announcer:
    presence = Presence(service="orders", instance="1", urls=urls)
    runners = [StrategyRunner(strategy, 0.2) for strategy in strategies]  # type: ignore[arg-type]
    return Announcer(runners, lambda: presence, interval=interval, logger=LOGGER)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_service_is_announced_again_and_again_and_signed_off_at_the_end() -> None:
    board = Board()
    announcing = announcer(board, urls=(NEAR, "amqp://127.0.0.1/%2F#orders"))
    announcing.start()
    await until(lambda: len(board.pings) >= 6)
    await announcing.stop()
    count = len(board.pings)
    assert set(board.pings) == {("orders", NEAR), ("orders", "amqp://127.0.0.1/%2F#orders")}
    assert board.withdrawn == [("orders", NEAR), ("orders", "amqp://127.0.0.1/%2F#orders")]
    assert isinstance(board.presence, Presence)
    await announcing.stop()
    assert (len(board.pings), len(board.withdrawn)) == (count, 2)


async def test_a_strategy_of_gemstone_is_told_no_more_than_it_takes() -> None:
    strategy = OfGemstone()
    announcing = announcer(strategy)
    announcing.start()
    await until(lambda: len(strategy.pings) >= 2)
    await announcing.stop()
    assert set(strategy.pings) == {("orders", NEAR)}


async def test_a_failure_is_logged_once_until_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER.name)
    board = Board()
    board.failure = OSError("redis://ada:secret@host is gone")
    announcing = announcer(board)
    announcing.start()
    await until(lambda: len(board.pings) >= 5)
    board.failure = None
    await until(lambda: "again" in caplog.text)
    board.failure = OSError("gone")
    await until(lambda: "OSError: gone" in caplog.text)
    await announcing.stop()
    messages = [record.message for record in caplog.records]
    assert messages == [
        "the service cannot be announced: Board: OSError: redis://ada:***@host is gone",
        "the service is announced to Board again",
        "the service cannot be announced: Board: OSError: gone",
    ]
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ("http://127.0.0.1:9/api cannot be reached", "registry http://127.0.0.1:9/api cannot be reached"),
        ("registry http://127.0.0.1:9 lies", "registry http://127.0.0.1:9 lies"),
        ("it is away", "registry http://127.0.0.1:9: it is away"),
    ],
)
async def test_what_is_logged_of_a_registry_names_its_address_once(
    failure: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Registry(Board):
        def __str__(self) -> str:
            return "registry http://127.0.0.1:9"

    board = Registry()
    board.failure = ServiceUnreachableError(failure)
    announcing = announcer(board)
    announcing.start()
    await until(lambda: caplog.messages)
    await announcing.stop()
    assert caplog.messages == [f"the service cannot be announced: {told}"]


async def test_a_strategy_that_hangs_holds_up_no_other() -> None:
    class Hanging(Board):
        async def ping(self, name: str, location: str, **kwargs: object) -> None:
            await asyncio.Event().wait()

    board = Board()
    announcing = announcer(Hanging(), board)
    announcing.start()
    await until(lambda: len(board.pings) >= 3)
    await announcing.stop()


async def test_where_others_are_on_other_machines_loopback_is_not_announced(caplog: pytest.LogCaptureFixture) -> None:
    board = Board(is_local=False)
    announcing = announcer(board, urls=(NEAR, FAR, "sqlite:///bus.db#orders", "memory://bus#orders"))
    announcing.start()
    await until(lambda: len(board.pings) >= 2)
    await announcing.stop()
    assert set(board.pings) == {("orders", FAR)}
    assert board.withdrawn == [("orders", FAR)]
    assert not caplog.records


async def test_the_address_of_a_bus_is_announced_with_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a b#c"
    folder.mkdir()
    monkeypatch.chdir(folder)
    board = Board()
    announcing = announcer(board, urls=("sqlite:///.gemstone/bus.db#orders", "sqlite:////srv/bus.db#orders"))
    announcing.start()
    await until(lambda: len(board.pings) >= 2)
    await announcing.stop()
    assert {url for _, url in board.pings} == {
        f"sqlite:///{tmp_path}/a%20b%23c/.gemstone/bus.db#orders",
        "sqlite:////srv/bus.db#orders",
    }


async def test_a_change_of_health_is_announced_before_the_interval_is_over() -> None:
    board, health = Board(), ["degraded"]
    announcing = Announcer(
        [StrategyRunner(board, 1.0)],
        lambda: Presence(service="orders", instance="1", urls=(NEAR,), health=health[0]),
        interval=3600.0,
        logger=LOGGER,
    )
    announcing.start()
    await until(lambda: len(board.pings) == 1)
    health[0] = "ok"
    await until(lambda: len(board.pings) == 2)
    await announcing.stop()
    assert isinstance(board.presence, Presence)
    assert board.presence.health == "ok"


async def test_a_service_with_no_address_for_others_says_so(caplog: pytest.LogCaptureFixture) -> None:
    board = Board(is_local=False)
    announcing = announcer(board)
    announcing.start()
    await until(lambda: "set accessible_at" in caplog.text)
    await announcing.stop()
    assert board.pings == []


async def test_who_cannot_be_signed_off_is_no_error() -> None:
    class Stubborn(Board):
        async def withdraw(self, name: str, location: str) -> None:
            raise OSError("gone")

    announcing = announcer(Stubborn())
    announcing.start()
    await announcing.stop()


async def test_an_address_that_one_only_listens_on_is_not_announced(caplog: pytest.LogCaptureFixture) -> None:
    board = Board(is_local=False)
    announcing = announcer(board, urls=("http://0.0.0.0:8000/api", "http://[::]:8000/api"))
    announcing.start()
    await until(lambda: "set accessible_at" in caplog.text)
    await announcing.stop()
    assert board.pings == []


@pytest.mark.parametrize("failure", [asyncio.CancelledError(), RuntimeError("ada"), TimeoutError("the pool is empty")])
async def test_whatever_goes_wrong_the_service_is_announced_again(failure: BaseException) -> None:
    class Stumbling(Board):
        async def ping(self, name: str, location: str, **kwargs: object) -> None:
            await super().ping(name, location, **kwargs)
            if len(self.pings) == 1:
                raise failure

    board = Stumbling()
    announcing = announcer(board)
    announcing.start()
    await until(lambda: len(board.pings) >= 3)
    await announcing.stop()


async def test_a_service_that_cannot_say_who_it_is_is_announced_when_it_can(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[None] = []

    def presence() -> Presence:
        asked.append(None)
        if len(asked) <= 2:
            raise OSError("http://ada:secret@host is gone")
        return Presence(service="orders", instance="1", urls=(NEAR,))

    board = Board()
    announcing = Announcer([StrategyRunner(board, 1.0)], presence, interval=0.01, logger=LOGGER)
    announcing.start()
    await until(lambda: board.pings)
    await announcing.stop()
    assert "is gone" in caplog.text
    assert "secret" not in caplog.text
