"""Health checks: at the same time, remembered, and never waited for too long."""

import asyncio
import threading

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.management import (
    CheckReport,
    CheckResult,
    Health,
    HealthCheckManager,
    HealthStatus,
    LocalComponentRegistry,
    health_check,
    health_checks,
)


@health_checks()
class Checks:
    """Checks that wait for each other."""

    def __init__(self) -> None:
        self.calls = 0
        self.began = asyncio.Event()
        self.release = threading.Event()

    @health_check()
    async def waits(self) -> None:
        await self.began.wait()

    @health_check("named")
    async def begins(self, result: CheckReport) -> None:
        self.began.set()
        result.set_status(HealthStatus.WARNING, "half full")

    @health_check(cache=60)
    def counts(self) -> HealthStatus:
        self.calls += 1
        return HealthStatus.OK


class Failing:
    @health_check()
    def fails(self) -> None:
        raise OSError("password=secret")

    @health_check()
    async def lies(self) -> object:
        return "fine"

    @health_check()
    def leaves(self) -> None:
        raise SystemExit


class Hanging:
    def __init__(self) -> None:
        self.calls = 0
        self.release = threading.Event()

    @health_check(fail_if_slower_than=0.01)
    def hangs(self) -> None:
        self.calls += 1
        self.release.wait(30)


async def test_checks_run_at_the_same_time_and_the_worst_counts() -> None:
    health = await asyncio.wait_for(HealthCheckManager([Checks()]).check(), 30)

    assert {r.name: (r.status, r.details) for r in health.results} == {
        "waits": (HealthStatus.OK, ""),
        "named": (HealthStatus.WARNING, "half full"),
        "counts": (HealthStatus.OK, ""),
    }
    assert health.status is HealthStatus.WARNING


async def test_a_result_is_good_for_its_time() -> None:
    checks = Checks()
    manager = HealthCheckManager([checks])
    await manager.check()
    await manager.check()

    assert checks.calls == 1


async def test_a_check_that_raises_is_an_error_and_its_text_stays_here(caplog: pytest.LogCaptureFixture) -> None:
    health = await HealthCheckManager([Failing()]).check()

    assert {r.name: (r.status, r.details) for r in health.results} == {
        "fails": (HealthStatus.ERROR, "it raised OSError"),
        "lies": (HealthStatus.ERROR, "it raised TypeError"),
        "leaves": (HealthStatus.ERROR, "it raised RuntimeError"),
    }
    assert health.status is HealthStatus.ERROR
    assert "password=secret" in caplog.text


async def test_a_check_that_hangs_is_an_error_and_is_not_started_again() -> None:
    hanging = Hanging()
    manager = HealthCheckManager([hanging])
    try:
        first, second = await manager.check(), await manager.check()
    finally:
        hanging.release.set()

    assert [health.results[0].details for health in (first, second)] == ["it takes longer than 0.01 s"] * 2
    assert hanging.calls == 1


async def test_two_who_ask_at_once_share_one_run() -> None:
    hanging = Hanging()
    manager = HealthCheckManager([hanging])
    hanging.release.set()
    await asyncio.gather(manager.check(), manager.check())
    assert hanging.calls == 1


def test_health_is_json_for_people() -> None:
    assert Health([CheckResult("disk", HealthStatus.ERROR, "full", 0.12345)]).to_dict() == {
        "status": "ERROR",
        "checks": [{"name": "disk", "status": "ERROR", "details": "full", "duration": 0.123}],
    }
    assert Health().status is HealthStatus.OK


@pytest.mark.parametrize(
    ("status", "code"), [(HealthStatus.OK, 200), (HealthStatus.WARNING, 429), (HealthStatus.ERROR, 500)]
)
def test_a_health_has_a_status_of_http(status: HealthStatus, code: int) -> None:
    assert LocalComponentRegistry().map_health(status) == code


def test_what_cannot_be_a_check_is_refused() -> None:
    with pytest.raises(ServiceConfigurationError, match="two health checks are named 'waits'"):
        HealthCheckManager([Checks(), Checks()])
    with pytest.raises(ServiceConfigurationError, match="has no method with"):
        health_checks()(str)
    with pytest.raises(ServiceConfigurationError, match="not negative"):
        health_check(cache=-1)
    with pytest.raises(ServiceConfigurationError, match="needs parentheses"):
        health_check(print)  # type: ignore[arg-type]
    with pytest.raises(ServiceConfigurationError, match="one parameter only: 'result'"):

        @health_check()
        def check(self: object, other: int) -> None: ...


async def test_a_check_that_is_cancelled_within_is_an_error_and_spoils_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Cancelled:
        @health_check()
        async def awaited(self) -> None:
            raise asyncio.CancelledError

        @health_check()
        def blocking(self) -> None:
            raise asyncio.CancelledError

        @health_check()
        def fine(self) -> None: ...

    health = await asyncio.wait_for(HealthCheckManager([Cancelled()]).check(), 5)
    assert [(each.name, each.status, each.details) for each in health.results] == [
        ("awaited", HealthStatus.ERROR, "it raised CancelledError"),
        ("blocking", HealthStatus.ERROR, "it raised RuntimeError"),
        ("fine", HealthStatus.OK, ""),
    ]
