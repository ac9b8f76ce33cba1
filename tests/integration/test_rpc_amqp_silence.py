"""What users see on standard error and in their logs when the broker goes away: our words, not those of aiormq."""

import asyncio
import logging
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from gemstone_events.rpc.wires.amqp.server import AmqpServerWire
from gemstone_events.testing.proxy import FaultProxy
from tests.integration.rpc_amqp_harness import serving
from tests.waiting import until

PATIENCE = 30.0

SCRIPT = """
import gc, sys
from gemstone_events.rpc.call_errors import RemoteServiceError
from gemstone_events.rpc.client.remote_service import RemoteService

def call():
    try:
        remote.call_method("echo", timeout=5.0)
    except RemoteServiceError as error:
        return type(error).__name__
    return "answered"

remote = RemoteService(sys.argv[1], namespace=sys.argv[2])
print(call(), flush=True)
for line in sys.stdin:
    print(call(), flush=True)
del remote
gc.collect()
"""


async def start(url: str, namespace: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-X", "dev", "-W", "error", "-c", SCRIPT, f"{url}#orders", namespace),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[list[str], list[str]]:
    out, err = await asyncio.wait_for(process.communicate(b""), PATIENCE)
    noise = [line for line in err.decode().splitlines() if not line.startswith("Executing <")]
    return out.decode().split(), noise


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 5672


async def test_a_broker_that_is_away_is_told_by_the_exception_alone(namespace: str) -> None:
    async with FaultProxy("127.0.0.1", 1) as nothing_behind:
        await nothing_behind.refuse()
        process = await start(nothing_behind.through("amqp://127.0.0.1/"), namespace)
        assert await finish(process) == (["ServiceUnreachableError"], [])


async def test_a_connection_that_dies_is_told_by_the_exception_alone(rabbitmq_url: str, namespace: str) -> None:
    async with serving(rabbitmq_url, namespace), FaultProxy(*address(rabbitmq_url)) as proxy:
        process = await start(proxy.through(rabbitmq_url), namespace)
        assert process.stdout is not None
        assert process.stdin is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"InvalidAnswerError\n"  # an echo is none
        await proxy.refuse()
        proxy.reset_connections()
        process.stdin.write(b"again\n")
        await process.stdin.drain()
        outcome, noise = await finish(process)
        assert noise == []
        assert outcome in (["ServiceUnreachableError"], ["OutcomeUnknownError"])


async def test_a_service_tells_of_the_loss_in_its_own_words(
    rabbitmq_url: str, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with FaultProxy(*address(rabbitmq_url)) as proxy, serving(proxy.through(rabbitmq_url), namespace) as server:
        await lose(proxy, server)
    assert {record.name.partition(".")[0] for record in caplog.records if record.levelno >= logging.WARNING} == {
        "gemstone_events"
    }


async def lose(proxy: FaultProxy, server: AmqpServerWire) -> None:
    await proxy.refuse()
    proxy.reset_connections()
    await until(lambda: not server.status().serving, "the loss")
    await proxy.accept()
    await until(lambda: server.status().serving, "the return")
