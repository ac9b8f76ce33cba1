"""``gemstone describe``, ``generate-client`` and ``compat``, as people run them, and the documents over HTTP."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.integration.cli_process import ENVIRONMENT, SECONDS, Gemstone, fails
from tests.unit.description_checks import check_asyncapi_schema, check_openrpc_schema, check_references

ROOT = Path(__file__).parents[2]

DESK = '''
import datetime as dt
import enum
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal
from uuid import UUID

from marshmallow import Schema, fields

from gemstone_events import Container, MicroService, RpcError, event_handler, exposed_method


class OutOfStock(RpcError):
    code, message = 1001, "Out of stock"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Line:
    """One line of an order."""

    article: str
    count: int = 1
    colour: Colour = Colour.RED
    tags: list[str] = field(default_factory=list)


@dataclass
class Order:
    id: UUID
    lines: list[Line]
    total: Decimal
    placed: dt.datetime
    after: "Order | None" = None
    state: Literal["open", "paid"] = "open"


class PlacedSchema(Schema):
    id = fields.UUID(required=True)


class Stock(Container):
    @exposed_method("stock.count", idempotent=True)
    def count(self, *articles: str) -> dict[str, int]:
        """Count articles."""
        return {article: len(article) for article in articles}


class Desk(MicroService):
    """Takes "orders"."""

    name = "desk"
    version = "1.2.0"
    port = 0
    modules = [Stock()]
    event_schemas = {"order.placed": PlacedSchema}

    def authenticate_request(self, handler):
        return handler.request.headers.get("X-Key") == "sesame"

    @exposed_method("orders.place", raises=[OutOfStock], tags=["orders"])
    async def place(self, customer: str, lines: list[Line], note: str | None = None, after: Order | None = None) -> Order:
        """Place an order.

        Args:
            customer: who orders; C:\\\\new \\"""quotes\\""" are harmless.
        """
        if customer == "nobody":
            raise OutOfStock(data={"left": 0})
        placed = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
        return Order(UUID(int=7), lines, Decimal("1.50"), placed, after)

    @exposed_method("orders.note")
    def note(self, class_: int = 3, *, text: str = "none") -> str:
        return f"{class_} {text}"

    @exposed_method("list", private=True)
    def list_all(self) -> list[Order]:
        """Return all orders."""
        return []

    @event_handler("order.placed", schema=PlacedSchema)
    def ship(self, body):
        """Ship it."""
'''

USE = """
import asyncio
import sys

from desk_client import AsyncDesk, Desk, Line, Order
from gemstone_events.rpc.call_errors import AccessDeniedError, CalledServiceError

URL = sys.argv[1]


def block() -> Order:
    with Desk(URL) as desk:
        first = desk.orders_place("Ada", [Line(article="pen", count=2, colour="blue", tags=["x"]), Line(article="ink")])
        assert first.lines[0] == Line(article="pen", count=2, colour="blue", tags=["x"])
        assert (first.lines[1].count, first.lines[1].colour, first.lines[1].tags) == (1, "red", [])
        assert (first.id.int, str(first.total), first.placed.isoformat()) == (7, "1.50", "2024-01-02T00:00:00+00:00")
        second = desk.orders_place("Ada", [], after=first)
        assert second.after == first
        assert desk.orders_note() == "3 none"
        assert desk.orders_note(class_=4, text="x") == "4 x"
        assert desk.stock_count("pen", "i") == {"pen": 3, "i": 1}
        try:
            desk.orders_place("nobody", [])
        except CalledServiceError as error:
            assert (error.code, error.data) == (1001, {"left": 0})
        else:
            raise AssertionError("it was not refused")
        try:
            desk.list_()
        except AccessDeniedError:
            pass
        assert desk.with_options(headers={"X-Key": "sesame"}, timeout=9.0).list_() == []
        return first


