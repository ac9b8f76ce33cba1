"""The shop as three processes, killed and cut off, loses nothing and does nothing twice: ``shop_chaos.py``, small."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[2] / "benchmarks" / "shop_chaos.py"
DEADLINE_SECONDS = 150.0


def chaos(*options: str) -> dict[str, object]:
    """Run the script and return its line of JSON; whatever it leaves running ends with it."""
    with subprocess.Popen(
        [sys.executable, str(CHAOS), "--timeout", "120", "--callers", "8", "--logs", *options],
        env={name: value for name, value in os.environ.items() if not name.startswith("GEMSTONE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it can end what it started
            output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, output + errors
    report = json.loads(output)
    assert isinstance(report, dict)
    return report


@pytest.mark.parametrize(
    ("transport", "orders", "restarts"), [("embedded", 200, 0), ("rabbitmq", 300, 1)], ids=["embedded", "rabbitmq"]
)
def test_kills_and_a_broker_restart_lose_no_order_and_bill_none_twice(
    transport: str, orders: int, restarts: int
) -> None:
    report = chaos("--transport", transport, "--orders", str(orders), "--kills", "2", "--restarts", str(restarts))

    assert (report["kills"], report["broker_restarts"]) == (2, restarts)
    assert report["accepted"] == report["invoiced"] == report["shipped"] == orders
    assert (report["lost"], report["duplicated"], report["dead_letters"]) == (0, 0, 0)
