"""Health over HTTP: is the process alive, and is it ready for work."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import TypeAlias

from tornado.web import RequestHandler

from gemstone_events import strict_json
from gemstone_events.strict_json import JsonValue

LIVE_PATH = "/health/live"
READY_PATH = "/health/ready"

_logger = logging.getLogger("gemstone_events.rpc.http")


@dataclass(frozen=True, slots=True)
class HealthReport:
    """An answer to a health check.

    Attributes:
        ok: answered with 200; otherwise with 503.
        details: what stands in the answer besides ``status``, for people: no secrets, anybody can read it.
    """

    ok: bool
    details: Mapping[str, JsonValue] = field(default_factory=dict)


HealthCheck: TypeAlias = "Callable[[], HealthReport | Awaitable[HealthReport]]"


def healthy() -> HealthReport:
    """Report that all is well: the default of both checks."""
    return HealthReport(ok=True)


@dataclass(frozen=True, slots=True)
class HealthChecks:
    """What answers ``GET /health/live`` and ``GET /health/ready``."""

    live: HealthCheck = healthy
    ready: HealthCheck = healthy


ALWAYS_HEALTHY = HealthChecks()


class HealthHandler(RequestHandler):
    """Answers 200 or 503 with ``{"status": "ok" | "unavailable", ...}``; a check that raises is a 503."""

    def initialize(self, check: HealthCheck) -> None:
        """Take the check to run."""
        self._check = check

    async def get(self) -> None:
        """Run the check and answer with its report."""
        try:
            report = self._check()
            if isawaitable(report):
                report = await report
            body = _encode(report)
        except Exception:
            _logger.exception("a health check failed")
            report = HealthReport(ok=False)
            body = _encode(report)
        self.set_status(200 if report.ok else 503)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(body)


def _encode(report: HealthReport) -> bytes:
    return strict_json.dumps({"status": "ok" if report.ok else "unavailable", **report.details})
