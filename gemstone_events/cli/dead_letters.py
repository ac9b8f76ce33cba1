"""``gemstone dead-letters``: what was given up, and what to do about it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import rich_click as click

from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.connections import choose_store, opened_store, store_options
from gemstone_events.cli.messages import structured
from gemstone_events.cli.output import console, pretty, print_json, print_table
from gemstone_events.logs import printable, printable_lines
from gemstone_events.names import check_pattern
from gemstone_events.store.port import DeadLetter, EventStore
from gemstone_events.strict_json import JsonValue

_BATCH = 500
_Result = TypeVar("_Result")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_event_option = click.option("--event", "pattern", metavar="PATTERN", default="#", help="Only events that match this.")
_all_option = click.option("--all", "is_all", is_flag=True, help="Take all, or all that match --event.")
_ids_argument = click.argument("letter_ids", nargs=-1, metavar="[ID ...]")


@click.group("dead-letters")
def dead_letters() -> None:
    """See to events that could not be handled.

    \b
    Examples:
      gemstone dead-letters list
      gemstone dead-letters show 0198c0de-7a5e-7c3b-a1f0-2b9d6e4c8f11
      gemstone dead-letters redrive --all --event 'order.*'
    """


@dead_letters.command("list", cls=Command)
@store_options
@_event_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", default=100, show_default=True, help="How many.")
@_json_option
def list_letters(store: str | None, service: str | None, pattern: str, limit: int, as_json: bool) -> None:
    """List dead letters, the newest first."""
    check_pattern(pattern)
    letters = _with_store(store, service, lambda opened: opened.list_dead_letters(limit, pattern))
    if as_json:
        print_json([_summary(letter) for letter in letters])
        return
    if not letters:
        click.echo("no dead letters")
        return
    print_table(("ID", "DIED", "EVENT", "REASON", "ERROR"), [_row(letter) for letter in letters])


@dead_letters.command("show", cls=Command)
@click.argument("letter_id", metavar="ID")
@store_options
@_json_option
def show_letter(letter_id: str, store: str | None, service: str | None, as_json: bool) -> None:
    """Show all of one dead letter: attributes, body and traceback."""
    letter = _with_store(store, service, lambda opened: opened.get_dead_letter(letter_id))
    if letter is None:
        raise Failure(f"there is no dead letter {letter_id!r}")
    message = structured(letter.message)
    if as_json:
        print_json({**_summary(letter), "error": letter.error, "message": message})
        return
    body = message.pop("data", None) if "data" in message else letter.message.body.decode(errors="backslashreplace")
    message.pop("data_base64", None)
    facts = {"id": letter.id, "died": _time(letter), "reason": letter.reason, "attempts": str(letter.attempts)}
    facts["consumer"] = letter.key.consumer
    lines = [f"{name:<10}{printable(value)}" for name, value in facts.items()]
    lines += ["", "event", *(f"  {printable(name):<18}{printable(str(value))}" for name, value in message.items())]
    lines += ["", "body", printable_lines(pretty(body)), "", "error", printable_lines(letter.error)]
    console().print("\n".join(lines))


@dead_letters.command("redrive", cls=Command)
@_ids_argument
@_all_option
@_event_option
@store_options
@_json_option
def redrive_letters(
    letter_ids: Sequence[str], is_all: bool, pattern: str, store: str | None, service: str | None, as_json: bool
) -> None:
    """Have dead letters handled again, with all their attempts; a running instance takes them within seconds."""
    _check_choice(letter_ids, is_all, pattern)

    async def work(opened: EventStore) -> tuple[int, int]:
        return await _for_each_batch(opened, letter_ids, pattern, opened.redrive)

    done, found = _with_store(store, service, work)
    if as_json:
        print_json({"redriven": done, "found": found})
    else:
        click.echo(f"{done} redriven")
    if done < found:
        raise Failure(f"{found - done} cannot be redriven: they carry no event id. See them with 'dead-letters list'")


@dead_letters.command("purge", cls=Command)
@_ids_argument
@_all_option
@_event_option
@store_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json_option
def purge_letters(
    letter_ids: Sequence[str],
    is_all: bool,
    pattern: str,
    store: str | None,
    service: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete dead letters for ever."""
    _check_choice(letter_ids, is_all, pattern)
    which = f"all dead letters of events that match {pattern}" if is_all else f"{len(letter_ids)} dead letters"
    if not yes and not click.confirm(f"Delete {which} for ever?", err=True):
        raise Failure("nothing was deleted")

    async def work(opened: EventStore) -> tuple[int, int]:
        return await _for_each_batch(opened, letter_ids, pattern, opened.purge_dead_letters)

    done, _ = _with_store(store, service, work)
    if as_json:
        print_json({"purged": done})
    else:
        click.echo(f"{done} purged")


def _with_store(store: str | None, service: str | None, work: Callable[[EventStore], Awaitable[_Result]]) -> _Result:
    async def run() -> _Result:
        async with opened_store(choose_store(store, service)) as opened:
            return await work(opened)

    return asyncio.run(run())


async def _for_each_batch(
    store: EventStore,
    letter_ids: Sequence[str],
    pattern: str,
    action: Callable[[Sequence[str]], Awaitable[int]],
) -> tuple[int, int]:
    """Act on the named letters or else on all that match; return how many were done and found."""
    if letter_ids:
        unknown = [letter_id for letter_id in letter_ids if await store.get_dead_letter(letter_id) is None]
        if unknown:
            raise Failure(f"nothing was done, for there is no dead letter {', '.join(map(repr, unknown))}")
        return await action(letter_ids), len(set(letter_ids))
    done = 0
    seen: set[str] = set()
    while True:
        batch = [letter.id for letter in await store.list_dead_letters(_BATCH, pattern)]
        fresh = [letter_id for letter_id in batch if letter_id not in seen]
        if not fresh:
            return done, len(seen)
        seen.update(fresh)
        done += await action(fresh)


def _check_choice(letter_ids: Sequence[str], is_all: bool, pattern: str) -> None:
    check_pattern(pattern)
    if bool(letter_ids) is is_all:
        raise click.UsageError("give the IDs of dead letters, or --all")
    if letter_ids and pattern != "#":
        raise click.UsageError("--event goes with --all")


def _summary(letter: DeadLetter) -> dict[str, JsonValue]:
    return {
        "id": letter.id,
        "time": _time(letter),
        "event": letter.message.type,
        "event_id": letter.message.id,
        "consumer": letter.key.consumer,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "error": _last_line(letter.error),
    }


def _row(letter: DeadLetter) -> Sequence[str]:
    died = datetime.fromtimestamp(letter.time).strftime("%Y-%m-%d %H:%M")
    return letter.id, died, letter.message.type or "-", letter.reason, _last_line(letter.error)


def _time(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.time, UTC).isoformat(timespec="seconds")


def _last_line(error: str) -> str:
    return (error.strip().splitlines() or [""])[-1]
