"""The embedded bus in SQL: queues, deliveries and claims in one file, as one transport of one process uses them.

Plain statements with a row per step are right here, measured: apsw gives up the GIL at every step, but a step of a few
microseconds has it back before a waiting thread wakes up. 100 rows read beside a busy event loop took 0.08 ms row by
row and 0.9 to 3.8 ms folded into one value by SQLite's JSON functions, whose one long step loses the GIL for sure.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import apsw

from gemstone_events.transport import Subscription
from gemstone_events.transports.embedded_file import BusFile
from gemstone_events.transports.embedded_topology import INSTANCE, WORK, Queue, QueueKey, Topology

LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.5

_UNKNOWN = Topology(-1, (), ())
_FREE = "FROM deliveries LEFT JOIN claims ON claims.delivery = deliveries.id WHERE claims.instance IS NULL"


class Row(NamedTuple):
    """A message on its way into the file; ``attributes`` is a JSON object."""

    event_name: str
    broadcast: bool
    attributes: str
    body: bytes


class Claimed(NamedTuple):
    """A delivery that this instance has claimed; ``redelivered`` is SQLite's 0 or 1."""

    id: int
    attributes: str
    body: bytes
    redelivered: int


class Bus:
    """What can be done with an open bus file. After an ``apsw.Error`` a method's transaction has changed nothing."""

    def __init__(self, file: BusFile, namespace: str, client: str) -> None:
        self._file = file
        self._namespace = namespace
        self._client = client
        self._topology = _UNKNOWN
        self._identity: object = None
        self.instance: int | None = None
        """This transport among the consumers of the file, once it is registered."""

    def attach(self) -> bool:
        """Get to know the file after it was opened; False where it is another one than before."""
        identity = self._file.db.execute("SELECT identity FROM bus").get
        is_known: bool = identity == self._identity
        if not is_known:
            self._identity = identity
            self._topology = _UNKNOWN
            self.instance = None  # another process may have this number in the new file
        return is_known

    def publish(self, rows: Sequence[Row]) -> set[int]:
        """Put each message into the queues that it belongs to, all or none, and return the instances to wake.

        When it returns, the messages are on the disk.

        Raises:
            CommitUncertainError: they may be in the file or not.
        """
        touched: set[int] = set()
        with self._transaction(durable=True) as db:
            self._refresh(db)
            for event_name in {row.event_name for row in rows if not row.broadcast}:
                if self._topology.work_queue(event_name) is None:
                    self._declare(db, QueueKey(WORK, "", event_name), None)
            self._refresh(db)
            placed = []
            for row in rows:
                for queue in self._route(row):
                    placed.append((queue, row.attributes, row.body))
                    touched.add(queue)
            db.executemany("INSERT INTO deliveries (queue, attributes, body) VALUES (?, ?, ?)", placed)
        return self._topology.consumers(touched)

    def register(self, subscriptions: Sequence[Subscription], in_hand: Collection[int]) -> list[int]:
        """Declare the subscriptions' queues, become their consumer and return the queues' ids, in the same order.

        It also brings an instance back that the others took for dead: under its old id, and with the claims on what it
        has ``in_hand`` that nobody else took over in the meantime. Claims on anything else are of a transaction whose
        outcome never became known, and are given back.
        """
        held = json.dumps(list(in_hand))
        with self._transaction(durable=True) as db:
            instance = db.execute(
                "INSERT INTO instances (id, client, process, expires_at) VALUES (?, ?, ?, unixepoch('subsec') + ?) "
                "ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at RETURNING id",
                (self.instance, self._client, os.getpid(), LEASE_SECONDS),
            ).get
            keys = [QueueKey.of(subscription) for subscription in subscriptions]
            queues = [self._declare(db, key, instance if key.kind == INSTANCE else None) for key in keys]
            consumers = [(queue, instance) for queue in queues]
            db.executemany("INSERT INTO consumers (queue, instance) VALUES (?, ?) ON CONFLICT DO NOTHING", consumers)
            db.execute(
                "UPDATE claims SET instance = ? WHERE instance IS NULL AND delivery IN (SELECT value FROM json_each(?))",
                (instance, held),
            )
            db.execute(
                "UPDATE claims SET instance = NULL "
                "WHERE instance = ? AND delivery NOT IN (SELECT value FROM json_each(?))",
                (instance, held),
            )
            self._refresh(db)
        self.instance = instance
        return queues

    def settle_and_claim(
        self, acked: Sequence[int], released: Sequence[int], wanted: Mapping[int, int]
    ) -> dict[int, list[Claimed]]:
        """Forget what was acked, give back what was released and claim up to ``wanted`` deliveries by queue.

        One transaction for all subscriptions, not synced to the disk: should the power fail, its loss means that some
        deliveries come a second time, which the inbox absorbs. Confirmed messages are not in danger: the sync of their
        own transaction covers everything before it.
        """
        if not acked and not released and not self._queues_with_free_deliveries(self._file.db, wanted):
            return {}
        with self._transaction(durable=False) as db:
            # An ack counts even if the claim went to another instance meanwhile: its outcome is durable.
            if acked:
                db.execute("DELETE FROM deliveries WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(acked),))
            if released:
                db.execute(
                    "UPDATE claims SET instance = NULL "
                    "WHERE instance = ? AND delivery IN (SELECT value FROM json_each(?))",
                    (self.instance, json.dumps(released)),
                )
            claimed: dict[int, list[Claimed]] = {}
            if self._is_registered(db):
                for queue in self._queues_with_free_deliveries(db, wanted):
                    claimed[queue] = self._claim(db, queue, wanted[queue])
            return claimed

    def stay_alive(self) -> bool:
        """Renew this instance's lease; False where the others had taken it for dead."""
        if self.instance is None:
            return True
        with self._transaction(durable=False) as db:
            db.execute(
                "UPDATE instances SET expires_at = unixepoch('subsec') + ? WHERE id = ?", (LEASE_SECONDS, self.instance)
            )
            return db.changes() == 1

    def bury_the_dead(self) -> list[int]:
        """Drop instances whose lease ran out, free their claims, drop their own queues, and return who they were."""
        if not self._file.db.execute(
            "SELECT EXISTS (SELECT 1 FROM instances WHERE expires_at < unixepoch('subsec'))"
        ).get:
            return []
        with self._transaction(durable=False) as db:
            rows = db.execute("DELETE FROM instances WHERE expires_at < unixepoch('subsec') RETURNING id").fetchall()
        return [cast(int, row[0]) for row in rows]

    def consumers(self, queues: Collection[int]) -> set[int]:
        """Return the instances that consume from any of the queues, as far as known."""
        return self._topology.consumers(queues)

    def data_version(self) -> int:
        """Return a number that changes when another connection has written to the file."""
        return cast(int, self._file.db.execute("PRAGMA data_version").get)

    def stop_consuming(self) -> None:
        """Have no consumer in the file any more, and keep the claims."""
        with self._transaction(durable=False) as db:
            db.execute("DELETE FROM consumers WHERE instance = ?", (self.instance,))

    def leave(self, acked: Sequence[int], released: Sequence[int]) -> set[int]:
        """Settle, give back every claim, drop this instance with its own queues; return the instances to wake."""
        if self.instance is None:
            return set()
        self.settle_and_claim(acked, released, {})
        with self._transaction(durable=False) as db:
            mine = "SELECT queue FROM deliveries JOIN claims ON claims.delivery = deliveries.id WHERE instance = ?"
            queues = [cast(int, row[0]) for row in db.execute(f"{mine} GROUP BY queue", (self.instance,))]
            db.execute("DELETE FROM instances WHERE id = ?", (self.instance,))
            self._refresh(db)
        return self._topology.consumers(queues)

    def probe(self, size: int) -> None:
        """Write and remove ``size`` bytes, to find out whether there is room again."""
        with self._transaction(durable=True) as db:
            db.execute("INSERT INTO probes VALUES (zeroblob(?))", (size,))
        with self._transaction(durable=False) as db:
            db.execute("DELETE FROM probes")

    @contextmanager
    def _transaction(self, *, durable: bool) -> Iterator[apsw.Connection]:
        try:
            with self._file.transaction(durable=durable) as db:
                yield db
        except BaseException:
            # It may hold queues that were rolled back, under a version that another process may now give to others.
            self._topology = _UNKNOWN
            raise

    def _route(self, row: Row) -> tuple[int, ...]:
        if row.broadcast:
            return self._topology.subscribers(row.event_name)
        queue = self._topology.work_queue(row.event_name)
        return () if queue is None else (queue,)

    def _declare(self, db: apsw.Connection, key: QueueKey, owner: int | None) -> int:
        db.execute(
            "INSERT INTO queues (namespace, kind, group_name, pattern, owner) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (self._namespace, *key, owner),
        )
        return cast(
            int,
            db.execute(
                "SELECT id FROM queues WHERE namespace = ? AND kind = ? AND group_name = ? AND pattern = ? "
                "AND ifnull(owner, 0) = ifnull(?, 0)",
                (self._namespace, *key, owner),
            ).get,
        )

    def _refresh(self, db: apsw.Connection) -> None:
        """Read the topology again if it has changed. Within a transaction, so that what it says holds until its end."""
        version = db.execute("SELECT topology FROM bus").get
        if version == self._topology.version:
            return
        queues = db.execute(
            "SELECT id, kind, group_name, pattern, owner FROM queues WHERE namespace = ?", (self._namespace,)
        )
        consumers = db.execute("SELECT queue, instance FROM consumers")
        self._topology = Topology(
            version, [Queue(*row) for row in queues], cast(list[tuple[int, int]], consumers.fetchall())
        )

    def _is_registered(self, db: apsw.Connection) -> bool:
        return bool(db.execute("SELECT EXISTS (SELECT 1 FROM instances WHERE id = ?)", (self.instance,)).get)

    def _queues_with_free_deliveries(self, db: apsw.Connection, wanted: Mapping[int, int]) -> list[int]:
        queues = json.dumps([queue for queue, number in wanted.items() if number > 0])
        rows = db.execute(
            f"SELECT value FROM json_each(?) AS wanted WHERE EXISTS (SELECT 1 {_FREE} AND queue = wanted.value)",
            (queues,),
        )
        return [cast(int, row[0]) for row in rows.fetchall()]

    def _claim(self, db: apsw.Connection, queue: int, number: int) -> list[Claimed]:
        rows = db.execute(
            f"SELECT deliveries.id, attributes, body, claims.delivery IS NOT NULL {_FREE} AND queue = ? "
            "ORDER BY deliveries.id LIMIT ?",
            (queue, number),
        )
        claimed = [Claimed(*row) for row in cast(list[tuple[int, str, bytes, int]], rows.fetchall())]
        db.executemany(
            "INSERT INTO claims (delivery, instance) VALUES (?, ?) "
            "ON CONFLICT (delivery) DO UPDATE SET instance = excluded.instance",
            [(delivery.id, self.instance) for delivery in claimed],
        )
        return claimed
