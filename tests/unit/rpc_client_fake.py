"""A wire in memory, for tests of the clients: what it answers is up to the test."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import pytest

from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import ClientSettings, ClientWire, WireCounts, WireRequest

PATIENCE = 10.0

Answerer = Callable[[WireRequest], Awaitable[bytes | None]]


async def echo(request: WireRequest) -> bytes | None:
    """Answer each call with its own method and parameters, strictly by the specification."""
    value = json.loads(request.body)
    if not isinstance(value, list):
        return json.dumps(echo_of(value)).encode() if "id" in value else None
    answers = [echo_of(item) for item in value if "id" in item]
    return json.dumps(answers).encode() if answers else None


def echo_of(request: dict[str, object]) -> dict[str, object]:
    result = {"method": request["method"], "params": request.get("params")}
    return {"jsonrpc": "2.0", "result": result, "id": request["id"]}


class FakeWire(ClientWire):
    """Holds its users to one event loop, as real ones do."""

    def __init__(self, answer: Answerer, settings: ClientSettings) -> None:
        self.counts = WireCounts()
        self.settings = settings
        self.answer = answer
        self.requests: list[WireRequest] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_closed = False

    def address(self, url: str) -> str:
        return url

    async def call(self, url: str, request: WireRequest) -> bytes | None:
        self._check_loop()
        self.requests.append(request)
        return await self.answer(request)

    async def find(self, url: str, pattern: str, patience: float, *, all_of_them: bool = True) -> Sequence[Presence]:
        return []

    async def close(self) -> None:
        self._check_loop()
        self.is_closed = True

    def _check_loop(self) -> None:
        assert not self.is_closed or self.loop is None
        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop()


class FakeWires:
    """All wires that were made, by ``fake://``; ``answer`` is for the next ones and those there are."""

    def __init__(self) -> None:
        self.made: list[FakeWire] = []
        self._answer: Answerer = echo

    @property
    def answer(self) -> Answerer:
        return self._answer

    @answer.setter
    def answer(self, answer: Answerer) -> None:
        self._answer = answer
        for wire in self.made:
            wire.answer = answer

    @property
    def requests(self) -> list[WireRequest]:
        return [request for wire in self.made for request in wire.requests]

    def script(self, *steps: bytes | Exception | None) -> None:
        """Answer with these in turn: raise what is an exception. A ``%s`` stands for the id of the call."""
        left = list(steps)

        async def answer(request: WireRequest) -> bytes | None:
            step = left.pop(0)
            if isinstance(step, Exception):
                raise step
            if step is None or b"%s" not in step:
                return step
            return step.replace(b"%s", json.dumps(id_of(request)).encode())

        self.answer = answer

    def wire_for(self, url: str) -> FakeWire:
        """Return the one wire, for what needs no pool."""
        if not self.made:
            self.made.append(FakeWire(self.answer, ClientSettings()))
        return self.made[0]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be what every pool finds for a scheme."""

        def load(group: str, kind: str, url: str) -> Callable[[ClientSettings], FakeWire]:
            assert url.startswith("fake:")
            return self.make

        monkeypatch.setattr("gemstone_events.rpc.wire_pool.load", load)

    def make(self, settings: ClientSettings) -> FakeWire:
        wire = FakeWire(self.answer, settings)
        self.made.append(wire)
        return wire


def id_of(request: WireRequest) -> object:
    return json.loads(request.body)["id"]