async def use(first: Order) -> None:
    async with AsyncDesk(URL, headers={"X-Key": "sesame"}) as desk:
        assert await desk.list_() == []
        orders = await asyncio.gather(*(desk.orders_place("Ada", [], note=f"{n}") for n in range(3)))
        assert {order.id for order in orders} == {first.id}
        assert await desk.stock_count("pen") == {"pen": 3}


asyncio.run(use(block()))
print("done")
"""


WRONG = """
from desk_client import AsyncDesk, Desk, Line

desk = Desk("http://127.0.0.1:1/api")
number: int = desk.orders_note()  # type: ignore[assignment]
desk.orders_place(5, [])  # type: ignore[arg-type]
desk.orders_place("Ada", [Line(article="pen", colour="green")])  # type: ignore[arg-type]
desk.orders_place("Ada", []).lines[0].count.upper()  # type: ignore[attr-defined]


async def wait(desk: AsyncDesk) -> int:
    return await desk.orders_note()  # type: ignore[return-value]
"""


@pytest.fixture
def gemstone(tmp_path: Path) -> Iterator[Gemstone]:
    """The command, in a folder with the service ``desk``."""
    with Gemstone(tmp_path) as made:
        made.write("desk.py", DESK)
        yield made


@pytest.fixture
def desk(gemstone: Gemstone) -> str:
    """The URL of the service, running."""
    return gemstone.start("run", "desk.py").wait_for(r"desk is ready: (\S+);")[1]


def bus(gemstone: Gemstone) -> str:
    return f"sqlite:///{gemstone.folder / '.gemstone' / 'bus.db'}#desk"


def names(document: dict[str, Any]) -> list[str]:
    return [method["name"] for method in document["methods"]]


PUBLIC = ["get_service_specs", "orders.note", "orders.place", "stock.count"]


# describe


@pytest.mark.parametrize("target", ["desk", "desk:Desk", "desk.py"])
def test_a_service_is_described_without_being_started(gemstone: Gemstone, target: str) -> None:
    document = json.loads(gemstone("describe", target)[0])
    check_openrpc_schema(document)
    check_references(document)
    assert document["info"] == {"title": "desk", "version": "1.2.0", "description": 'Takes "orders".'}
    assert names(document) == ["get_service_specs", "list", "orders.note", "orders.place", "stock.count"]
    assert document["components"]["errors"]["OutOfStock"] == {"code": 1001, "message": "Out of stock"}
    assert not (gemstone.folder / ".gemstone").exists()


def test_a_module_is_described_alike_on_every_machine(gemstone: Gemstone) -> None:
    for kind in ("--openrpc", "--asyncapi"):
        here = gemstone("describe", "desk.py", kind)[0]
        there = {"GEMSTONE_PORT": "8123", "GEMSTONE_EVENT_TRANSPORTS": "sqlite:///elsewhere/bus.db"}
        assert gemstone("describe", "desk.py", kind, environment=there)[0] == here
        assert "servers" not in json.loads(here)


def test_a_running_service_describes_itself_on_every_wire(gemstone: Gemstone, desk: str) -> None:
    documents = [json.loads(gemstone("describe", url)[0]) for url in (desk, bus(gemstone))]
    assert documents[0] == documents[1]
    check_openrpc_schema(documents[0])
    assert names(documents[0]) == PUBLIC
    assert [server["url"] for server in documents[0]["servers"]] == [desk, "sqlite:///.gemstone/bus.db#desk"]


def test_a_running_service_is_described_by_its_name(gemstone: Gemstone, desk: str) -> None:
    by_url = gemstone("describe", bus(gemstone))
    (gemstone.folder / "desk.py").rename(gemstone.folder / "bureau.py")
    assert gemstone("describe", "desk") == by_url
    assert gemstone("describe", "de?k") == by_url
    assert "class AsyncDesk" in gemstone("generate-client", "desk")[0]
    gemstone.write("published.json", by_url[0])
    assert gemstone("compat", "published.json", "desk")[0] == "nothing that matters changed\n"
    assert "asked for over HTTP" in fails(gemstone, "describe", "desk", "--asyncapi")
    assert desk.startswith("http")


def test_a_name_is_a_service_that_runs_where_the_command_says_where_to_look(gemstone: Gemstone, desk: str) -> None:
    by_name = json.loads(gemstone("describe", "desk", "--broker=sqlite:///.gemstone/bus.db")[0])
    assert names(by_name) == PUBLIC
    assert "list" in names(json.loads(gemstone("describe", "desk")[0]))
    registry = gemstone.start("registry", "--port=0").wait_for(r"registry is ready: (\S+);")[1]
    gemstone("call", registry, "ping", "name=desk", f"url={desk}")
    assert json.loads(gemstone("describe", "desk", f"--registry={registry}")[0]) == by_name
    events = json.loads(gemstone("describe", "desk", f"--registry={registry}", "--asyncapi")[0])
    assert events == json.loads(gemstone("describe", desk, "--asyncapi")[0])


def test_what_is_neither_module_nor_service_is_told_with_all_ways(gemstone: Gemstone) -> None:
    for command in ("describe", "generate-client"):
        told = fails(gemstone, command, "nobody")
        assert "'nobody' is neither a module with a service (there is no module 'nobody'" in told
        assert "nor a service that runs (no service has used the bus " in told
        for way in ("module:Service", "file.py:Service", "URL, such as http://127.0.0.1:8000", "--registry"):
            assert way in told
    assert "there is no module" in fails(gemstone, "describe", "nobody:Nobody")
    assert "a service that runs" in fails(gemstone, "describe", "calendar")  # a module without a service


def test_private_methods_are_shown_to_callers_that_the_service_knows(gemstone: Gemstone, desk: str) -> None:
    for url in (desk, bus(gemstone), desk.replace("/api", "/openrpc.json")):
        document = json.loads(gemstone("describe", url, "--header", "X-Key: sesame")[0])
        assert "list" in names(document)
        assert "list" not in names(json.loads(gemstone("describe", url)[0]))


def test_who_gives_headers_and_is_shown_nothing_private_is_told(gemstone: Gemstone, desk: str) -> None:
    wrong, right = ("--header", "X-Key: simsalabim"), ("--header", "X-Key: sesame")
    told = "shows no private method: it has none, or does not accept the headers that were given\n"
    for url in (desk, bus(gemstone), desk.replace("/api", "/openrpc.json")):
        document, note = gemstone("describe", url, *wrong)
        assert names(json.loads(document)) == PUBLIC
        assert note == f"note: {url} {told}"
        assert gemstone("describe", url, *right)[1] == gemstone("describe", url)[1] == ""
    assert gemstone("generate-client", desk, *wrong)[1].endswith(told)
    assert gemstone("describe", desk, "--asyncapi", *wrong)[1] == ""
    assert gemstone("describe", "desk.py", *wrong)[1] == ""
    printed, note = gemstone("compat", "desk.py", desk, *wrong, status=1)
    assert "methods/list: the method is gone, or private and not shown to strangers" in printed
    assert note == f"note: {desk} {told}"


def test_events_are_described_by_module_and_by_url(gemstone: Gemstone, desk: str) -> None:
    static = json.loads(gemstone("describe", "desk.py", "--asyncapi")[0])
    running = json.loads(gemstone("describe", desk, "--asyncapi")[0])
    check_asyncapi_schema(static)
    check_references(static)
    assert running.pop("servers")["sqlite"]["pathname"] == "/.gemstone/bus.db"
    assert running == static
    assert list(static["operations"]) == ["send.order.placed", "receive.Desk.ship.order.placed"]


def test_a_document_goes_into_a_file(gemstone: Gemstone) -> None:
    printed, _ = gemstone("describe", "desk.py")
    assert gemstone("describe", "desk.py", "--output", "openrpc.json") == ("", "")
    assert (gemstone.folder / "openrpc.json").read_text() == printed


def test_what_cannot_be_described_is_said(gemstone: Gemstone, desk: str) -> None:
    assert "one document is printed" in fails(gemstone, "describe", "desk.py", "--openrpc", "--asyncapi", status=2)
    assert "asked for over HTTP" in fails(gemstone, "describe", bus(gemstone), "--asyncapi")
    assert "there is no file nothing.py" in fails(gemstone, "describe", "nothing.py")
    assert "HTTP 404" in fails(gemstone, "describe", desk.replace("/api", "/nothing.json"))
    assert "cannot be" in fails(gemstone, "describe", "http://127.0.0.1:9/api", "--asyncapi")
    assert "--header takes KEY:VALUE" in fails(gemstone, "describe", desk, "--header", "x", status=2)


# HTTP


def get(url: str, **headers: str) -> tuple[int, Message, Any]:
    try:
        with urlopen(Request(url, headers=headers), timeout=SECONDS) as response:
            return response.status, response.headers, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_the_documents_are_served_over_http(desk: str) -> None:
    status, headers, openrpc = get(desk.replace("/api", "/openrpc.json"))
    assert (status, headers["Content-Type"], names(openrpc)) == (200, "application/json", PUBLIC)
    assert headers["Cache-Control"] == "private, no-cache"
    again, _, nothing = get(desk.replace("/api", "/openrpc.json"), **{"If-None-Match": headers["Etag"]})
    assert (again, nothing) == (304, b"")
    status, _, asyncapi = get(desk.replace("/api", "/asyncapi.json"))
    check_asyncapi_schema(asyncapi)
    assert status == 200


def test_where_all_callers_have_to_be_known_so_have_those_who_ask_for_documents(gemstone: Gemstone) -> None:
    gemstone.write(
        "closed.py",
        "from desk import Desk\n\nclass Closed(Desk):\n    name = 'closed'\n    require_authentication = True\n",
    )
    url = gemstone.start("run", "closed.py:Closed").wait_for(r"closed is ready: (\S+);")[1]
    for path in ("/openrpc.json", "/asyncapi.json"):
        status, headers, _ = get(url.replace("/api", path))
        assert status == 401
        assert headers["WWW-Authenticate"]
        assert get(url.replace("/api", path), **{"X-Key": "sesame"})[0] == 200
    for target in ([url], [url, "--asyncapi"]):
        assert re.search("only (to )?callers that .* knows?: say who", fails(gemstone, "describe", *target))
        refused = fails(gemstone, "describe", *target, "--header=X-Key: simsalabim")
        assert refused.endswith(": it does not accept the headers that were given")
    assert "--header" in fails(gemstone, "describe", url, "--asyncapi")
    document = json.loads(gemstone("describe", url, "--header", "X-Key: sesame")[0])
    assert "list" in names(document)


# generate-client


def run(folder: Path, *command: str, **environment: str) -> str:
    """Run a Python program to its good end, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS * 3,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_generated_client_calls_the_service_over_every_wire(gemstone: Gemstone, desk: str) -> None:
    gemstone("generate-client", "desk.py", "--output", "desk_client.py")
    gemstone.write("use.py", USE)
    assert run(gemstone.folder, "use.py", desk) == "done\n"
    assert run(gemstone.folder, "use.py", bus(gemstone)) == "done\n"


