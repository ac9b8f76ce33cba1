"""A service in a process of its own on an embedded bus, for the tests that kill, stop and fork such processes.

    python rpc_embedded_peer.py serve URL LEDGER [--fork]
    python rpc_embedded_peer.py fork URL

The ledger holds a line for every call, written when it begins.
"""

import argparse
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


async def serve(options: argparse.Namespace) -> None:
    """Answer each call with what came and who answers; hold those that say so until a line comes on standard input."""
    ledger = os.open(options.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    let_go, stopped = asyncio.Event(), asyncio.Event()

    async def answer(body: bytes, context: CallContext) -> bytes | None:
        os.write(ledger, body[:100] + b"\n")
        if body.startswith(b"hold"):
            await let_go.wait()
        return body

    def hear() -> None:
        if sys.stdin.readline():
            let_go.set()
        else:
            stopped.set()

    me = Presence(service="orders", instance=str(os.getpid()))
    server = open_url(options.url, ServerSettings(service="orders", presence=lambda: me))
    await server.start(answer)
    if options.fork and os.fork() == 0:
        say(str(os.getpid()))
        os.dup2(ledger, sys.stdout.fileno())  # who reads its parent's output is not to wait for it
        signal.alarm(60)  # should the test not come to ending it
        signal.pause()  # as a worker does that knows nothing of the socket
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), hear)
    say("ready")
    await stopped.wait()
    await server.stop(5.0)
    await server.close()


async def fork(options: argparse.Namespace) -> None:
    """Call from a parent and its child with one client."""
    client = EmbeddedClientWire(ClientSettings())
    url = f"{options.url}#orders"
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


def main() -> None:
    """Read the command line and play the role."""
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(required=True)
    server = roles.add_parser("serve")
    server.set_defaults(role=serve)
    server.add_argument("url")
    server.add_argument("ledger")
    server.add_argument("--fork", action="store_true")
    forker = roles.add_parser("fork")
    forker.set_defaults(role=fork)
    forker.add_argument("url")
    options = parser.parse_args()
    asyncio.run(options.role(options))


if __name__ == "__main__":
    main()
