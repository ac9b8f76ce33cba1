"""A plugin adds something to any service without touching its class: here, a log of the calls."""

import asyncio
import json

from tornado.httpclient import AsyncHTTPClient

from gemstone_events import BasePlugin, MicroService, exposed_method
from gemstone_events.plugins import MethodRequest


class CallLog(BasePlugin):
    name = "call_log"  # what get_plugin finds it by

    def on_service_start(self) -> None:
        print("plugin: the service starts")

    def on_method_call(self, jsonrpc_request: MethodRequest) -> None:
        # It sees the calls that may be made. To refuse one, raise an RpcError.
        print(f"plugin: {jsonrpc_request.method} is called with {jsonrpc_request.params}")

    def on_internal_error(self, exc_instance: BaseException) -> None:
        print(f"plugin: a method failed: {exc_instance!r}")

    def on_service_stop(self) -> None:
        print("plugin: the service stops")


class Calculator(MicroService):
    name = "calculator"
    port = 0  # any free port
    event_transports = ()  # no events
    event_store = "memory:"

    @exposed_method()
    def divide(self, dividend: float, divisor: float) -> float:
        return dividend / divisor


async def call(url: str, method: str, *params: object) -> None:
    """Call a method as any JSON-RPC client does."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    headers = {"Content-Type": "application/json"}
    response = await AsyncHTTPClient().fetch(url, method="POST", headers=headers, body=body)
    print(f"answer: {response.body.decode()}")


async def main() -> None:
    async with Calculator(plugins=[CallLog()]) as calculator:
        assert calculator.url is not None
        await call(calculator.url, "divide", 6, 4)
        # What went wrong is for the log and the plugins; callers are told that something did, and no more.
        await call(calculator.url, "divide", 6, 0)


asyncio.run(main())