def test_a_generated_client_passes_the_checks_of_its_users(gemstone: Gemstone) -> None:
    gemstone("generate-client", "desk.py", "--output", "desk_client.py")
    gemstone.write("use.py", USE)
    # Were a type Any, nothing would be wrong here, and mypy would complain that there is nothing to ignore.
    gemstone.write("wrong.py", WRONG)
    config = f"--config={ROOT / 'pyproject.toml'}"
    run(gemstone.folder, "-m", "ruff", "check", "--no-cache", config, "desk_client.py")
    run(gemstone.folder, "-m", "ruff", "format", "--no-cache", "--isolated", "--check", "desk_client.py")
    run(
        gemstone.folder,
        "-m",
        "mypy",
        "--strict",
        f"--cache-dir={os.devnull}",
        "--follow-imports=silent",
        "desk_client.py",
        "use.py",
        "wrong.py",
        MYPYPATH=str(ROOT),
    )


def test_the_same_client_comes_from_module_file_and_service(gemstone: Gemstone, desk: str) -> None:
    gemstone("describe", desk, "--header", "X-Key: sesame", "--output", "openrpc.json")
    printed = [
        gemstone("generate-client", *source)[0].replace(shown, "SOURCE")
        for source, shown in (
            (["desk.py"], "desk.py"),
            (["openrpc.json"], "openrpc.json"),
            ([desk, "--header", "X-Key: sesame"], desk),
        )
    ]
    assert "Source: SOURCE\n" in printed[0]
    assert printed[0] == printed[1] == printed[2]


