"""The service that ``test_rpc_hostile_wires`` attacks, in a process of its own: URL of the broker, namespace, folder."""

import asyncio
import logging
import sys

from gemstone_events import MicroService, exposed_method


class Target(MicroService):
    """The methods of ``test_rpc_hostile_input``'s dispatcher."""

    name = "target"
    port = 0

    @exposed_method()
    async def echo(self, *args: object, **kwargs: object) -> object:
        """Return the arguments."""
        return [list(args), kwargs]

    @exposed_method()
    async def exact(self, a: object, b: object = 1) -> object:
        """Return both."""
        return [a, b]

    @exposed_method()
    async def explode(self, *args: object, **kwargs: object) -> None:
        """Fail."""
        raise RuntimeError("hunter2")

    @exposed_method()
    async def unspeakable(self, *args: object, **kwargs: object) -> object:
        """Return what is no JSON."""
        return object()

    @exposed_method(private=True)
    async def secret(self) -> str:
        """Return what nobody may see."""
        return "hunter2"

    @exposed_method(requires_handler_reference=True)
    async def handler(self, handler: object, **kwargs: object) -> object:
        """Tell whether there is one, in no JSON."""
        return {handler}


async def main(broker: str, namespace: str, folder: str) -> None:
    """Serve until killed."""
    logging.disable()
    transports = [broker, f"sqlite:///{folder}/bus.db"]
    async with Target(event_transports=transports, event_store="memory:", namespace=namespace) as target:
        print(target.url, flush=True)
        await target.wait_stopped()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
