"""``gemstone call``, ``services`` and ``registry`` by the names of services, as people run them."""

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemstone_events.amqp_url import parse_url
from gemstone_events.rpc.discovery.redis_strategy import RedisDiscoveryStrategy
from tests.integration.cli_process import Gemstone, Running, fails

TOKEN = "a token of more than 16 bytes"
ECHO = """
from gemstone_events import MicroService, exposed_method


class Echo(MicroService):
    name = "NAME"
    port = PORT

    @exposed_method()
    def add(self, a, b=40):
        return a + b

    @exposed_method()
    def where(self):
        return self.name
"""


@pytest.fixture
def gemstone(tmp_path: Path) -> Iterator[Gemstone]:
    """The command, in a folder of its own."""
    with Gemstone(tmp_path) as made:
        yield made


def start_echo(gemstone: Gemstone, *options: str, name: str = "echo", port: str = "None") -> Running:
    """Start a service that has no port of its own."""
    gemstone.write(f"{name.replace('.', '_')}.py", ECHO.replace("NAME", name).replace("PORT", port))
    echo = gemstone.start("run", f"{name.replace('.', '_')}.py", *options)
    echo.wait_for(rf"{re.escape(name)} is ready: ")
    return echo


def start_registry(gemstone: Gemstone, *options: str) -> str:
    """Start a registry on any free port and return its URL."""
    return gemstone.start("registry", "--port=0", *options).wait_for(r"registry is ready: (\S+);")[1]


def announce(gemstone: Gemstone, registry: str, name: str, url: str, **environment: str) -> None:
    """Tell a registry of a service, as the service does."""
    gemstone("call", registry, "ping", f"name={name}", f"url={url}", environment=environment)


# By broker or bus.


@pytest.fixture(params=["the embedded bus", "RabbitMQ"])
def where(request: pytest.FixtureRequest, namespace: str) -> list[str]:
    """Options that say where services are."""
    if request.param == "RabbitMQ":
        return [f"--broker={request.getfixturevalue('rabbitmq_url')}", f"--namespace={namespace}"]
    return []


def run_options(where: list[str]) -> list[str]:
    return [option.replace("--broker", "--event-transports") for option in where]


def test_a_service_without_a_port_is_called_by_its_name(gemstone: Gemstone, where: list[str]) -> None:
    start_echo(gemstone, *run_options(where))
    assert gemstone("call", "echo", "add", "a=2", *where) == ("42\n", "")
    assert gemstone("call", "echo", "add", "1", "2", "--json", *where) == ("3\n", "")
    assert gemstone("call", "e?ho", "add", "1", "2", *where) == ("3\n", "")
    assert gemstone("call", "echo", "add", "1", "--notify", *where) == ("", "")
    assert "Method not found (code -32601)" in fails(gemstone, "call", "echo", "fly", *where)
    printed, error = gemstone("call", "echo", "add", "--json", *where, status=1)
    assert (printed, json.loads(error)["error"]["code"]) == ("", -32602)


def test_a_name_that_is_not_there_is_told_with_those_that_are(gemstone: Gemstone, where: list[str]) -> None:
    start_echo(gemstone, *run_options(where))
    start_echo(gemstone, *run_options(where), name="shop.orders")
    told = r"there is no service 'nobody' on \S+: there are echo, shop\.orders"
    assert re.search(told, fails(gemstone, "call", "nobody", "add", *where))
    assert re.search(r"no service 'x\*'", fails(gemstone, "call", "x*", "add", *where))
    assert gemstone("call", "shop.*", "where", *where) == ("shop.orders\n", "")


