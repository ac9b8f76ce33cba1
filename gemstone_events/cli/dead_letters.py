"""``gemstone dead-letters``: what was given up, and what to do about it."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import rich_click as click

from gemstone_events.cli.command import Command, Failure
from gemstone_events.cli.connections import choose_store, choose_stores, opened_store, store_options
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
    """List dead letters, the newest first: of all services, unless one is chosen."""
    check_pattern(pattern)
    letters = asyncio.run(_newest(choose_stores(store, service), limit, pattern))
    if as_json:
        print_json([_summary(owner, letter) for owner, letter in letters])
        return
    if not letters:
        click.echo("no dead letters")
        return
    rows = [_row(owner, letter) for owner, letter in letters]
    print_table(("ID", "SERVICE", "DIED", "EVENT", "REASON", "ERROR"), rows)


@dead_letters.command("show", cls=Command)
@click.argument("letter_id", metavar="ID")
@store_options
@_json_option
def show_letter(letter_id: str, store: str | None, service: str | None, as_json: bool) -> None:
    """Show all of one dead letter: attributes, body and traceback."""
    owner, letter = asyncio.run(_find(choose_stores(store, service), letter_id))
    message = structured(letter.message)
    if as_json:
        print_json({**_summary(owner, letter), "error": letter.error, "message": message})
        return
    body = message.pop("data", None) if "data" in message else letter.message.body.decode(errors="backslashreplace")
    message.pop("data_base64", None)
    facts = {"id": letter.id, "died": _time(letter), "reason": letter.reason, "attempts": str(letter.attempts)}
    facts |= {"service": owner or "-", "consumer": letter.key.consumer}
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
        return await for_each_batch(opened, letter_ids, pattern, opened.redrive)

    done, found = _with_store(store, service, work)
    if as_json:
        print_json({"redriven": done, "found": found})
    else:
        click.echo(f"{done} redriven")
    if done < found:
        raise Failure(f"{found - done} could not be redriven. What is left shows 'gemstone dead-letters list'")


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
    if not yes:
        _ask(f"Delete {which} for ever?")

    async def work(opened: EventStore) -> tuple[int, int]:
        return await for_each_batch(opened, letter_ids, pattern, opened.purge_dead_letters)

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


async def _newest(stores: Mapping[str, EventStore], limit: int, pattern: str) -> list[tuple[str, DeadLetter]]:
    found: list[tuple[str, DeadLetter]] = []
    for owner, store in stores.items():
        async with opened_store(store) as opened:
            found += [(owner, letter) for letter in await opened.list_dead_letters(limit, pattern)]
    return sorted(found, key=lambda pair: pair[1].time, reverse=True)[:limit]


async def _find(stores: Mapping[str, EventStore], letter_id: str) -> tuple[str, DeadLetter]:
    for owner, store in stores.items():
        async with opened_store(store) as opened:
            if (letter := await opened.get_dead_letter(letter_id)) is not None:
                return owner, letter
    raise Failure(f"there is no dead letter {letter_id!r}")


def _ask(question: str) -> None:
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        print(file=sys.stderr)
        raise Failure("nothing was deleted, for nobody answered: give --yes")
    if answer.strip().lower() not in ("y", "yes"):
        raise Failure("nothing was deleted")


async def for_each_batch(
    store: EventStore,
    letter_ids: Sequence[str],
    pattern: str,
    action: Callable[[Sequence[str]], Awaitable[int]],
) -> tuple[int, int]:
    """Act on the named letters or else on all that match, but for those that die meanwhile.

    Returns:
        How many were done, and how many were found.

    Raises:
        Failure: one that is named does not exist; then nothing was done.
    """
    if letter_ids:
        unknown = [letter_id for letter_id in letter_ids if await store.get_dead_letter(letter_id) is None]
        if unknown:
            raise Failure(f"nothing was done, for there is no dead letter {', '.join(map(repr, unknown))}")
        return await action(letter_ids), len(set(letter_ids))
    done, limit, newest = 0, _BATCH, 0.0
    seen: set[str] = set()
    while True:
        letters = await store.list_dead_letters(limit, pattern)
        if not seen:
            newest = max((letter.time for letter in letters), default=0.0)
        # What was redriven may be given up again at once; without a bound this could go on for ever.
        fresh = [letter.id for letter in letters if letter.id not in seen and letter.time <= newest]
        if fresh:
            seen.update(fresh)
            done += await action(fresh)
        elif len(letters) < limit:
            return done, len(seen)
        else:
            limit *= 2  # these all stay, and the next come after them


def _check_choice(letter_ids: Sequence[str], is_all: bool, pattern: str) -> None:
    check_pattern(pattern)
    if bool(letter_ids) is is_all:
        raise click.UsageError("give the IDs of dead letters, or --all")
    if letter_ids and pattern != "#":
        raise click.UsageError("--event goes with --all")


def _summary(owner: str, letter: DeadLetter) -> dict[str, JsonValue]:
    return {
        "id": letter.id,
        "service": owner or None,
        "time": _time(letter),
        "event": letter.message.type,
        "event_id": letter.message.id,
        "consumer": letter.key.consumer,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "error": _last_line(letter.error),
    }


def _row(owner: str, letter: DeadLetter) -> Sequence[str]:
    died = datetime.fromtimestamp(letter.time).strftime("%Y-%m-%d %H:%M")
    return letter.id, owner or "-", died, letter.message.type or "-", letter.reason, _last_line(letter.error)


def _time(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.time, UTC).isoformat(timespec="seconds")


def _last_line(error: str) -> str:
    return (error.strip().splitlines() or [""])[-1]
