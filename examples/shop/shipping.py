"""shipping: packs a parcel for every order that is paid. Run it: python shipping.py

Packing is work: start this file a second time (``--port 0`` takes any free port) and the two share it.
"""

from gemstone_events import MicroService, RetryPolicy, event_handler, exposed_method


class Shipping(MicroService):
    name = "shipping"
    port = 8003

    async def on_service_start(self) -> None:
        self.unit_of_work.execute("CREATE TABLE IF NOT EXISTS parcels (order_id TEXT NOT NULL, packer TEXT NOT NULL)")

    @event_handler("invoice.issued")
    async def prepare(self, invoice: dict[str, str]) -> None:
        # broadcast=False: exactly one packer in all takes it, and it waits in the queue while there is none.
        self.emit_event("parcel.pack", {"order": invoice["order"]}, broadcast=False)

    @event_handler("parcel.pack", concurrency=4, retry=RetryPolicy(attempts=3))
    async def pack(self, parcel: dict[str, str]) -> None:
        self.unit_of_work.execute(
            "INSERT INTO parcels (order_id, packer) VALUES (?, ?)", [parcel["order"], self.instance_id]
        )
        self.emit_event("order.shipped", {"order": parcel["order"]})

    @exposed_method("shipping.count")
    async def count(self) -> dict[str, object]:
        """Count the parcels, and how many different orders they belong to."""
        ((rows, orders),) = await self.unit_of_work.query("SELECT count(*), count(DISTINCT order_id) FROM parcels")
        return {"rows": rows, "orders": orders}


if __name__ == "__main__":
    Shipping().start()
