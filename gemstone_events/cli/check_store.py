"""A store: its place on the disk, whether it is intact, and what waits in it."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from gemstone_events.adapters import make_store
from gemstone_events.cli.check_transport import check_encryption
from gemstone_events.cli.command import Failure
from gemstone_events.cli.connections import file_exists, opened_store, sqlite_file, store_option
from gemstone_events.cli.findings import Finding, ok, problem, warning
from gemstone_events.errors import GemstoneError
from gemstone_events.schemes import mask
from gemstone_events.store.port import EventStore

TIGHT_BYTES = 1024**3
FULL_BYTES = 100 * 1024**2

UNCLAIMED_SECONDS = 60.0
"""A service that runs takes what is due within seconds."""

_COUNTED = 1000
_NAMED = 3
_RELAY = "relay:"
_MOUNTS = Path("/proc/self/mounts")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs")


async def check_store(
    store: str | EventStore, consumers: Sequence[str] = (), transports: Sequence[str] | None = None
) -> list[Finding]:
    """Examine a store.

    Args:
        store: its URL, or an unopened store.
        consumers: whose retries to look for.
        transports: the addresses that its relays serve; None where that is not known.
    """
    url = store if isinstance(store, str) else store.address
    shown = mask(url)
    file = sqlite_file(url)
    found: list[Finding] = []
    try:
        found += check_place(file, shown) if file is not None else check_encryption(url)
        if file is not None and not file_exists(file):
            return [*found, ok(shown, "does not exist yet: the service makes it when it first starts")]
        made = make_store(url) if isinstance(store, str) else store
        async with opened_store(made) as opened:
            return [*found, *await _check_content(opened, url, consumers, transports)]
    except (Failure, GemstoneError) as error:
        # What is wrong with a file says how to mend it.
        return [*found, problem(shown, str(error), "" if file is not None else "mend the URL, or the database")]


def check_place(file: Path, subject: str) -> Iterator[Finding]:
    """Examine the folder of a SQLite file: is there room, is it a local disk, can a new file be made in it.

    Whether a file that is there already may be written is told by opening it.

    Raises:
        Failure: this user may not look.
    """
    folder = file.absolute().parent
    while not file_exists(folder):
        folder = folder.parent
    if not file_exists(file) and not os.access(folder, os.W_OK | os.X_OK):
        yield problem(
            subject, f"{folder} may not be written by this user", f"chown or chmod {folder}, or move data_dir"
        )
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:.1f} GiB free in {folder}"
    if free < FULL_BYTES:
        yield problem(subject, detail, "free some room: without it nothing can be stored")
    elif free < TIGHT_BYTES:
        yield warning(subject, detail, "free some room")
    else:
        yield ok(subject, detail)
    kind = _file_system(folder)
    if kind in _NETWORK:
        yield problem(subject, f"{folder} is on a network file system ({kind})", "SQLite needs a local disk: move it")
    elif kind == "tmpfs":
        yield warning(
            subject, f"{folder} is in memory (tmpfs)", "put data_dir on a disk, or a restart loses everything"
        )


async def _check_content(
    store: EventStore, url: str, consumers: Sequence[str], transports: Sequence[str] | None
) -> list[Finding]:
    shown = mask(url)
    verdict = await store.check()
    intact = ok(shown, "opened, and intact")
    if verdict != "ok":
        intact = problem(shown, f"damaged: {verdict}", "stop its services and restore the last backup")
    found = [intact, await _check_dead_letters(store, url)]
    if not store.durable:
        found.append(warning(shown, "not durable: what it holds ends with the process", "use it for tests only"))
    if consumers:
        found.append(await _check_retries(store, shown, consumers))
    found += await _check_unclaimed(store, shown)
    return [*found, *await _check_relays(store, shown, transports)]


async def _check_dead_letters(store: EventStore, url: str) -> Finding:
    shown = mask(url)
    count = len(await store.list_dead_letters(_COUNTED))
    if not count:
        return ok(shown, "no dead letters")
    number = f"{count} or more" if count == _COUNTED else str(count)
    see = f"see 'gemstone dead-letters list {store_option(url)}'; redrive or purge them"
    return warning(shown, f"dead letters: {number}", see)


async def _check_retries(store: EventStore, shown: str, consumers: Sequence[str]) -> Finding:
    seconds = await store.seconds_to_next_retry(consumers)
    if seconds is None:
        return ok(shown, "no retries wait")
    if seconds > 0:
        return ok(shown, f"retries wait; the next is due in {seconds:.0f} s")
    return warning(shown, "a retry is due now", "it should be gone in a second; if not, start the service")


async def _check_unclaimed(store: EventStore, shown: str) -> list[Finding]:
    unclaimed = Counter(retry.key.consumer for retry in await store.find_unclaimed(UNCLAIMED_SECONDS, _COUNTED))
    if not unclaimed:
        return []
    whose = [f"{consumer} ({count})" for consumer, count in unclaimed.most_common(_NAMED)]
    whose += [f"{len(unclaimed) - _NAMED} more"] if len(unclaimed) > _NAMED else []
    detail = f"nobody takes the retries of {', '.join(whose)}"
    remedy = "start the service; what no handler of it takes is made dead letters after about an hour"
    return [warning(shown, detail, remedy)]


async def _check_relays(store: EventStore, shown: str, transports: Sequence[str] | None) -> list[Finding]:
    last = await store.last_position()
    names = (await store.checkpoints()).items()
    positions = {name.removeprefix(_RELAY): position for name, position in names if name.startswith(_RELAY)}
    found = []
    for address in sorted({*positions, *(transports or ())}):
        position = positions.get(address, 0)
        if transports is not None and address not in transports:
            found.append(ok(shown, f"the relay to {address} is not in use any more (at {position} of {last})"))
        elif position < last:
            detail = f"the relay to {address} is {last - position} positions behind ({position} of {last})"
            found.append(warning(shown, detail, "if the gap does not close while the service runs, look at the broker"))
        else:
            found.append(ok(shown, f"the relay to {address} has published everything (position {last})"))
    return found


def _file_system(folder: Path) -> str:
    """Return the kind of file system, or an empty string where this machine does not tell (it does on Linux)."""
    try:
        mounts = [line.split(" ") for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return ""
    resolved = folder.resolve()
    holding = [mount for mount in mounts if resolved.is_relative_to(mount[1].replace("\\040", " "))]
    return max(holding, key=lambda mount: len(mount[1]))[2] if holding else ""
