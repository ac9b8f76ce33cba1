"""What the decorators declare, and what they refuse."""

import warnings

import pytest
from marshmallow import Schema, fields
from tornado import gen

from gemstone_events import EVERY_INSTANCE, Container, Event, RetryPolicy, event_handler, exposed_method
from gemstone_events.deprecated import private_api_method, public_method
from gemstone_events.errors import InvalidNameError, InvalidPatternError, ServiceConfigurationError
from gemstone_events.handlers import declared_handlers, declared_methods


class OrderSchema(Schema):
    id = fields.Int(required=True)


def handlers_of(owner):
    return {handler.name: handler for handler in declared_handlers(owner)}


def test_a_handler_may_take_the_body_alone():
    class Part(Container):
        @event_handler("order.placed")
        def handle(self, body):
            """Take it."""

    assert not handlers_of(Part())["Part.handle"].takes_event


def test_a_second_parameter_annotated_event_gets_the_event():
    class Part(Container):
        @event_handler("order.placed")
        async def handle(self, body: dict, event: Event):
            """Take it."""

    handler = handlers_of(Part())["Part.handle"]
    assert handler.takes_event
    assert handler.is_coroutine


def test_an_annotation_written_as_text_counts_too():
    class Part(Container):
        @event_handler("order.placed")
        def handle(self, body: "Unresolvable", event: "Event"):  # noqa: F821
            """Take it."""

    assert handlers_of(Part())["Part.handle"].takes_event


def test_one_function_may_handle_several_events():
    class Part(Container):
        @event_handler("a")
        @event_handler("b", group="others")
        def handle(self, body):
            """Take it."""

    assert sorted((h.options.pattern, h.options.group) for h in declared_handlers(Part())) == [
        ("a", None),
        ("b", "others"),
    ]


def test_every_instance_is_kept_as_a_group():
    class Part(Container):
        @event_handler("a", group=EVERY_INSTANCE)
        def handle(self, body):
            """Take it."""

    assert handlers_of(Part())["Part.handle"].options.group is EVERY_INSTANCE


def test_an_override_without_decorator_is_no_handler():
    class Base(Container):
        @event_handler("a")
        def handle(self, body):
            """Take it."""

    class Derived(Base):
        def handle(self, body):
            """Do nothing."""

    assert not handlers_of(Derived())


@pytest.mark.parametrize(
    "function",
    [
        lambda self: None,
        lambda self, body, event: None,
        lambda self, body, *, needed: None,
        lambda self, body, a, b: None,
    ],
)
def test_a_handler_that_cannot_be_called_with_a_body_is_refused_with_its_signature(function):
    part = type("Part", (Container,), {"handle": event_handler("a")(function)})()
    with pytest.raises(ServiceConfigurationError, match=r"Part\.handle.*annotated Event"):
        handlers_of(part)


def test_the_event_cannot_come_first():
    class Part(Container):
        @event_handler("a")
        def handle(self, event: Event):
            """Take it."""

    with pytest.raises(ServiceConfigurationError, match="only the second parameter"):
        handlers_of(Part())


@pytest.mark.parametrize("pattern", ["", "a..b", ".a", "a.", "a b", "or*der", "a.#b", "ü", "x" * 201, None])
def test_a_pattern_that_can_match_nothing_is_refused(pattern):
    with pytest.raises(InvalidPatternError):
        event_handler(pattern)


def test_options_out_of_range_are_refused():
    with pytest.raises(ServiceConfigurationError, match="concurrency"):
        event_handler("a", concurrency=0)
    with pytest.raises(ServiceConfigurationError, match="timeout"):
        event_handler("a", timeout=0)
    with pytest.raises(InvalidNameError, match="group"):
        event_handler("a", group="two words")


def test_decorators_without_their_parentheses_say_so():
    with pytest.raises(ServiceConfigurationError, match=r"write @exposed_method\(\)"):
        exposed_method(print)
    with pytest.raises(ServiceConfigurationError, match=r"write @event_handler\("):
        event_handler(print)


def test_a_retry_that_is_no_policy_and_a_schema_that_is_none_are_refused():
    with pytest.raises(ServiceConfigurationError, match=r"retry=RetryPolicy\(attempts"):
        event_handler("a", retry=3)
    with pytest.raises(ServiceConfigurationError, match="marshmallow Schema"):
        event_handler("a", schema=dict)


def test_a_schema_may_be_a_class_or_an_instance():
    class Part(Container):
        @event_handler("a", schema=OrderSchema)
        def one(self, body):
            """Take it."""

        @event_handler("b", schema=OrderSchema())
        def two(self, body):
            """Take it."""

    assert all(isinstance(handler.options.schema, OrderSchema) for handler in declared_handlers(Part()))


def test_exposed_methods_carry_their_options():
    class Part(Container):
        @exposed_method("users.register", private=True, requires_handler_reference=True)
        def register(self, handler, name):
            """Register."""

    ((name, function, options),) = declared_methods(Part())
    assert (name, options.name, options.private, options.requires_handler_reference) == (
        "register",
        "users.register",
        True,
        True,
    )
    assert Part().get_exposed_methods().keys() == {"users.register"}
    assert callable(function)


def test_is_coroutine_is_taken_with_a_warning():
    with pytest.warns(DeprecationWarning, match="async def"):
        exposed_method(is_coroutine=True)


def test_the_decorators_of_old_still_expose_methods():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)

        class Part(Container):
            @public_method
            def hello(self):
                """Greet."""

            @private_api_method
            def secret(self):
                """Tell."""

    assert {name: options.private for name, _, options in declared_methods(Part())} == {"hello": False, "secret": True}


def test_no_property_runs_while_handlers_are_looked_for():
    class Part(Container):
        @property
        def explosive(self):
            raise AssertionError("a property was read")

    assert not handlers_of(Part())


def test_retry_stops_at_the_last_attempt_and_at_fatal_errors():
    policy = RetryPolicy(attempts=3, retry_on=(OSError,), fatal=(PermissionError,))
    assert policy.allows(OSError(), 2)
    assert not policy.allows(OSError(), 3)
    assert not policy.allows(PermissionError(), 1)
    assert not policy.allows(ValueError(), 1)


def test_delays_grow_up_to_their_ceiling_and_never_overflow():
    policy = RetryPolicy(first_delay=1.0, max_delay=60.0)
    assert all(0 <= policy.delay(1) <= 1.0 for _ in range(100))
    assert max(policy.delay(4) for _ in range(1000)) > 4.0
    assert all(policy.delay(5000) <= 60.0 for _ in range(100))


def test_a_policy_without_attempts_is_refused():
    with pytest.raises(ValueError, match="attempts"):
        RetryPolicy(attempts=0)


def test_a_coroutine_in_the_style_of_tornado_is_told_how_it_is_written_now():
    class Old(Container):
        @event_handler("a")
        def handle(self, body):
            yield body

        @exposed_method()
        @gen.coroutine
        def ask(self):
            yield gen.sleep(0)

    advice = "write async def, and await instead of yield"
    with pytest.raises(ServiceConfigurationError, match=rf"Old\.handle is a generator.*{advice}"):
        list(declared_handlers(Old()))
    with pytest.raises(ServiceConfigurationError, match=rf"Old\.ask is a generator.*{advice}"):
        list(declared_methods(Old()))