def test_the_class_of_a_client_can_be_named(gemstone: Gemstone) -> None:
    assert "class Orders(BlockingClient):" in gemstone("generate-client", "desk.py", "--class-name", "Orders")[0]
    for wrong in ("a-b", "class", "1", "_x", "Ä"):
        assert "no name of a class" in fails(gemstone, "generate-client", "desk.py", "--class-name", wrong, status=2)


def test_a_client_needs_a_description(gemstone: Gemstone) -> None:
    gemstone.write("list.json", "[]")
    gemstone.write("broken.json", "{")
    gemstone.write("events.json", gemstone("describe", "desk.py", "--asyncapi")[0])
    gemstone.write("dangling.json", '{"openrpc": "1.3.2", "methods": [{"$ref": "#/nowhere"}]}')
    assert "list.json is no object" in fails(gemstone, "generate-client", "list.json")
    assert "broken.json is no JSON" in fails(gemstone, "generate-client", "broken.json")
    assert "events.json: it is no OpenRPC document" in fails(gemstone, "generate-client", "events.json")
    assert "refers to nothing" in fails(gemstone, "generate-client", "dangling.json")
    assert "missing.json cannot be read: No such file" in fails(gemstone, "generate-client", "missing.json")


# compat


def test_nothing_breaks_between_a_service_and_its_own_description(gemstone: Gemstone, desk: str) -> None:
    gemstone("describe", "desk.py", "--output", "openrpc.json")
    assert gemstone("compat", "openrpc.json", "desk.py") == ("nothing that matters changed\n", "")
    assert gemstone("compat", desk, "openrpc.json") == ("nothing that matters changed\n", "")
    assert gemstone("compat", "desk.py", desk, "--asyncapi") == ("nothing that matters changed\n", "")


