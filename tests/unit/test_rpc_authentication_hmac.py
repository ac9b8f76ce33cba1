"""Signed requests: what passes, what does not, and that nothing passes twice."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.answering import make_answer
from gemstone_events.rpc.authentication.caller import Authentication
from gemstone_events.rpc.authentication.credentials import HmacKey
from gemstone_events.rpc.authentication.failed_attempts import FailedAttempts
from gemstone_events.rpc.authentication.hmac_keys import HmacKeys
from gemstone_events.rpc.authentication.principal import Principal
from gemstone_events.rpc.call_context import CallContext
from gemstone_events.rpc.dispatcher import Dispatcher
from gemstone_events.rpc.methods import Method, MethodTable
from gemstone_events.rpc.request_handler import RpcHandler

SECRET = "a-secret-of-many-bytes"
WHO = b'{"jsonrpc":"2.0","method":"who","id":1}'
NOW = 1_785_542_400.0


@dataclass
class Clock:
    """Seconds since 1970, as the test says."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Server:
    """Answers ``who`` to those who signed."""

    keys: HmacKeys
    clock: Clock = field(default_factory=Clock)

    async def ask(self, headers: Mapping[str, str], body: bytes = WHO, *, is_repeated: bool = False) -> str | None:
        """Return the name of the caller, None where he is denied."""
        authentication = Authentication(self.keys, attempts=FailedAttempts(0))
        method = Method("who", _who, private=True, takes_handler=True, idempotent=True)
        dispatcher = Dispatcher(MethodTable([method]), invoke=_invoke, authorize=authentication.authorize)
        context = CallContext("memory", headers, "somebody", is_repeated=is_repeated)
        answer = json.loads(await make_answer(dispatcher, authentication)(body, context) or b"")
        if "error" in answer:
            assert answer["error"]["code"] == -32001
            return None
        return str(answer["result"])


def _who(handler: RpcHandler) -> object:
    user = handler.current_user
    assert isinstance(user, Principal)
    return user.name


async def _invoke(method: Method, args: tuple[object], kwargs: object, context: CallContext) -> object:
    return method.function(*args)


def server_of(secret: object = SECRET, **options: object) -> Server:
    clock = Clock()
    return Server(HmacKeys({"shop": secret}, clock=clock, **options), clock)  # type: ignore[dict-item, arg-type]


def signed(server: Server, body: bytes = WHO, secret: str = SECRET, **options: str) -> Mapping[str, str]:
    return HmacKey("shop", secret, clock=server.clock, **options).headers(body)  # type: ignore[arg-type]


async def test_a_signed_request_passes_once() -> None:
    server = server_of()
    headers = signed(server)

    assert await server.ask(headers) == "shop"
    assert await server.ask(headers) is None
    assert await server.ask(signed(server)) == "shop"


async def test_the_signature_is_what_the_documentation_says() -> None:
    server = server_of(audience="billing")
    digest = hashlib.sha256(WHO).hexdigest()
    text = f"Gemstone-HMAC\nbilling\nshop\n{NOW:.0f}\n0123456789abcdef\n{digest}"
    signature = hmac.new(SECRET.encode(), text.encode(), "sha256").hexdigest()
    header = f"Gemstone-HMAC key=shop, time={NOW:.0f}, nonce=0123456789abcdef, digest={digest}, signature={signature}"

    assert await server.ask({"authorization": header}) == "shop"


async def test_the_body_has_to_be_the_signed_one() -> None:
    server = server_of()

    assert await server.ask(signed(server), WHO + b" ") is None


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("key", "desk"),
        ("time", f"{NOW + 1:.3f}"),
        ("nonce", "0123456789abcdef"),
        ("digest", "0" * 64),
        ("signature", "0" * 64),
    ],
)
async def test_no_part_of_the_header_can_be_changed(part: str, other: str) -> None:
    server = server_of()
    header = re.sub(rf"{part}=[^,]*", f"{part}={other}", signed(server)["authorization"])

    assert await server.ask({"authorization": header}) is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Gemstone-HMAC",
        "Gemstone-HMAC key=shop",
        "Bearer " + SECRET,
        "Gemstone-HMAC key=größe, time=1, nonce=1, digest=1, signature=ü",
        "Gemstone-HMAC key=shop, time=nan, nonce=0123456789abcdef, digest=" + "0" * 64 + ", signature=" + "0" * 64,
        "Gemstone-HMAC key=shop, time=1٣, nonce=0123456789abcdef, digest=" + "0" * 64 + ", signature=" + "0" * 64,
        "Gemstone-HMAC " + "a" * 100_000,
    ],
)
async def test_a_malformed_header_is_denied_and_no_error(header: str) -> None:
    assert await server_of().ask({"authorization": header}) is None


