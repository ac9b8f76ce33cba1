"""A service in a process of its own on an embedded bus, for the tests that kill, stop and fork such processes.

    python rpc_embedded_peer.py serve URL LEDGER
    python rpc_embedded_peer.py fork URL LEDGER

The ledger holds a line for every call, written when it begins.
"""

import asyncio
import os
import signal
import sys

from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings, ServerSettings, WireRequest
from gemstone_events.rpc.wires.embedded.client import EmbeddedClientWire
from gemstone_events.rpc.wires.embedded.server import open_url


def say(word: str) -> None:
    """Tell the test how far this process is."""
    os.write(sys.stdout.fileno(), f"{word}\n".encode())  # at once, for two processes write


def fork_worker(ledger: int) -> int:
    """Return the process of a worker that knows nothing of the sockets that it has inherited."""
    child = os.fork()
    if child == 0:
        os.dup2(ledger, sys.stdout.fileno())  # who reads its parent's output is not to wait for it
        signal.alarm(60)  # should the test not come to ending it
        signal.pause()
    return child


async def serve(url: str, path: str) -> None:
    """Answer each call with what came; hold those that say so until a line comes on standard input."""
    ledger = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    let_go, stopped = asyncio.Event(), asyncio.Event()

    async def answer(body: bytes, context: CallContext) -> bytes | None:
        os.write(ledger, body[:100] + b"\n")
        if body.startswith(b"hold"):
            await let_go.wait()
        return str(fork_worker(ledger)).encode() if body == b"fork" else body

    def hear() -> None:
        if sys.stdin.readline():
            let_go.set()
        else:
            stopped.set()

    me = Presence(service="orders", instance=str(os.getpid()))
    server = open_url(url, ServerSettings(service="orders", presence=lambda: me))
    await server.start(answer)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), hear)
    say("ready")
    await stopped.wait()
    await server.stop(5.0)
    await server.close()


async def fork(bus: str, _: str) -> None:
    """Call from a parent and its child with one client."""
    client = EmbeddedClientWire(ClientSettings())
    url = f"{bus}#orders"
    await client.call(url, WireRequest(b"before", 10.0))
    child = os.fork()
    if child == 0:
        # The parent's event loop cannot go on in two processes: the child has one of its own, as fork asks for.
        asyncio.events._set_running_loop(None)
        say(str(asyncio.new_event_loop().run_until_complete(client.call(url, WireRequest(b"child", 10.0)))))
        os._exit(0)
    await asyncio.to_thread(os.waitpid, child, 0)
    say(str(await client.call(url, WireRequest(b"parent", 10.0))))
    await client.close()


if __name__ == "__main__":
    asyncio.run({"serve": serve, "fork": fork}[sys.argv[1]](*sys.argv[2:]))