def test_what_is_not_shown_to_strangers_may_only_be_hidden(gemstone: Gemstone, desk: str) -> None:
    gemstone("describe", "desk.py", "--output", "openrpc.json")
    told = "breaking methods/list: the method is gone, or private and not shown to strangers: ask with --header"
    for new in (desk, bus(gemstone)):
        assert gemstone("compat", "openrpc.json", new, status=1)[0].startswith(told)
        assert gemstone("compat", "openrpc.json", new, "--header=X-Key: sesame")[0] == "nothing that matters changed\n"
    gemstone("describe", desk, "--output", "seen.json")
    assert "methods/list: the method is gone\n" in gemstone("compat", "openrpc.json", "seen.json", status=1)[0]


def test_two_versions_of_one_module_are_told_to_be_described_first(gemstone: Gemstone) -> None:
    for folder in ("v2", "v3"):
        (gemstone.folder / folder).mkdir()
    gemstone.write("v2/desk.py", DESK)
    told = fails(gemstone, "compat", "desk.py", "v2/desk.py")
    assert told.endswith(
        "desk.py and v2/desk.py are both the module 'desk', of which one command can import one only: describe the older "
        "one into a file first, with gemstone describe desk.py --output old.json"
    )
    gemstone.write("v3/json.py", DESK)
    assert "rename the file" in fails(gemstone, "compat", "desk.py", "v3/json.py")


