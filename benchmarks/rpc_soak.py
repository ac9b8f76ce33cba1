"""A million calls through RabbitMQ: do memory, connections, queues and pending tables stay flat?

One server process and one client process with 64 calls in flight, on one private node. After the first tenth of the
calls, and then after every tenth, it prints what both processes and the broker hold. It fails if anything has grown
between the second and the last line: more than 5 % and 4 MiB of memory, or any open file, task, future, connection or
queue.

    python benchmarks/rpc_soak.py [--calls 1000000]
"""

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from gemstone_events import MicroService, RemoteService, exposed_method
from gemstone_events.testing.servers import RabbitMQ

IN_FLIGHT = 64
PARTS = 10
NAME = "soak"
MEMORY_SHARE, MEMORY_BYTES = 1.05, 4 * 1024 * 1024


def held() -> dict[str, int]:
    """Return what this process holds; whoever waits for an answer waits for a future."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "files": len(os.listdir("/proc/self/fd")),
        "tasks": len(asyncio.all_tasks()),
        "futures": sum(isinstance(each, asyncio.Future) for each in gc.get_objects()),
    }


class Soak(MicroService):
    """Answers, and tells what it holds."""

    name = NAME
    port = None

    @exposed_method()
    async def echo(self, text: str) -> str:
        """Return the text."""
        return text

    @exposed_method()
    async def held(self) -> dict[str, int]:
        """Return what the process holds."""
        return held()


async def serve(url: str) -> None:
    """Serve until killed."""
    async with Soak(event_transports=[url], event_store="memory:") as service:
        print("ready", flush=True)
        await service.wait_stopped()


def broker_holds(node: RabbitMQ) -> dict[str, int]:
    """Return what the broker holds for the two processes."""
    return {
        "connections": len(node.ctl("list_connections", "name", "--quiet", "--no-table-headers").split("\n")),
        "queues": len(node.ctl("list_queues", "name", "--quiet", "--no-table-headers").split("\n")),
    }


async def soak(node: RabbitMQ, calls: int) -> list[Mapping[str, int]]:
    """Call, and return what was held after each part."""
    lines: list[Mapping[str, int]] = []
    async with RemoteService(f"{node.url}#{NAME}") as remote:
        for _ in range(PARTS):
            left = iter(range(calls // PARTS))

            async def caller(left: "iter[int]" = left) -> None:
                for number in left:
                    text = f"call {number}"
                    assert await remote.methods.echo(text) == text

            began = time.perf_counter()
            await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
            rate = calls // PARTS / (time.perf_counter() - began)
            theirs = await remote.methods.held()
            line = {
                **{f"client {what}": number for what, number in held().items()},
                **{f"server {what}": number for what, number in theirs.items()},
                **await asyncio.to_thread(broker_holds, node),
            }
            lines.append(line)
            print(f"{len(lines) * calls // PARTS:9,d} calls, {rate:6,.0f}/s:", shown(line), flush=True)
    return lines


def shown(line: Mapping[str, int]) -> str:
    """Return a line for people."""
    return ", ".join(
        f"{what} {number / 2**20:.1f} MiB" if "memory" in what else f"{what} {number}" for what, number in line.items()
    )


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Return what has grown."""
    return [
        what
        for what, number in after.items()
        if number
        > (max(before[what] * MEMORY_SHARE, before[what] + MEMORY_BYTES) if "memory" in what else before[what])
    ]


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    with RabbitMQ(schedulers=2) as node:
        server = subprocess.Popen([sys.executable, "-P", __file__, "--serve", node.url], stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n", "the server does not start"
            lines = asyncio.run(soak(node, options.calls))
        finally:
            server.kill()
            server.wait()
    if growth := grown(lines[1], lines[-1]):
        raise SystemExit(f"grown: {', '.join(growth)}")
    print("flat")


if __name__ == "__main__":
    main()
