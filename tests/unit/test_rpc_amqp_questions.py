"""Asking running instances who they are."""

import asyncio

import pytest

from gemstone_events.rpc.presence import Presence
from gemstone_events.rpc.wire import WireCounts
from gemstone_events.rpc.wires.amqp.questions import Answers, Question, answer

ONE = Presence(service="orders", instance="one", since=1.0)
TWO = Presence(service="orders", instance="two", since=2.0)


def ask(question: Question, stopping: bool = False) -> bytes | None:
    return answer(question.encode(), lambda: ONE, stopping=stopping)


def test_an_instance_answers_what_concerns_it() -> None:
    assert ask(Question("orders")) == ONE.encode()
    assert ask(Question("ord*")) == ONE.encode()
    assert ask(Question("shipping")) is None


def test_an_instance_that_stops_answers_only_who_asks_for_such() -> None:
    assert ask(Question("orders"), stopping=True) is None
    assert ask(Question("orders", even_stopping=True), stopping=True) == ONE.encode()
    assert ask(Question("orders", even_stopping=True)) == ONE.encode()


@pytest.mark.parametrize(
    "raw", [None, b"", b"[]", b"{}", b'{"pattern":1}', b'{"pattern":"' + b"x" * 201 + b'"}', b'{"x":"' + b"y" * 5000]
)
def test_what_is_no_question_gets_no_answer(raw: bytes | None) -> None:
    assert answer(raw, lambda: ONE, stopping=False) is None


async def test_answers_are_collected_once_per_instance_and_in_order() -> None:
    counts = WireCounts()
    answers = Answers(counts)
    collecting = asyncio.create_task(answers.collect("id", Question("orders"), 0.05, all_of_them=True))
    await asyncio.sleep(0)
    for body in (TWO.encode(), ONE.encode(), TWO.encode(), Presence(service="other", instance="three").encode()):
        assert answers.take("id", body)
    assert answers.take("id", b"forged")
    assert answers.take("id", None)
    assert not answers.take("another", ONE.encode())
    assert await collecting == [ONE, TWO]
    assert answers.take("id", ONE.encode())
    assert counts.unexpected == 2


async def test_who_wants_only_one_answer_does_not_wait_for_more() -> None:
    answers = Answers(WireCounts())
    collecting = asyncio.create_task(answers.collect("id", Question("orders"), 60.0, all_of_them=False))
    await asyncio.sleep(0)
    answers.take("id", ONE.encode())
    assert await asyncio.wait_for(collecting, 5.0) == [ONE]
