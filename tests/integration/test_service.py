"""Whole services, on the memory parts and on the embedded ones alike."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar

import pytest
from marshmallow import Schema, fields, post_load
from tornado.httpclient import AsyncHTTPClient

from gemstone_events import (
    EVERY_INSTANCE,
    BasePlugin,
    Container,
    Event,
    MicroService,
    RetryPolicy,
    event_handler,
    exposed_method,
)
from gemstone_events.errors import (
    InvalidEventError,
    InvalidNameError,
    PluginDoesNotExistError,
    SchemaError,
    ServiceConfigurationError,
    ServiceNotRunningError,
    StatementError,
    UnitOfWorkError,
)
from gemstone_events.event import new_id

CURRENT: ContextVar[object] = ContextVar("current")
QUICKLY = RetryPolicy(attempts=3, first_delay=0.01, max_delay=0.02)


async def until(condition: Callable[[], object], deadline: float = 10.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.005)


@pytest.fixture(params=["memory", "embedded"])
def settings(request, tmp_path):
    """Return what services of one test share, and a store for each."""
    if request.param == "memory":
        address = f"memory://{new_id()}"
        return lambda: {"port": None, "event_transports": [address], "event_store": "memory:"}
    return lambda: {"port": None, "data_dir": tmp_path}


class Source(MicroService):
    name = "source"


async def test_an_event_reaches_the_handlers_of_another_service(settings):
    class Sink(MicroService):
        name = "sink"
        got: list[tuple[object, Event]]

        @event_handler("order.placed")
        async def take(self, body, event: Event):
            self.got.append((body, event))

    sink = Sink(**settings())
    sink.got = []
    async with sink, Source(**settings()) as source:
        emitted = await source.emit_event("order.placed", {"id": 1, "who": "Ünal"})
        await until(lambda: sink.got)
    ((body, event),) = sink.got
    assert body == {"id": 1, "who": "Ünal"}
    assert event == emitted
    assert event.source == "source"


async def test_what_a_handler_emits_tells_its_story(settings):
    class Chain(MicroService):
        name = "chain"
        ends: list[Event]

        @event_handler("a")
        def first(self, body):
            self.emit_event("b", body)

        @event_handler("b")
        async def second(self, body, event: Event):
            self.ends.append(event)

    chain = Chain(**settings())
    chain.ends = []
    async with chain:
        start = await chain.emit_event("a", 1)
        await until(lambda: chain.ends)
    (end,) = chain.ends
    assert end.causationid == start.id
    assert end.correlationid == start.id


async def test_a_handler_that_fails_emits_nothing_and_is_tried_again(settings):
    class Shaky(MicroService):
        name = "shaky"

        @event_handler("a", retry=QUICKLY)
        def handle(self, body):
            self.attempts.append(threading.current_thread())
            self.emit_event("b", len(self.attempts))
            if len(self.attempts) < 3:
                raise OSError("not yet")

        @event_handler("b")
        def collect(self, body):
            self.got.append(body)

    shaky = Shaky(**settings())
    shaky.attempts, shaky.got = [], []
    async with shaky:
        await shaky.emit_event("a", None)
        await until(lambda: shaky.got)
        assert await dead_letters(shaky) == []
    assert shaky.got == [3]
    assert len(shaky.attempts) == 3
    assert threading.current_thread() not in shaky.attempts


async def dead_letters(service):
    return await service.store.list_dead_letters()


async def test_an_event_that_keeps_failing_becomes_a_dead_letter_and_can_be_redriven(settings):
    class Broken(MicroService):
        name = "broken"
        mended = False

        @event_handler("a", retry=QUICKLY)
        async def handle(self, body):
            if not self.mended:
                raise ValueError("cannot do this")
            self.got.append(body)

    broken = Broken(**settings())
    broken.got = []
    async with broken:
        await broken.emit_event("a", {"n": 1})
        store = broken.store
        while not (letters := await store.list_dead_letters()):
            await asyncio.sleep(0.01)
        (letter,) = letters
        assert (letter.reason, letter.attempts, letter.message.type) == ("exhausted", 3, "a")
        assert "ValueError: cannot do this" in letter.error
        broken.mended = True
        assert await store.redrive([letter.id]) == 1
        await until(lambda: broken.got)
        assert await store.list_dead_letters() == []
    assert broken.got == [{"n": 1}]


class UnshowableError(Exception):
    """What cannot even be shown."""

    @property
    def __notes__(self) -> list[str]:
        raise RuntimeError("no notes")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (PermissionError("never"), "fatal"),
        (SystemExit(3), "fatal"),
        (RecursionError(), "exhausted"),
        (UnshowableError(), "exhausted"),
    ],
)
async def test_poison_ends_in_the_dead_letters_and_the_next_event_is_handled(settings, failure, reason):
    class Victim(MicroService):
        name = "victim"

        @event_handler("a", retry=RetryPolicy(attempts=2, first_delay=0.01, fatal=(PermissionError,)))
        async def handle(self, body):
            if body == "poison":
                raise failure
            self.got.append(body)

    victim = Victim(**settings())
    victim.got = []
    async with victim:
        await victim.emit_event("a", "poison")
        await victim.emit_event("a", "good")
        await until(lambda: victim.got)
        while not (letters := await dead_letters(victim)):
            await asyncio.sleep(0.01)
    assert [letter.reason for letter in letters] == [reason]


async def test_a_handler_that_hangs_is_ended_by_its_timeout(settings):
    class Slow(MicroService):
        name = "slow"

        @event_handler("a", timeout=0.05, retry=RetryPolicy(attempts=1))
        async def handle(self, body):
            await asyncio.Event().wait()

    async with Slow(**settings()) as slow:
        await slow.emit_event("a", None)
        while not (letters := await dead_letters(slow)):
            await asyncio.sleep(0.01)
    assert "0.05 seconds" in letters[0].error


async def test_what_runs_on_after_its_timeout_cannot_emit_any_more(settings):
    class Slow(MicroService):
        name = "slow"
        late: Exception | None = None

        @event_handler("a", timeout=0.05, retry=RetryPolicy(attempts=1))
        def handle(self, body):
            self.gate.wait(10)
            try:
                self.emit_event("b", None)
            except UnitOfWorkError as error:
                self.late = error

    slow = Slow(**settings())
    slow.gate = threading.Event()
    async with slow:
        await slow.emit_event("a", None)
        while not await dead_letters(slow):
            await asyncio.sleep(0.01)
        slow.gate.set()
        await until(lambda: slow.late)
    assert "abandoned" in str(slow.late)


async def test_a_handler_that_repeats_an_event_id_fails_like_any_other(settings):
    class Repeating(MicroService):
        name = "repeating"

        @event_handler("a", retry=RetryPolicy(attempts=1))
        async def handle(self, body):
            self.emit_event("b", body, event_id="always-the-same")

    async with Repeating(**settings()) as repeating:
        await repeating.emit_event("a", 1)
        await repeating.emit_event("a", 2)
        while not (letters := await dead_letters(repeating)):
            await asyncio.sleep(0.01)
    assert [letter.reason for letter in letters] == ["exhausted"]
    assert "in the log already" in letters[0].error


async def test_handlers_of_one_event_are_tracked_apart(settings):
    class Pair(MicroService):
        name = "pair"

        @event_handler("a", retry=QUICKLY)
        async def good(self, body):
            self.good_runs += 1

        @event_handler("a", retry=QUICKLY)
        async def bad(self, body):
            self.bad_runs += 1
            if self.bad_runs < 3:
                raise OSError

    pair = Pair(**settings())
    pair.good_runs = pair.bad_runs = 0
    async with pair:
        await pair.emit_event("a", None)
        await until(lambda: pair.bad_runs == 3)
    assert pair.good_runs == 1


async def test_a_body_that_fails_its_schema_is_a_dead_letter_at_once_and_a_good_one_is_loaded(settings):
    class Order(Schema):
        id = fields.Int(required=True)

    class Strict(MicroService):
        name = "strict"

        @event_handler("order", schema=Order)
        async def handle(self, body):
            self.got.append(body)

    strict = Strict(**settings())
    strict.got = []
    async with strict:
        await strict.emit_event("order", {"id": "seven"})
        await strict.emit_event("order", {"id": "7"})
        await until(lambda: strict.got)
        while not (letters := await dead_letters(strict)):
            await asyncio.sleep(0.01)
    assert strict.got == [{"id": 7}]
    assert [(letter.reason, letter.attempts) for letter in letters] == [("schema", 1)]


async def test_a_schema_of_the_service_keeps_bad_events_from_being_emitted(settings):
    class Order(Schema):
        id = fields.Int(required=True)

    async with Source(event_schemas={"order.*": Order}, **settings()) as source:
        with pytest.raises(SchemaError) as refused:
            source.emit_event("order.placed", {"id": "x"})
        assert refused.value.messages == {"id": ["Not a valid integer."]}
        with pytest.raises(SchemaError):
            source.emit_event("order.placed", "no object at all")
        await source.emit_event("order.placed", {"id": 3})
        await source.emit_event("unrelated", "anything")


async def test_every_group_gets_a_copy_and_instances_of_a_group_compete(settings):
    class Counter(MicroService):
        name = "counter"

        @event_handler("a")
        async def handle(self, body):
            self.got.append(body)

    class Other(Counter):
        name = "other"

    first, second, other = Counter(**settings()), Counter(**settings()), Other(**settings())
    for service in (first, second, other):
        service.got = []
    async with first, second, other:
        for number in range(50):
            await other.emit_event("a", number)
        await until(lambda: len(first.got) + len(second.got) == 50 and len(other.got) == 50)
    assert sorted(first.got + second.got) == list(range(50))
    assert sorted(other.got) == list(range(50))


async def test_every_instance_gets_its_own_copy_if_asked_for(settings):
    class Cache(MicroService):
        name = "cache"

        @event_handler("prices.changed", group=EVERY_INSTANCE)
        async def forget(self, body):
            self.got.append(body)

    caches = [Cache(**settings()) for _ in range(2)]
    for cache in caches:
        cache.got = []
    async with caches[0], caches[1]:
        await caches[0].emit_event("prices.changed", 1)
        await until(lambda: all(cache.got == [1] for cache in caches))


async def test_work_waits_for_its_first_consumer_and_is_done_once(settings):
    class Printer(MicroService):
        name = "printer"

        @event_handler("invoice.print")
        async def print_it(self, body):
            self.got.append(body)

    class OtherPrinter(Printer):
        name = "other_printer"

    printers = [Printer(**settings()), OtherPrinter(**settings())]
    for printer in printers:
        printer.got = []
    async with Source(**settings()) as source:
        for number in range(20):
            await source.emit_event("invoice.print", number, broadcast=False)
        async with printers[0], printers[1]:
            await until(lambda: len(printers[0].got) + len(printers[1].got) == 20)
    assert sorted(printers[0].got + printers[1].got) == list(range(20))


async def test_patterns_match_and_containers_handle(settings):
    class Part(Container):
        def __init__(self):
            self.got = []

        @event_handler("order.#")
        def everything(self, body, event: Event):
            self.got.append(event.type)
            if event.type == "order.placed":
                self.emit_event("order.checked", self.microservice.service_name)

    part = Part()
    async with Source(modules=[part], **settings()) as source:
        await source.emit_event("order.placed", 1)
        await source.emit_event("unrelated", 1)
        await until(lambda: len(part.got) == 2)
    assert part.got == ["order.placed", "order.checked"]


async def test_the_authors_sql_commits_with_the_mark_and_the_events(settings):
    class Ledger(MicroService):
        name = "ledger"

        def on_service_start(self):
            self.unit_of_work.execute("create table entries (n integer check (n < 5))")

        @event_handler("entry", retry=RetryPolicy(attempts=1))
        async def book(self, body):
            self.unit_of_work.execute("insert into entries values (?)", (body,))
            self.emit_event("booked", body)

        @event_handler("booked")
        async def booked(self, body):
            self.got.append(body)

        @exposed_method()
        async def total(self):
            ((total,),) = await self.unit_of_work.query("select sum(n) from entries")
            return total

    ledger = Ledger(**settings())
    ledger.got = []
    async with ledger:
        for number in (1, 7, 3):
            await ledger.emit_event("entry", number)
        await until(lambda: sorted(ledger.got) == [1, 3])
        while not (letters := await dead_letters(ledger)):
            await asyncio.sleep(0.01)
        assert "StatementError" in letters[0].error
        assert await ledger._units.run(ledger.total, True) == 4


async def test_a_method_that_fails_keeps_nothing(settings):
    class Shop(MicroService):
        name = "shop"

        def place(self, fail):
            self.emit_event("order.placed", 1)
            if fail:
                raise ValueError

        @event_handler("order.placed")
        async def count(self, body):
            self.got.append(body)

    shop = Shop(**settings())
    shop.got = []
    async with shop:
        with pytest.raises(ValueError):  # noqa: PT011
            await shop._units.run(shop.place, False, (True,))
        await shop._units.run(shop.place, False, (False,))
        await until(lambda: shop.got)
        await shop.emit_event("order.placed", 2)
        await until(lambda: len(shop.got) == 2)
    assert shop.got == [1, 2]


async def test_a_method_whose_answer_is_no_json_keeps_nothing(settings):
    class Shop(MicroService):
        name = "shop"

        @exposed_method()
        async def place(self):
            self.emit_event("order.placed", 1)
            return {1, 2}

    async with Shop(**{**settings(), "port": 0}) as shop:
        body = '{"jsonrpc": "2.0", "id": 1, "method": "place"}'
        headers = {"Content-Type": "application/json"}
        response = await AsyncHTTPClient().fetch(shop.url, method="POST", headers=headers, body=body)
        assert json.loads(response.body)["error"]["code"] == -32603
        assert await shop.store.read_emitted(0, 10) == []


async def test_a_query_from_a_def_says_that_it_has_to_be_awaited(settings):
    class Reader(MicroService):
        name = "reader"

        def read(self):
            self.unit_of_work.query("select 1")

    async with Reader(**settings()) as reader:
        with pytest.raises(UnitOfWorkError, match="async def"):
            await reader._units.run(reader.read, False)


async def test_a_private_method_that_nobody_can_call_is_warned_of(settings, caplog):
    class Secretive(MicroService):
        name = "secretive"

        @exposed_method(private=True)
        def secret(self):
            """Tell."""

    async with Secretive(**settings()):
        pass
    assert "nobody can call secret" in caplog.text


async def test_a_plain_thread_blocks_until_its_event_is_stored(settings):
    async with Source(**settings()) as source:
        emission = await asyncio.to_thread(source.emit_event, "from.thread", 1)
        store = source.store
        assert [entry.message.id for entry in await store.read_emitted(0, 10)] == [emission.event.id]


async def test_a_body_may_change_after_it_was_emitted(settings):
    async with Source(**settings()) as source:
        body = {"n": 1}
        emission = source.emit_event("a", body)
        body["n"] = 2
        await emission
        (entry,) = await source.store.read_emitted(0, 10)
    assert entry.message.body == b'{"n":1}'


@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("a", float("nan"), InvalidEventError),
        ("a", object(), InvalidEventError),
        ("a", "x" * 2_000_000, InvalidEventError),
        ("a.*", 1, InvalidNameError),
        ("", 1, InvalidNameError),
    ],
)
async def test_an_event_that_cannot_travel_is_refused_where_it_is_emitted(settings, name, body, error):
    async with Source(**settings()) as source:
        with pytest.raises(error):
            source.emit_event(name, body)


async def test_nothing_can_be_emitted_before_the_start_or_after_the_stop(settings):
    source = Source(**settings())
    with pytest.raises(ServiceNotRunningError, match="start"):
        source.emit_event("a", 1)
    async with source:
        pass
    with pytest.raises(ServiceNotRunningError):
        source.emit_event("a", 1)


async def test_a_service_can_be_started_again(settings):
    class Sink(MicroService):
        name = "sink"

        @event_handler("a")
        async def take(self, body):
            self.got.append(body)

    sink = Sink(**settings())
    sink.got = []
    for number in range(2):
        async with sink:
            await sink.emit_event("a", number)
            await until(lambda number=number: number in sink.got)
    assert sink.got == [0, 1]


async def test_stopping_finishes_what_runs(settings):
    class Slow(MicroService):
        name = "slow"

        @event_handler("a")
        async def handle(self, body):
            self.begun.set()
            await asyncio.sleep(0.2)
            self.got.append(body)

    slow = Slow(**settings())
    slow.got, slow.begun = [], asyncio.Event()
    async with slow:
        await slow.emit_event("a", 1)
        await asyncio.wait_for(slow.begun.wait(), 10)
    assert slow.got == [1]


async def test_a_def_handler_that_waits_for_a_thread_does_not_time_out(settings):
    class Crowded(MicroService):
        name = "crowded"
        max_parallel_blocking_tasks = 1

        @event_handler("a", timeout=0.5, retry=RetryPolicy(attempts=1))
        def handle(self, body):
            time.sleep(0.1)
            self.got.append(body)

    crowded = Crowded(**settings())
    crowded.got = []
    async with crowded:
        for number in range(10):
            await crowded.emit_event("a", number)
        await until(lambda: len(crowded.got) == 10)
        assert await dead_letters(crowded) == []


async def test_a_generator_is_refused_as_a_handler(settings):
    class Lazy(MicroService):
        name = "lazy"

        @event_handler("a")
        async def handle(self, body):
            yield body

    with pytest.raises(ServiceConfigurationError, match=r"Lazy\.handle is a generator"):
        async with Lazy(**settings()):
            pass


async def test_what_a_handler_sets_in_its_context_is_gone_for_the_next(settings):
    class Tenant(MicroService):
        name = "tenant"

        @event_handler("a", concurrency=1)
        async def handle(self, body):
            self.got.append(CURRENT.get(None))
            CURRENT.set(body)

    tenant = Tenant(**settings())
    tenant.got = []
    async with tenant:
        for number in range(3):
            await tenant.emit_event("a", number)
        await until(lambda: len(tenant.got) == 3)
    assert tenant.got == [None, None, None]


async def test_what_the_start_emits_is_handled_by_the_service_itself(settings):
    class Early(MicroService):
        name = "early"

        def on_service_start(self):
            self.emit_event("a", 1)

        @event_handler("a")
        async def handle(self, body):
            self.got.append(body)

    early = Early(**settings())
    early.got = []
    async with early:
        await until(lambda: early.got == [1])


async def test_a_schema_hook_that_raises_is_a_failure_of_the_handler(settings):
    class Hooked(Schema):
        @post_load
        def explode(self, data, **options):
            raise KeyError("missing")

    class Victim(MicroService):
        name = "victim"

        @event_handler("a", schema=Hooked, retry=QUICKLY)
        async def handle(self, body):
            """Never comes to it."""

    async with Victim(**settings()) as victim:
        await victim.emit_event("a", {})
        while not (letters := await dead_letters(victim)):
            await asyncio.sleep(0.01)
    assert (letters[0].reason, letters[0].attempts) == ("exhausted", 3)


async def test_a_large_body_is_handled_where_the_service_allows_it(settings):
    class Large(MicroService):
        name = "large"
        max_body = 3_000_000

        @event_handler("a")
        async def handle(self, body):
            self.got.append(len(body))

    large = Large(**settings())
    large.got = []
    async with large:
        await large.emit_event("a", "x" * 2_000_000)
        await until(lambda: large.got == [2_000_000])


async def test_periodic_tasks_run_in_units_of_work_and_survive_failures(settings):
    class Clock(MicroService):
        name = "clock"
        ticks = 0

        def tick(self):
            self.ticks += 1
            self.emit_event("tick", self.ticks)
            if self.ticks == 1:
                raise OSError("the first tick fails")

        @event_handler("tick")
        async def heard(self, body):
            self.got.append(body)

    clock = Clock(**settings())
    clock.periodic_tasks = [(clock.tick, 0.01)]
    clock.got = []
    async with clock:
        await until(lambda: len(clock.got) >= 2)
    assert clock.got[0] == 2


async def test_hooks_and_plugins_are_called_in_order(settings):
    calls = []

    class Plugin(BasePlugin):
        name = "recorder"

        def on_service_start(self):
            calls.append("plugin start")

        def on_service_stop(self):
            calls.append("plugin stop")

    class Hooked(MicroService):
        name = "hooked"

        async def on_service_start(self):
            self.emit_event("started", None)
            calls.append("start")

        def on_service_stop(self):
            calls.append("stop")
            self.emit_event("stopped", None)

    hooked = Hooked(plugins=[Plugin()], **settings())
    async with hooked:
        assert hooked.get_plugin("recorder").microservice is hooked
        with pytest.raises(PluginDoesNotExistError):
            hooked.get_plugin("other")
    assert calls == ["plugin start", "start", "stop", "plugin stop"]


async def test_a_failure_at_start_up_lets_go_of_everything(settings):
    class Failing(MicroService):
        name = "failing"

        def on_service_start(self):
            raise OSError("no")

    failing = Failing(**settings())
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            await failing.__aenter__()
    with pytest.raises(ServiceNotRunningError):
        failing.emit_event("a", 1)


async def test_a_service_cannot_be_started_twice_at_once(settings):
    async with Source(**settings()) as source:
        with pytest.raises(ServiceConfigurationError, match="runs already"):
            await source.__aenter__()


async def test_statements_of_a_query_cannot_write(settings):
    async with Source(**settings()) as source:

        async def sneaky():
            await source.unit_of_work.query("create table t (n)")

        with pytest.raises(StatementError):
            await source._units.run(sneaky, True)


async def test_a_service_emitting_inside_the_unit_of_another_keeps_its_own_log(settings):
    async with Source(**settings()) as source, Source(**{**settings(), "name": "second"}) as second:

        async def both():
            source.emit_event("mine", 1)
            await second.emit_event("theirs", 2)

        await source._units.run(both, True)
        logs = [await s.store.read_emitted(0, 10) for s in (source, second)]
    assert [[entry.message.type for entry in log] for log in logs] == [["mine"], ["theirs"]]


async def test_a_retry_does_not_wait_for_the_end_of_a_backlog(settings):
    class Sink(MicroService):
        name = "sink"
        attempts = 0

        @event_handler("a", concurrency=2, retry=RetryPolicy(first_delay=0.001))
        async def take(self, body):
            if body == "the one":
                self.attempts += 1
                if self.attempts == 1:
                    raise ValueError("not yet")
            elif self.attempts < 2:  # the backlog grows as fast as it is handled
                self.emit_event("a", "another")

    async with Sink(**settings()) as sink:
        await sink.emit_event("a", "the one")
        await asyncio.gather(*(sink.emit_event("a", "another") for _ in range(50)))
        await until(lambda: sink.attempts == 2)


async def test_retries_without_end_do_not_hold_up_what_is_new(tmp_path):
    class Sink(MicroService):
        name = "sink"
        failures = 0
        is_handled = False

        @event_handler("a", concurrency=1, retry=RetryPolicy(attempts=10**6, first_delay=0.0))
        async def take(self, body):
            if body == "bad":
                self.failures += 1
                await asyncio.sleep(0.02)  # long enough for the next retry to be brought meanwhile
                raise ValueError("never")
            self.is_handled = True

    async with Sink(port=None, data_dir=tmp_path) as sink:
        await asyncio.gather(*(sink.emit_event("a", "bad") for _ in range(20)))
        await until(lambda: sink.failures > 30)
        await sink.emit_event("a", "good")
        await until(lambda: sink.is_handled)
