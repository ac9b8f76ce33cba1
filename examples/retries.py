"""What happens when a handler fails: it is tried again, and what cannot be mended by that becomes a dead letter."""

import asyncio

from gemstone_events import MicroService, RetryPolicy, event_handler


class CardRefusedError(Exception):
    """No further attempt will change it."""


class Payments(MicroService):
    name = "payments"
    port = None  # no HTTP
    event_transports = ("memory://example",)
    event_store = "memory:"

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0
        self.is_paid = asyncio.Event()

    # By default 5 attempts, the second after a second at most, then after up to twice as long each time.
    # Attempts to come are kept in the store, so a restart in between forgets none of them.
    @event_handler("payment.due", retry=RetryPolicy(attempts=5, first_delay=0.1, fatal=(CardRefusedError,)))
    async def pay(self, payment: dict[str, str]) -> None:
        if payment["card"] == "stolen":
            raise CardRefusedError("this card is stolen")
        self.attempts += 1
        print(f"attempt {self.attempts} to charge the {payment['card']} card")
        if self.attempts < 3:
            raise ConnectionError("the bank does not answer")
        self.is_paid.set()


async def main() -> None:
    async with Payments() as payments:
        await payments.emit_event("payment.due", {"card": "stolen"})
        await payments.emit_event("payment.due", {"card": "good"})
        await payments.is_paid.wait()
        # What was given up stays, whole and with its reason, until somebody redrives or purges it.
        for letter in await payments.store.list_dead_letters():
            error = letter.error.strip().splitlines()[-1]
            print(
                f"dead letter: {letter.message.body.decode()} is {letter.reason} after {letter.attempts} attempt: {error}"
            )


asyncio.run(main())
