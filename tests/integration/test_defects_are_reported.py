"""A defect that stops the handling of events is never silent: it is logged, and readiness says so."""

import asyncio
import logging

import pytest
from tornado.httpclient import AsyncHTTPClient

from gemstone_events import MicroService, event_handler
from gemstone_events.adapters import make_store

DEADLINE_SECONDS = 10.0


class Billing(MicroService):
    name = "billing"
    port = 0
    event_transports = ("memory://defects",)

    @event_handler("order.placed")
    async def charge(self, order: object) -> None:
        """Never called here."""


async def test_a_store_that_fails_in_an_unexpected_way_makes_the_service_unready(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store("memory:")

    async def find_settled(keys: object) -> set[object]:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(store, "find_settled", find_settled)
    async with Billing(event_store=store) as billing:
        address = f"http://127.0.0.1:{billing.bound_port}/health/ready"
        before = await AsyncHTTPClient().fetch(address, raise_error=False)
        await billing.emit_event("order.placed", {})
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (after := await AsyncHTTPClient().fetch(address, raise_error=False)).code == 200:
                await asyncio.sleep(0.01)

    assert before.code == 200
    assert after.code == 503
    assert b"billing:order.placed:Billing.charge" in after.body
    critical = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert any("billing:order.placed" in record.getMessage() and record.exc_info for record in critical)
