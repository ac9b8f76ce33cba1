"""billing: writes an invoice for every order that was placed. Run it: python billing.py"""

from gemstone_events import MicroService, event_handler, exposed_method


class Billing(MicroService):
    name = "billing"
    port = 8002

    async def on_service_start(self) -> None:
        # No key that would hide a second invoice for one order: what prevents it is the inbox of the framework.
        self.unit_of_work.execute(
            "CREATE TABLE IF NOT EXISTS invoices (order_id TEXT NOT NULL, total INTEGER NOT NULL)"
        )

    @event_handler("order.placed")
    async def write_invoice(self, order: dict[str, str | int]) -> None:
        # The row, the event and the mark that this order is done are committed together. Kill the process anywhere:
        # either all of it has happened, or nothing, and then the order comes again.
        self.unit_of_work.execute(
            "INSERT INTO invoices (order_id, total) VALUES (?, ?)", [order["order"], order["total"]]
        )
        self.emit_event("invoice.issued", {"order": order["order"], "total": order["total"]})

    @exposed_method("billing.count")
    async def count(self) -> dict[str, object]:
        """Count the invoices, and how many different orders they are for."""
        ((rows, orders),) = await self.unit_of_work.query("SELECT count(*), count(DISTINCT order_id) FROM invoices")
        return {"rows": rows, "orders": orders}


if __name__ == "__main__":
    Billing().start()
