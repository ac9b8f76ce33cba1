"""Whatever comes in: nothing escapes the dispatcher, and what comes out is JSON-RPC or nothing."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.methods import Method, MethodTable
from tests.hostile_json_rpc import CORPUS, check_answer, documents, variants


class Token(Exception):
    """What must not be seen outside."""


def explode(*args: object, **kwargs: object) -> None:
    raise Token("hunter2")


def make_dispatcher() -> Dispatcher:
    async def invoke(
        method: Method, args: Sequence[object], kwargs: Mapping[str, object], context: CallContext
    ) -> object:
        return method.function(*args, **kwargs)

    methods = [
        Method("echo", lambda *args, **kwargs: [list(args), kwargs]),
        Method("exact", lambda a, b=1: [a, b]),
        Method("explode", explode),
        Method("unspeakable", lambda *args, **kwargs: object()),
        Method("secret", lambda: "hunter2", private=True),
        Method("handler", lambda handler, **kwargs: handler, takes_handler=True),
    ]
    return Dispatcher(MethodTable(methods), invoke=invoke)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(autouse=True)
def _without_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "gemstone_events.rpc")


@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_each_known_attack_is_answered_with_valid_json_rpc(number: int, runner: asyncio.Runner) -> None:
    check_answer(runner.run(make_dispatcher().dispatch(CORPUS[number], CallContext("test"))))


DISPATCHER = make_dispatcher()


@settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(document=documents, seed=st.integers(0, 2**32))
def test_of_ten_thousand_inputs_none_escapes_and_what_goes_out_is_valid_json_rpc(
    document: object, seed: int, runner: asyncio.Runner
) -> None:
    async def send_all() -> None:
        for body in variants(document, seed):
            check_answer(await DISPATCHER.dispatch(body, CallContext("test")))

    runner.run(send_all())