def test_services_shows_who_is_there(gemstone: Gemstone, where: list[str]) -> None:
    start_echo(gemstone, *run_options(where))
    start_echo(gemstone, *run_options(where))
    start_echo(gemstone, *run_options(where), name="shop.orders")
    printed, error = gemstone("services", *where)
    titles, *rows = printed.splitlines()
    assert titles.split() == ["SERVICE", "HEALTH", "SINCE", "ADDRESSES", "INSTANCE"]
    assert [row.split()[:2] for row in rows] == [["echo", "ok"], ["echo", "ok"], ["shop.orders", "ok"]]
    assert all(re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d .*#(echo|shop\.orders) ", row) for row in rows)
    assert (error, "guest:guest" in printed) == ("", False)
    found = json.loads(gemstone("services", "shop.*", "--json", *where)[0])
    assert [(presence["service"], presence["health"]) for presence in found] == [("shop.orders", "ok")]
    assert found[0]["urls"][0].endswith("#shop.orders")
    assert "no service 'x*' is found on" in fails(gemstone, "services", "x*", *where)


def test_nobody_there_is_a_failure_that_says_what_to_check(gemstone: Gemstone, where: list[str]) -> None:
    echo = start_echo(gemstone, *run_options(where))
    echo.interrupt()
    assert echo.status() == 0
    assert re.search(r"nobody is found on \S+: does the service run, is \S+ among", fails(gemstone, "services", *where))
    assert "does the service run, is " in fails(gemstone, "call", "echo", "add", *where)
    printed, error = gemstone("services", "--json", *where, status=1)
    assert (printed, error.startswith("error: nobody is found on ")) == ("[]\n", True)


def test_where_no_bus_is_nothing_is_made(gemstone: Gemstone) -> None:
    for arguments in (["call", "echo", "add"], ["services"]):
        assert "no service has used the bus" in fails(gemstone, *arguments)
    assert not (gemstone.folder / ".gemstone").exists()


def test_a_service_is_called_by_the_url_of_its_bus(gemstone: Gemstone, rabbitmq_url: str, namespace: str) -> None:
    start_echo(gemstone)
    assert gemstone("call", "sqlite:///.gemstone/bus.db#echo", "add", "a=2") == ("42\n", "")
    printed, timing = gemstone("call_raw", "sqlite:///.gemstone/bus.db#echo", "add", "a=2", "b=1")
    assert printed == "3\n"
    assert re.fullmatch(r"the call took \d\.\d{5} seconds\n", timing)
    start_echo(gemstone, f"--event-transports={rabbitmq_url}", f"--namespace={namespace}")
    url = f"{rabbitmq_url}#echo"
    assert gemstone("call", url, "add", "a=2", f"--namespace={namespace}") == ("42\n", "")
    assert "guest:guest" not in fails(gemstone, "call", f"{rabbitmq_url}#nobody", "add", f"--namespace={namespace}")


def test_the_broker_may_come_from_the_environment(gemstone: Gemstone, rabbitmq_url: str, namespace: str) -> None:
    environment = {"GEMSTONE_BROKER": rabbitmq_url, "GEMSTONE_NAMESPACE": namespace}
    start_echo(gemstone, f"--event-transports={rabbitmq_url}", f"--namespace={namespace}")
    assert gemstone("call", "echo", "add", "a=2", environment=environment) == ("42\n", "")
    both = {**environment, "GEMSTONE_REGISTRY": "http://127.0.0.1:1"}
    assert "sets both" in fails(gemstone, "call", "echo", "add", environment=both, status=2)


def test_a_broker_that_is_away_is_a_clear_error(gemstone: Gemstone) -> None:
    for arguments in (["call", "echo", "add"], ["services"]):
        told = fails(gemstone, *arguments, "--broker=amqp://ada:secret@127.0.0.1:1")
        assert "127.0.0.1:1" in told
        assert "secret" not in told


def test_watching_shows_who_comes_and_goes(gemstone: Gemstone, where: list[str]) -> None:
    start_echo(gemstone, *run_options(where))
    watching = gemstone.start("services", "--watch", "--interval=0.1", *where)
    watching.wait_for(r"(came|changed) +echo +ok")
    orders = start_echo(gemstone, *run_options(where), name="orders")
    watching.wait_for(r"(came|changed) +orders +ok")
    orders.signal(signal.SIGTERM)
    assert orders.status() == 0
    watching.wait_for(r"gone +orders ")
    watching.interrupt()
    assert watching.status() == 0


# By a registry.


def test_a_service_is_looked_up_in_a_registry(gemstone: Gemstone) -> None:
    registry = start_registry(gemstone)
    url = start_echo(gemstone, port="0").wait_for(r"echo is ready: (http\S+);")[1]
    announce(gemstone, registry, "echo", url)
    by = f"--registry={registry}"
    assert gemstone("call", "echo", "add", "a=2", by) == ("42\n", "")
    assert gemstone("call", "e*", "add", "a=2", environment={"GEMSTONE_REGISTRY": registry}) == ("42\n", "")
    assert "there is no service 'nobody' on registry" in fails(gemstone, "call", "nobody", "add", by)
    assert "there are echo" in fails(gemstone, "call", "nobody", "add", by)
    (presence,) = json.loads(gemstone("services", by, "--json")[0])
    assert (presence["service"], presence["urls"]) == ("echo", [url])


def test_a_service_announces_itself_to_a_registry_and_signs_off(gemstone: Gemstone) -> None:
    gemstone.write("token", f"{TOKEN}\n")
    registry = start_registry(gemstone, "--token-file=token")
    environment = {"GEMSTONE_SERVICE_REGISTRY_URLS": registry, "GEMSTONE_SERVICE_REGISTRY_TOKEN": TOKEN}
    gemstone.write("echo.py", ECHO.replace("NAME", "echo").replace("PORT", "0"))
    echo = gemstone.start("run", "echo.py", environment=environment)
    url = echo.wait_for(r"echo is ready: (http\S+);")[1]
    by = (f"--registry={registry}", "--token-file=token")
    watching = gemstone.start("services", "--watch", "--json", "--interval=0.1", *by)
    watching.wait_for(r'"change":"(came|changed)","service":"echo".*"health":"ok"')
    assert gemstone("call", "echo", "add", "a=2", *by) == ("42\n", "")
    printed, _ = gemstone("services", "--json", *by)
    (presence,) = json.loads(printed)
    assert (presence["health"], url in presence["urls"]) == ("ok", True)
    assert presence["instance"] != ""
    echo.signal(signal.SIGTERM)
    assert echo.status() == 0
    watching.wait_for(r'"change":"gone","service":"echo"')


def test_an_address_that_does_not_answer_is_passed_over(gemstone: Gemstone) -> None:
    registry = start_registry(gemstone)
    url = start_echo(gemstone, port="0").wait_for(r"echo is ready: (http\S+);")[1]
    for address in ("http://127.0.0.1:1/api", url, "http://127.0.0.1:2/api"):
        announce(gemstone, registry, "echo", address)
    for _ in range(3):
        assert gemstone("call", "echo", "add", "a=2", f"--registry={registry}") == ("42\n", "")


def test_a_registry_leads_only_to_addresses_that_are_allowed(gemstone: Gemstone) -> None:
    registry = start_registry(gemstone)
    announce(gemstone, registry, "echo", "http://127.0.0.1.nip.example:1/api")
    told = fails(gemstone, "call", "echo", "add", f"--registry={registry}")
    assert "may not be called: it is not on the list of allowed addresses" in told
    allowed = ("--allow", "http://127.0.0.1.nip.example:1")
    told = fails(gemstone, "call", "echo", "add", f"--registry={registry}", *allowed)
    assert "cannot be reached" in told


def test_a_registry_with_a_token_answers_those_who_have_it(gemstone: Gemstone) -> None:
    gemstone.write("token", f"{TOKEN}\n")
    registry = start_registry(gemstone, "--token-file=token")
    for arguments in (["services"], ["call", "echo", "add"]):
        told = fails(gemstone, *arguments, f"--registry={registry}")
        assert "service_registry_token, GEMSTONE_SERVICE_REGISTRY_TOKEN, or --token-file" in told
        assert "does the service run" not in told
    assert "nobody is found" in fails(gemstone, "services", f"--registry={registry}", "--token-file=token")
    environment = {"GEMSTONE_SERVICE_REGISTRY_TOKEN": TOKEN}
    assert "nobody is found" in fails(gemstone, "services", f"--registry={registry}", environment=environment)
    environment = {"GEMSTONE_SERVICE_REGISTRY_TOKEN": f"another{TOKEN}"}
    told = fails(gemstone, "services", f"--registry={registry}", environment=environment)
    assert "does not take the token (service_registry_token, GEMSTONE_SERVICE_REGISTRY_TOKEN" in told


def test_a_service_without_the_registrys_token_says_in_its_log_which_setting_it_is(gemstone: Gemstone) -> None:
    gemstone.write("token", f"{TOKEN}\n")
    registry = start_registry(gemstone, "--token-file=token")
    gemstone.write("echo.py", ECHO.replace("NAME", "echo").replace("PORT", "0"))
    echo = gemstone.start("run", "echo.py", environment={"GEMSTONE_SERVICE_REGISTRY_URLS": registry})
    echo.wait_for(r"cannot be announced: .*GEMSTONE_SERVICE_REGISTRY_TOKEN")


def test_a_registry_does_not_start_where_it_may_not(gemstone: Gemstone) -> None:
    assert "without a token" in fails(gemstone, "registry", "--host=0.0.0.0", "--port=0")
    assert "is no pattern" in fails(gemstone, "registry", "--allow=nonsense")
    gemstone.write("empty", "\n")
    gemstone.write("short", "short\n")
    assert "is empty" in fails(gemstone, "registry", "--token-file=empty")
    assert "cannot be read" in fails(gemstone, "registry", "--token-file=nowhere")
    assert "take 16 or more" in fails(gemstone, "registry", "--token-file=short")


def test_a_registry_that_is_away_is_a_clear_error(gemstone: Gemstone) -> None:
    for arguments in (["call", "echo", "add"], ["services"]):
        assert "127.0.0.1:1" in fails(gemstone, *arguments, "--registry=http://127.0.0.1:1")


def test_what_is_no_registry_is_told_so(gemstone: Gemstone) -> None:
    url = start_echo(gemstone, port="0").wait_for(r"echo is ready: (http\S+);")[1]
    for arguments in (["call", "echo", "add"], ["services"]):
        told = fails(gemstone, *arguments, f"--registry={url}")
        assert "that is no registry: it has no method 'locate_service'" in told
        assert "nobody is found" not in told


def test_services_are_looked_up_in_redis(gemstone: Gemstone, redis_url: str, namespace: str) -> None:
    url = start_echo(gemstone, port="0").wait_for(r"echo is ready: (http\S+);")[1]
    by = (f"--registry={redis_url}", f"--namespace={namespace}")
    assert "RedisDiscoveryStrategy" in fails(gemstone, "services", *by)
    asyncio.run(RedisDiscoveryStrategy(redis_url, 60, namespace=namespace).ping("echo", url))
    (presence,) = json.loads(gemstone("services", *by, "--json")[0])
    assert (presence["service"], presence["urls"]) == ("echo", [url])
    assert gemstone("call", "echo", "add", "a=2", *by) == ("42\n", "")
    assert "there are echo" in fails(gemstone, "call", "nobody", "add", *by)
    away = fails(gemstone, "services", "--registry=redis://:secret@127.0.0.1:1/0")
    assert "redis://127.0.0.1:1/0 cannot be used" in away
    assert "secret" not in away


# What is nearly right.


def test_a_method_that_is_not_there_is_told_with_what_may_be_meant(gemstone: Gemstone, where: list[str]) -> None:
    url = start_echo(gemstone, *run_options(where), port="0").wait_for(r"echo is ready: (http\S+);")[1]
    told = fails(gemstone, "call", "echo", "ad", *where)
    assert "Method not found (code -32601): echo has no method 'ad': did you mean add?" in told
    # "describe echo" alone would read echo.py.
    named = "echo" if where else "'sqlite:///.gemstone/bus.db#echo'"
    assert f"Its methods are listed by: gemstone describe {named}" in told
    assert "guest:guest" not in told
    told = fails(gemstone, "call", url, "fly")
    assert told.endswith(f"{url} has no method 'fly'; its methods are listed by: gemstone describe {url}")
    told = fails(gemstone, "call", "e*", "ad", *where)
    assert re.search(
        rf": echo \(\S+#echo\) has no method 'ad': did you mean add\? Its .*: gemstone describe {named}", told
    )
    assert "guest:guest" not in told
    _, error = gemstone("call", "echo", "ad", "--json", *where, status=1)
    assert json.loads(error) == {"error": {"code": -32601, "message": "Method not found"}}


def test_an_object_that_was_meant_as_parameters_by_name_is_told_how_they_are_written(gemstone: Gemstone) -> None:
    start_echo(gemstone)
    _, error = gemstone("call", "echo", "add", '{"a": 1, "b": 2}', status=1)
    assert "Internal error" in error  # 40 cannot be added to an object: it was one parameter
    _, error = gemstone("call", "echo", "where", '{"a": 1, "b": 2}', status=1)
    assert "the object was taken for the first parameter; parameters by name are written a=... b=..." in error
    assert "was taken" not in gemstone("call", "echo", "where", "1", status=1)[1]


def test_events_have_a_transport_and_calls_a_broker(gemstone: Gemstone) -> None:
    for arguments in (["call", "echo", "add"], ["services"], ["describe", "echo"]):
        told = fails(gemstone, *arguments, "--transport=amqp://localhost", status=2)
        assert "there is no --transport here: give --broker URL" in told
    for arguments in (["emit", "a.b"], ["tail"]):
        told = fails(gemstone, *arguments, "--broker=amqp://localhost", status=2)
        assert "there is no --broker here: give --transport URL" in told
    assert "No such option" in fails(gemstone, "transports", "--broker=x", status=2)


def test_how_long_a_call_took_is_told_where_something_was_called(gemstone: Gemstone) -> None:
    url = start_echo(gemstone, port="0").wait_for(r"echo is ready: (http\S+);")[1]
    assert "the call took" in gemstone("call_raw", url, "fly", status=1)[1]
    assert "the call took" not in fails(gemstone, "call_raw", "http://127.0.0.1:1/api", "add")
    assert "the call took" not in fails(gemstone, "call_raw", "sqlite:///.gemstone/bus.db#nobody", "add")


def test_a_broker_is_shown_in_one_form_however_it_was_written(
    gemstone: Gemstone, rabbitmq_url: str, namespace: str
) -> None:
    broker = parse_url(rabbitmq_url)
    written = f"amqp://{broker.user}:{broker.password}@{broker.host}:{broker.port}"
    for ending in ("", "/", "//", "/%2F"):
        told = fails(gemstone, "services", f"--broker={written}{ending}", f"--namespace={namespace}")
        assert f"nobody is found on {broker.address}: does the service run, is {broker.address} among" in told
    report = json.loads(gemstone("doctor", f"--transport={written}//", "--json")[0])
    assert broker.address in [finding["subject"] for finding in report["findings"]]
    watching = gemstone.start("tail", f"--transport={written}//", f"--namespace={namespace}")
    watching.wait_for(f"watching # on {re.escape(broker.address)};")


GUARDED = """
from gemstone_events import HmacKeys, MicroService, TokenTable, exposed_method


class Guarded(MicroService):
    name = "guarded"
    port = 0
    tokens = TokenTable({"shop": "HASH"})
    keys = HmacKeys({"shop": "TOKEN"}, audience="guarded")

    def authenticate_request(self, handler):
        return self.keys(handler) or self.tokens(handler.request.headers.get("X-Api-Token", ""))

    @exposed_method(private=True)
    def who(self):
        return "known"
"""


def test_who_calls_is_said_without_a_secret_on_the_command_line(gemstone: Gemstone) -> None:
    made = json.loads(gemstone("new-token", "--json")[0])
    gemstone.write("guarded.py", GUARDED.replace("HASH", made["hash"]).replace("TOKEN", made["token"]))
    url = gemstone.start("run", "guarded.py").wait_for(r"guarded is ready: (http\S+);")[1]
    gemstone.write("headers", f"X-Api-Token: {made['token']}\n")
    gemstone.write("key", f"{made['token']}\n")
    assert "Access denied" in fails(gemstone, "call", "guarded", "who")
    for target in ("guarded", url):
        assert gemstone("call", target, "who", "--header-file=headers") == ("known\n", "")
    assert gemstone("call", "guarded", "who", "--hmac-key=shop:key") == ("known\n", "")
    assert gemstone("call", url, "who", "--hmac-key=shop:key", "--audience=guarded") == ("known\n", "")
    assert gemstone("call_raw", "sqlite:///.gemstone/bus.db#guarded", "who", "--hmac-key=shop:key")[0] == "known\n"
    assert "Access denied" in fails(gemstone, "call", url, "who", "--hmac-key=shop:key", "--audience=another")
    described = json.loads(gemstone("describe", url, "--header-file=headers")[0])
    assert "who" in [method["name"] for method in described["methods"]]


def test_an_address_without_its_scheme_is_told_how_a_url_begins(gemstone: Gemstone) -> None:
    for command in ("call", "call_raw"):
        told = fails(gemstone, command, "127.0.0.1:18101", "add", status=2)
        assert "a URL begins with http://" in told
        assert "write http://127.0.0.1:18101;" in told
    assert "write http://127.0.0.1:8000;" in fails(gemstone, "describe", "127.0.0.1:8000", status=2)
    assert "secret" not in fails(gemstone, "call", "ada:secret@host", "add", status=2)
    told = fails(gemstone, "services", "--registry=127.0.0.1:8700")
    assert "a registry's URL begins with http://: write http://127.0.0.1:8700" in told


def test_where_the_time_is_up_nothing_is_said_of_who_is_there(gemstone: Gemstone) -> None:
    url = start_echo(gemstone, port="0").wait_for(r"echo is ready: (http\S+);")[1]
    for target in ("echo", url, "sqlite:///.gemstone/bus.db#echo"):
        told = fails(gemstone, "call", target, "add", "--timeout=0.000001")
        assert "was not reached within 1e-06 seconds (--timeout), and not called" in told
        assert "no instance" not in told


def test_a_parameter_that_is_misspelt_is_named_beside_the_one_that_is_missing(gemstone: Gemstone) -> None:
    start_echo(gemstone)
    _, error = gemstone("call", "echo", "add", "aa=1", status=1)
    assert "missing a required argument: 'a'; got an unexpected keyword argument 'aa'" in error


def test_a_registry_ends_well_and_leaves_nothing(gemstone: Gemstone) -> None:
    registry = gemstone.start("registry", "--port=0")
    registry.wait_for("registry is ready")
    registry.signal(signal.SIGTERM)
    assert registry.status() == 0
    assert not (gemstone.folder / ".gemstone").exists()


def test_what_a_command_line_cannot_mean_is_a_wrong_usage(gemstone: Gemstone) -> None:
    url = "http://127.0.0.1:9/api"
    assert "lone surrogate" in fails(gemstone, "call", url, "add", "\udcff", status=2)
    assert "lone surrogate" in fails(gemstone, "call", url, "add", "a=\udcff", status=2)
    assert "lone surrogate" in fails(gemstone, "call", url, "\udcff", status=2)
    assert "stands after '--', as in add -- 2 -5" in fails(gemstone, "call", url, "add", "2", "-5", status=2)
    for number in ("nan", "inf"):
        for arguments in (
            ["call", url, "add", f"--timeout={number}"],
            ["describe", url, f"--timeout={number}"],
            ["services", f"--interval={number}"],
            ["registry", f"--time-to-live={number}"],
            ["emit", "a.b", f"--timeout={number}"],
            ["tail", f"--timeout={number}"],
        ):
            assert f"{number} is no number of seconds" in fails(gemstone, *arguments, status=2)


def test_a_value_may_begin_with_a_minus_sign(gemstone: Gemstone) -> None:
    start_echo(gemstone)
    assert gemstone("call", "echo", "add", "--json", "--", "2", "-5") == ("-3\n", "")
