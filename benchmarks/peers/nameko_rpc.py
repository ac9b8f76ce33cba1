"""nameko's side of ``rpc_rabbitmq.py``: a service and its client, in processes of their own, because eventlet patches
the whole interpreter.
"""

import warnings

warnings.simplefilter("ignore")  # eventlet says that it is deprecated, each time

import eventlet

eventlet.monkey_patch()

import argparse
import json
import statistics
import time

from nameko.containers import ServiceContainer
from nameko.rpc import rpc
from nameko.standalone.rpc import ClusterRpcProxy

IN_FLIGHT = 64
TEXT = "x" * 250


class Benchmark:
    """Answers with what it is called with."""

    name = "nameko_benchmark"

    @rpc
    def echo(self, text: str) -> str:
        """Return the text."""
        return text


def serve(config: dict[str, object]) -> None:
    """Serve until killed."""
    container = ServiceContainer(Benchmark, config=config)
    container.start()
    print("ready", flush=True)
    container.wait()


def call(config: dict[str, object], calls: int, many: int) -> dict[str, float]:
    """Return the median latency of sequential calls in seconds, and the calls per second with 64 in flight."""
    with ClusterRpcProxy(config) as client:
        echo = client.nameko_benchmark.echo
        for _ in range(100):
            echo(TEXT)
        latencies = []
        for _ in range(calls):
            began = time.perf_counter()
            answer = echo(TEXT)
            latencies.append(time.perf_counter() - began)
            assert answer == TEXT
        began = time.perf_counter()
        pending = [echo.call_async(TEXT) for _ in range(IN_FLIGHT)]
        for number in range(many):
            assert pending[number % IN_FLIGHT].result() == TEXT
            pending[number % IN_FLIGHT] = echo.call_async(TEXT)
        rate = many / (time.perf_counter() - began)
        for reply in pending:
            reply.result()
    return {"median": statistics.median(latencies), "rate": rate}


def main() -> None:
    """Play one side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--serve")
    parser.add_argument("--call")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--many", type=int, default=6000)
    options = parser.parse_args()
    config = {"AMQP_URI": options.url, "max_workers": IN_FLIGHT}
    if options.serve:
        serve(config)
    else:
        print(json.dumps(call(config, options.calls, options.many)))


if __name__ == "__main__":
    main()