REFUSE = "readers that refuse what they do not know will fail"


def test_a_breaking_change_is_told_and_fails(gemstone: Gemstone) -> None:
    gemstone("describe", "desk.py", "--output", "old.json")
    changed = DESK.replace("count: int = 1", "count: int").replace('"stock.count", idempotent=True', '"stock.count"')
    gemstone.write("desk.py", changed.replace("class Line:\n", "class Line:\n    kind: str\n"))
    printed, error = gemstone("compat", "old.json", "desk.py", status=1)
    assert sorted(printed.splitlines()) == [
        "2 changes are breaking, 3 risky",
        "breaking methods/orders.place/params/lines/items/properties/count: is required now",
        "breaking methods/orders.place/params/lines/items/properties/kind: is new and required",
        f"risky methods/list/result/items/properties/lines/items/properties/kind: is new: {REFUSE}",
        "risky methods/stock.count/errors/-32004: the error is new: 'Outcome unknown'",
        "risky methods/stock.count: the method is not idempotent any more: nobody may repeat a call",
    ]
    assert error == ""
    found = json.loads(gemstone("compat", "old.json", "desk.py", "--json", status=1)[0])
    assert found["compatible"] is False
    assert {
        "path": "methods/orders.place/params/lines/items/properties/count",
        "message": "is required now",
        "breaking": True,
    } in found["changes"]


def test_what_is_only_risky_does_not_fail(gemstone: Gemstone) -> None:
    gemstone("describe", "desk.py", "--output", "old.json")
    gemstone.write(
        "desk.py", DESK.replace('"stock.count", idempotent=True', '"stock.count", idempotent=True, deprecated=True')
    )
    printed, _ = gemstone("compat", "old.json", "desk.py")
    assert printed == "risky methods/stock.count: the method is deprecated now\n0 changes are breaking, 1 risky\n"
    assert json.loads(gemstone("compat", "old.json", "desk.py", "--json")[0])["compatible"] is True


def test_files_say_whether_events_are_compared(gemstone: Gemstone) -> None:
    gemstone("describe", "desk.py", "--asyncapi", "--output", "old.json")
    gemstone.write("desk.py", DESK.replace("    event_schemas = {", "    event_schemas = {} and {"))
    printed, _ = gemstone("compat", "old.json", "desk.py", status=1)
    assert printed.startswith("breaking send/order.placed: the event is gone")


def test_what_cannot_be_compared_is_said(gemstone: Gemstone) -> None:
    gemstone("describe", "desk.py", "--output", "methods.json")
    gemstone("describe", "desk.py", "--asyncapi", "--output", "events.json")
    gemstone.write("neither.json", "{}")
    assert "two of a kind" in fails(gemstone, "compat", "methods.json", "events.json", status=2)
    assert "leave out --asyncapi" in fails(gemstone, "compat", "methods.json", "desk.py", "--asyncapi", status=2)
    assert "neither an OpenRPC nor an AsyncAPI" in fails(gemstone, "compat", "neither.json", "desk.py")


@pytest.mark.parametrize("words", ["describe", "generate-client", "compat"])
def test_the_commands_explain_themselves_with_examples(gemstone: Gemstone, words: str) -> None:
    printed, _ = gemstone(words, "--help")
    assert "Examples" in printed
    assert f"gemstone {words} " in printed