async def test_text_after_the_signature_is_refused() -> None:
    server = server_of()

    assert await server.ask({"authorization": signed(server)["authorization"] + ", x=y"}) is None


@pytest.mark.parametrize(("seconds", "passes"), [(-301, False), (-299, True), (299, True), (301, False)])
async def test_a_request_passes_within_the_window_only(seconds: float, passes: bool) -> None:
    server = server_of()
    headers = signed(server)
    server.clock.now += seconds

    assert (await server.ask(headers) == "shop") is passes


async def test_a_signature_is_good_for_its_audience_only() -> None:
    billing, stock = server_of(audience="billing"), server_of(audience="stock")

    assert await stock.ask(signed(billing, audience="billing")) is None
    assert await billing.ask(signed(billing, audience="billing")) == "shop"


async def test_old_and_new_secret_are_good_while_a_key_is_changed() -> None:
    new = "another-secret-of-many-bytes"
    server = server_of([SECRET, new.encode()])

    assert await server.ask(signed(server)) == "shop"
    assert await server.ask(signed(server, secret=new)) == "shop"
    assert await server.ask(signed(server, secret="a-third-secret-of-many-bytes")) is None


async def test_an_unknown_key_is_denied_even_with_the_secret_that_stands_in_for_it() -> None:
    server = Server(HmacKeys({}))
    body = WHO

    assert await server.ask(HmacKey("desk", bytes(32)).headers(body), body) is None


async def test_what_the_memory_has_forgotten_cannot_be_repeated() -> None:
    server = server_of(remembered=3)
    sent = []
    for _ in range(6):
        server.clock.now += 1
        sent.append(signed(server))
        assert await server.ask(sent[-1]) == "shop"

    assert [await server.ask(headers) for headers in sent] == [None] * 6


async def test_a_request_from_before_what_was_forgotten_is_refused_though_it_never_came() -> None:
    server = server_of(remembered=1)
    late = signed(server)
    for _ in range(2):
        server.clock.now += 1
        assert await server.ask(signed(server)) == "shop"

    assert await server.ask(late) is None


async def test_the_memory_stays_within_its_bound() -> None:
    server = server_of(remembered=50, window=10.0)
    for _ in range(200):
        server.clock.now += 0.01
        await server.ask(signed(server))
    nonces = server.keys._seen["shop"]

    assert len(nonces._known) == len(nonces._by_time) == 50


async def test_one_key_does_not_shorten_the_memory_of_another() -> None:
    clock = Clock()
    server = Server(HmacKeys({"shop": SECRET, "desk": SECRET}, clock=clock, remembered=2), clock)
    early = signed(server)
    for _ in range(5):
        clock.now += 1
        assert await server.ask(HmacKey("desk", SECRET, clock=clock).headers(WHO)) == "desk"

    assert await server.ask(early) == "shop"


async def test_a_body_that_the_broker_brings_again_passes_again_and_a_caller_who_repeats_it_does_not() -> None:
    server = server_of()
    headers = signed(server)

    assert await server.ask(headers) == "shop"
    assert await server.ask(headers, is_repeated=True) == "shop"
    assert await server.ask(headers) is None


async def test_a_first_coming_that_the_broker_calls_a_repetition_is_remembered() -> None:
    server = server_of()
    headers = signed(server)

    assert await server.ask(headers, is_repeated=True) == "shop"
    assert await server.ask(headers) is None


@pytest.mark.parametrize(
    ("make", "explanation"),
    [
        (lambda: HmacKeys({"shop": "short"}), "the secret of key 'shop' has 5 bytes"),
        (lambda: HmacKeys({"two words": SECRET}), "key id 'two words'"),
        (lambda: HmacKeys({"shop": SECRET}, scopes={"desk": ["a"]}), "scopes for desk"),
        (lambda: HmacKeys({"shop": SECRET}, audience="a\nb"), "audience"),
        (lambda: HmacKeys({"shop": SECRET}, window=0), "more than 0"),
        (lambda: HmacKey("shop", "short"), "the secret of key 'shop' has 5 bytes"),
        (lambda: HmacKey("a,b", SECRET), "key id 'a,b'"),
        (lambda: HmacKey("shop", SECRET, audience="a\nb"), "audience"),
    ],
)
def test_keys_that_cannot_be_used_are_refused(make: object, explanation: str) -> None:
    assert callable(make)
    with pytest.raises(ServiceConfigurationError, match=explanation) as refused:
        make()
    assert SECRET not in str(refused.value)
