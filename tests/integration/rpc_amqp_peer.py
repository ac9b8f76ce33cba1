"""A process that serves calls through RabbitMQ, for the tests that kill such processes.

    python rpc_amqp_peer.py URL NAMESPACE SERVICE INSTANCE LEDGER

It answers a body with itself, after as many seconds as its member ``seconds`` says, and writes its member ``n`` to the
ledger before it begins. What another instance had before is answered with ``{"repeated": n}`` and not carried out.
"""

import asyncio
import os
import sys

from gemstone_events import strict_json
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ServerSettings
from gemstone_events.rpc.wires.amqp.server import open_url


class Echo:
    """Answers calls with themselves.

    Args:
        ledger: the path of the file that says what was carried out.
    """

    def __init__(self, ledger: str) -> None:
        self._file = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def answer(self, body: bytes, context: CallContext) -> bytes:
        """Carry out a call: write it down, wait, return it."""
        call = strict_json.loads(body)
        assert isinstance(call, dict)
        number, seconds = call["n"], call["seconds"]
        assert isinstance(number, int)
        assert isinstance(seconds, int | float)
        if context.is_repeated:
            return strict_json.dumps({"repeated": number})
        os.write(self._file, b"%d\n" % number)
        await asyncio.sleep(seconds)
        return body


async def main(url: str, namespace: str, service: str, instance: str, ledger: str) -> None:
    """Serve until killed."""
    settings = ServerSettings(
        service=service, namespace=namespace, presence=lambda: Presence(service=service, instance=instance)
    )
    server = open_url(url, settings)
    await server.start(Echo(ledger).answer)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