WILD = """
from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

from gemstone_events import MicroService, exposed_method

T = TypeVar("T")


class Film(TypedDict):
    title: str
    shown: NotRequired[dt.date]


class Seat(NamedTuple):
    row: int
    place: str = "a"


@dataclass
class Page(Generic[T]):
    items: list[T]
    next: Page[T] | None = None


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclass
class Plain:
    x: int


@dataclass
class Rich(Plain):
    y: int = 0


@dataclass
class Everything:
    kinds: ClassVar[int] = 1
    place: tuple[int, str] = (1, "a")
    either: int | str | None = None
    day: dt.date | dt.datetime | None = None
    access: Access = Access.READ | Access.WRITE
    note: str | None = "x"
    field: str = "f"
    other: list[Plain | Rich] = dataclasses.field(default_factory=list)


class Wild(MicroService):
    name = "wild"
    port = 0

    @exposed_method("keep")
    def keep(self, value: Everything) -> Everything:
        return value

    @exposed_method("films")
    def films(self, page: Page[Film], best: Film | None = None) -> Page[Film]:
        return Page([*page.items, *([best] if best else [])], page)

    @exposed_method("seats")
    def seats(self, *seats: Seat) -> Page[Seat]:
        return Page(list(seats))

    @exposed_method("pick")
    def pick(self, key: str) -> int | str | None:
        return {"one": 1}.get(key)

    @exposed_method("total")
    def total(self, first: int, *more: int, factor: int = 1) -> int:
        return (first + sum(more)) * factor
"""

USE_WILD = """
import datetime as dt
import sys

from wild_client import Everything, Film, PageFilm, Rich, Seat, Wild

with Wild(sys.argv[1]) as wild:
    first = wild.keep(Everything())
    assert (first.place, first.either, first.access, first.note) == ((1, "a"), None, 3, "x")
    for day in (dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3)):
        sent = Everything(day=day, note=None, either="a", field_="g", other=[Rich(x=1, y=2)])
        kept = wild.keep(sent)
        assert (kept.day, kept.note, kept.either, kept.field_) == (day, None, "a", "g")
        assert type(kept.day) is type(day)
        assert kept.other == [Rich(x=1, y=2)]
    page = PageFilm(items=[Film(title="a", shown=dt.date(2026, 1, 2))])
    films = wild.films(page, Film(title="b"))
    assert (films.items, films.next) == ([*page.items, Film(title="b")], page)
    assert films.items[1].shown is None
    assert wild.seats(Seat(row=1), Seat(row=2, place="b")).items[1].place == "b"
    assert (wild.pick("one"), wild.pick("two")) == (1, None)
    assert wild.total(1, 2, 3) == 6
print("done")
"""


def test_services_of_the_odder_hints_are_described_and_called_by_their_clients(gemstone: Gemstone) -> None:
    gemstone.write("wild.py", WILD)
    check_openrpc_schema(json.loads(gemstone("describe", "wild.py")[0]))
    gemstone("generate-client", "wild.py", "--output", "wild_client.py")
    gemstone.write("use_wild.py", USE_WILD)
    url = gemstone.start("run", "wild.py").wait_for(r"wild is ready: (\S+);")[1]
    assert run(gemstone.folder, "use_wild.py", url) == "done\n"
    assert run(gemstone.folder, "use_wild.py", bus(gemstone).replace("#desk", "#wild")) == "done\n"
    assert gemstone("compat", url, "wild.py")[0] == "nothing that matters changed\n"
    mypy = ["-m", "mypy", "--strict", f"--cache-dir={os.devnull}", "--follow-imports=silent"]
    run(gemstone.folder, *mypy, "wild_client.py", "use_wild.py", MYPYPATH=str(ROOT))


def test_schemas_that_are_nested_too_deeply_cannot_be_compared(gemstone: Gemstone) -> None:
    for name in ("old", "new"):
        schemas: dict[str, object] = {"s5000": {"type": "string" if name == "old" else "integer"}}
        for number in range(5000):
            schemas[f"s{number}"] = {"properties": {"next": {"$ref": f"#/components/schemas/s{number + 1}"}}}
        method = {"name": "m", "params": [{"name": "p", "schema": {"$ref": "#/components/schemas/s0"}}]}
        gemstone.write(
            f"{name}.json", json.dumps({"openrpc": "1.3.2", "methods": [method], "components": {"schemas": schemas}})
        )
    assert "too deeply" in fails(gemstone, "compat", "old.json", "new.json")
