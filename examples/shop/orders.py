"""orders: takes orders, and follows what becomes of them. Run it: python orders.py; ``--help`` lists the settings."""

from gemstone_events import Event, MicroService, RpcError, event_handler, exposed_method


class Orders(MicroService):
    name = "orders"
    port = 8001

    async def on_service_start(self) -> None:
        # The service's own tables live in the same database as its log, so one commit covers both.
        self.unit_of_work.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, total INTEGER NOT NULL)")
        self.unit_of_work.execute("CREATE TABLE IF NOT EXISTS steps (order_id TEXT NOT NULL, step TEXT NOT NULL)")
        self.unit_of_work.execute("CREATE INDEX IF NOT EXISTS steps_of_order ON steps (order_id)")

    @exposed_method("orders.place")
    async def place(self, order: str, total: int) -> str:
        """Take an order. The caller chooses its id, so that a call whose answer got lost can simply be repeated."""
        if not await self.unit_of_work.query("SELECT 1 FROM orders WHERE id = ?", [order]):
            # Should the same order come twice at the same moment, the primary key refuses the whole second unit.
            self.unit_of_work.execute("INSERT INTO orders (id, total) VALUES (?, ?)", [order, total])
            # Stored with the row, in one transaction; published afterwards, whatever happens to this process.
            self.emit_event("order.placed", {"order": order, "total": total})
        return order

    @event_handler("invoice.issued")
    @event_handler("order.shipped")
    async def follow(self, body: dict[str, str], event: Event) -> None:
        self.unit_of_work.execute("INSERT INTO steps (order_id, step) VALUES (?, ?)", [body["order"], event.type])

    @exposed_method("orders.status")
    async def status(self, order: str) -> dict[str, object]:
        """Tell what has become of an order."""
        if not await self.unit_of_work.query("SELECT 1 FROM orders WHERE id = ?", [order]):
            raise RpcError("No such order", code=1001, data=order)
        steps = await self.unit_of_work.query("SELECT step FROM steps WHERE order_id = ? ORDER BY rowid", [order])
        return {"order": order, "steps": ["order.placed", *(step for (step,) in steps)]}

    @exposed_method("orders.count")
    async def count(self) -> dict[str, object]:
        """Count what was done: for each step its rows, and how many different orders they belong to."""
        rows = await self.unit_of_work.query(
            "SELECT 'order.placed', count(*), count(DISTINCT id) FROM orders "
            "UNION ALL SELECT step, count(*), count(DISTINCT order_id) FROM steps GROUP BY step"
        )
        return {str(step): {"rows": rows, "orders": orders} for step, rows, orders in rows}


if __name__ == "__main__":
    Orders().start()
