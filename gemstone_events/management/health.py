"""Health checks: run at the same time, remembered for a while, and given up when they take too long."""

import asyncio
import enum
import functools
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from gemstone_events.cancellation import is_cancelled
from gemstone_events.daemon_thread import begin_in_thread
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.strict_json import JsonValue

MAX_SECONDS = 10.0
"""How long a check may take that sets no limit of its own."""

_CHECK = "__gemstone_health_check__"

_logger = logging.getLogger("gemstone_events.management")

Class = TypeVar("Class", bound=type)
Function = TypeVar("Function", bound=Callable[..., object])


class HealthStatus(enum.Enum):
    """How something is; of several, the worst counts."""

    OK = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: the check's name.
        status: how it is.
        details: for people; anybody can read them, so they hold no secrets.
        duration: seconds that the check took.
    """

    name: str
    status: HealthStatus = HealthStatus.OK
    details: str = ""
    duration: float = 0.0


@dataclass(frozen=True, slots=True)
class Health:
    """What all checks found."""

    results: Sequence[CheckResult] = ()

    @property
    def status(self) -> HealthStatus:
        """The worst of all, or OK where nothing is checked."""
        return max((result.status for result in self.results), key=lambda status: status.value, default=HealthStatus.OK)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it for people, as JSON."""
        checks: list[JsonValue] = [
            {"name": r.name, "status": r.status.name, "details": r.details, "duration": round(r.duration, 3)}
            for r in self.results
        ]
        return {"status": self.status.name, "checks": checks}


class CheckReport:
    """What a check fills in, if it takes a parameter ``result``: OK, unless it says otherwise."""

    def __init__(self) -> None:
        self.status = HealthStatus.OK
        self.details = ""

    def set_status(self, status: HealthStatus, details: str = "") -> None:
        """Say how it is, and why; anybody can read it."""
        self.status = HealthStatus(status)
        self.details = details


@dataclass(frozen=True, slots=True)
class _CheckOptions:
    name: str
    cache: float
    limit: float


def health_checks() -> Callable[[Class], Class]:
    """Say of a class that it holds health checks; one that holds none is refused.

    Those of components and implementations count by themselves, those of other objects after
    ``ServiceManager.add_health_checks``.

    Raises:
        ServiceConfigurationError: it holds none.
    """

    def declare(cls: Class) -> Class:
        if not any(hasattr(value, _CHECK) for value in vars(cls).values()):
            raise ServiceConfigurationError(f"{cls.__qualname__} has no method with @health_check()")
        return cls

    return declare


def health_check(name: str = "", cache: float = 0, fail_if_slower_than: float = 0) -> Callable[[Function], Function]:
    """Declare a method to be a health check. It may be ``def``, which runs in a thread, or ``async def``.

    It returns a ``HealthStatus``, or None for OK; or it takes a parameter ``result`` and fills it in (``CheckReport``).
    What it raises counts as ERROR.

    Args:
        name: the check's name; by default the function's.
        cache: seconds for which its result is good.
        fail_if_slower_than: seconds after which it counts as ERROR; 0 for the limit of all checks, ``MAX_SECONDS``.

    Raises:
        ServiceConfigurationError: a number is negative.
    """
    if callable(name):
        raise ServiceConfigurationError("@health_check needs parentheses: write @health_check()")
    if cache < 0 or fail_if_slower_than < 0:
        raise ServiceConfigurationError("cache and fail_if_slower_than of a health check are seconds, and not negative")

    def declare(function: Function) -> Function:
        if set(inspect.signature(function).parameters) - {"self", "result"}:
            raise ServiceConfigurationError(
                f"the health check {function.__qualname__} can take one parameter only: 'result'"
            )
        options = _CheckOptions(name or function.__name__, cache, fail_if_slower_than or MAX_SECONDS)
        setattr(function, _CHECK, options)
        return function

    return declare


class HealthCheckManager:
    """Runs the health checks of some objects. All methods belong to one event loop.

    Args:
        owners: objects whose classes hold checks.

    Raises:
        ServiceConfigurationError: two checks have one name.
    """

    def __init__(self, owners: Iterable[object] = ()) -> None:
        self._checks: dict[str, _Check] = {}
        for owner in owners:
            self.add(owner)

    def add(self, owner: object) -> None:
        """Add the checks of an object.

        Raises:
            ServiceConfigurationError: there is a check of that name already.
        """
        for function, options in _declared(owner):
            if options.name in self._checks:
                raise ServiceConfigurationError(f"two health checks are named {options.name!r}")
            self._checks[options.name] = _Check(function, options)

    async def check(self) -> Health:
        """Run all checks at the same time, in ``MAX_SECONDS`` or the longest limit that one sets; it raises nothing."""
        return Health(await asyncio.gather(*(check.result() for check in self._checks.values())))

    def cancel(self) -> None:
        """End the checks that run, as one that hangs; what runs in a thread goes on alone. Twice is harmless."""
        for check in self._checks.values():
            check.cancel()


class _Check:
    """One check. It runs once at a time, however many ask, and one that hangs is not started again."""

    def __init__(self, function: Callable[..., object], options: _CheckOptions) -> None:
        self._function = function
        self._options = options
        self._takes_report = "result" in inspect.signature(function).parameters
        self._running: asyncio.Task[CheckResult] | None = None
        self._last: tuple[float, CheckResult] | None = None

    async def result(self) -> CheckResult:
        if self._last is not None and time.monotonic() - self._last[0] < self._options.cache:
            return self._last[1]
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        begun = time.monotonic()
        done, _ = await asyncio.wait([self._running], timeout=self._options.limit)
        seconds = time.monotonic() - begun
        if not done:
            return self._failed(f"it takes longer than {self._options.limit:g} s", seconds)
        if self._running.cancelled():
            return self._failed("it was cancelled", seconds)
        return self._running.result()

    def cancel(self) -> None:
        if self._running is not None and not self._running.get_loop().is_closed():
            self._running.cancel()

    async def _run(self) -> CheckResult:
        report, begun = CheckReport(), time.monotonic()
        try:
            status = await self._call(report)
            if isinstance(status, HealthStatus):
                report.status = status
            elif status is not None:
                raise TypeError(f"a health check returns a HealthStatus or None, not {status!r}")
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            _logger.exception("the health check %r failed", self._options.name)
            report.set_status(HealthStatus.ERROR, f"it raised {type(error).__name__}")
        seconds = time.monotonic() - begun
        if seconds > self._options.limit:
            result = self._failed(f"it took longer than {self._options.limit:g} s", seconds)
        else:
            result = CheckResult(self._options.name, report.status, report.details, seconds)
        self._last = (time.monotonic(), result)
        return result

    async def _call(self, report: CheckReport) -> object:
        call = functools.partial(self._function, **({"result": report} if self._takes_report else {}))
        if inspect.iscoroutinefunction(self._function):
            return await cast(Awaitable[object], call())
        result = await begin_in_thread(call, "health check")
        return await result if isinstance(result, Awaitable) else result

    def _failed(self, why: str, seconds: float) -> CheckResult:
        return CheckResult(self._options.name, HealthStatus.ERROR, why, seconds)


def _declared(owner: object) -> Iterator[tuple[Callable[..., object], _CheckOptions]]:
    names: Mapping[str, None] = {name: None for base in reversed(type(owner).__mro__) for name in vars(base)}
    for name in names:
        options = getattr(inspect.getattr_static(type(owner), name), _CHECK, None)
        if isinstance(options, _CheckOptions):
            yield getattr(owner, name), options
