"""Another process on an SQLite store, for the tests: told what to do on its command line, it reports line by line."""

import asyncio
import os
import resource
import signal
import sys

from gemstone_events.errors import StoreError
from gemstone_events.message import Message
from gemstone_events.store.port import Changes, InboxKey, Statement
from gemstone_events.store.sqlite import SqliteStore


def report(line: str) -> None:
    """Write one whole line at once, so that a kill cannot leave half of it."""
    os.write(1, f"{line}\n".encode())


def unit(name: str, *, body: bytes = b"{}") -> Changes:
    """Return a unit that leaves a trace in three tables: two messages, a mark and a row of the author's."""
    return Changes(
        emitted=[Message({"id": f"{name}/{part}", "type": "a.b"}, body) for part in "ab"],
        handled=[InboxKey("c", name)],
        statements=[Statement("INSERT INTO traces VALUES (?)", (name,))] if name.endswith("0") else [],
    )


async def commit_for_ever(store: SqliteStore, prefix: str) -> None:
    """Commit from eight tasks and report what was acknowledged, until somebody kills this process."""

    async def work(task: int) -> None:
        number = 0
        while True:
            name = f"{prefix}-{task}-{number}"
            await store.commit(unit(name))
            report(name)
            number += 1

    await asyncio.gather(*(work(task) for task in range(8)))


async def wait_for_messages(store: SqliteStore, count: int) -> None:
    """Report the ids of messages as they come."""
    report("waiting")
    position = 0
    while count:
        await store.wait_emitted(position, 60.0)
        for recorded in await store.read_emitted(position, 100):
            position, count = recorded.position, count - 1
            report(recorded.message.id)


async def fill_up(store: SqliteStore, limit: int) -> None:
    """Commit until files may grow no more, then until they may again."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    number = 0
    try:
        while True:
            await store.commit(unit(f"n-{number}1", body=b"x" * 10_000))
            report(f"n-{number}1")
            number += 1
    except StoreError as error:
        report(f"{type(error).__name__} at n-{number}1")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.commit(unit("n-later1"))
    report("n-later1")


async def main(path: str, task: str, argument: str) -> None:
    """Open the store, and do it."""
    if task == "be nobody":
        os.setgroups([])
        os.setgid(int(argument))
        os.setuid(int(argument))
    store = SqliteStore(path)
    try:
        await store.open()
    except StoreError as error:
        report(f"{type(error).__name__}: {error}")
        return
    if task == "commit":
        await commit_for_ever(store, argument)
    elif task == "wait":
        await wait_for_messages(store, int(argument))
    elif task == "fill":
        await fill_up(store, int(argument))
    await store.close()
    report("done")


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    asyncio.run(main(*sys.argv[1:]))
