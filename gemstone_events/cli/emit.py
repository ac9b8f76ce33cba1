"""``gemstone emit``: one event, by hand."""

import asyncio
import sys
from collections.abc import Sequence

import rich_click as click

from gemstone_events.cli.arguments import Seconds, is_pair, read_json, read_pairs
from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.connections import choose_transport, opened_transport, point_out_new_bus, transport_options
from gemstone_events.cli.output import print_json
from gemstone_events.codec import MAX_BODY_BYTES, encode
from gemstone_events.event import Event, new_id
from gemstone_events.message import Message
from gemstone_events.strict_json import JsonValue
from gemstone_events.transport import Outcome, Transport

_WHY = {
    Outcome.REFUSED: "the transport did not take the event; it can be emitted again",
    Outcome.UNKNOWN: "it is not known whether the transport took the event; if it is emitted again, give the same --id",
}


@click.command(cls=Command)
@click.argument("name")
@click.argument("body", nargs=-1, metavar="[BODY | KEY=VALUE ...]")
@transport_options
@click.option("--work", is_flag=True, help="Put it into the work queue of this name: one subscriber in all gets it.")
@click.option("--source", metavar="NAME", default="gemstone-cli", show_default=True, help="Who emits it.")
@click.option("--id", "event_id", metavar="ID", help="Its id, to emit the same event again; by default a new one.")
@click.option(
    "--timeout",
    type=Seconds(0, min_open=True),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="How long to wait for the confirm.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the event's attributes as JSON instead of its id.")
def emit(
    name: str,
    body: Sequence[str],
    transport: str | None,
    namespace: str | None,
    work: bool,
    source: str,
    event_id: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Emit one event.

    Its id is printed once the transport has confirmed it. BODY is JSON, '-' reads it from standard input, and
    key=value pairs make an object, whose values are JSON where they parse and text where they do not. Without a body
    it is null.

    \b
    Examples:
      gemstone emit order.placed id=42 customer=Ada
      gemstone emit order.placed '{"id": 42, "lines": [1, 2]}'
      gemstone emit invoice.print id=42 --work --transport amqp://localhost
    """
    event = Event(id=event_id or new_id(), type=name, source=source, data=_read_body(body))
    message = encode(event, broadcast=not work)
    chosen = choose_transport(transport, namespace, timeout)
    point_out_new_bus(chosen)
    asyncio.run(_publish(chosen, message))
    if as_json:
        attributes = {"id": event.id, "type": name, "source": source, "time": event.time.isoformat()}
        print_json({**attributes, "broadcast": not work, "transport": chosen.address})
    else:
        print(event.id)


async def _publish(transport: Transport, message: Message) -> None:
    async with opened_transport(transport):
        outcome = (await transport.publish([message]))[0]
        if outcome is not Outcome.CONFIRMED:
            detail = transport.status().detail
            reason = f"{_WHY[outcome]} ({detail})" if detail else _WHY[outcome]
            raise Failure(f"not confirmed, {outcome.value}: {reason}. Its id is {message.id}")


def _read_body(texts: Sequence[str]) -> JsonValue:
    if not texts:
        return None
    if len(texts) == 1 and texts[0] == "-":
        return read_json(sys.stdin.buffer.read(MAX_BODY_BYTES + 1), "standard input")
    if len(texts) == 1 and not is_pair(texts[0]):
        return read_json(texts[0], "BODY")
    return read_pairs(texts)
