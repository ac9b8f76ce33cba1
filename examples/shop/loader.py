"""Places orders at the shop over HTTP, each until it was answered: the load of ``benchmarks/shop_chaos.py``.

It prints the number of accepted orders, again and again, and ends when all are. An order counts as accepted when its
call was answered with a result. A call that was not is repeated with the same order id.
"""

import argparse
import http.client
import json
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

CALL_SECONDS = 15.0
PAUSE_SECONDS = 0.05


class Progress:
    """The orders that are left to place, and how many were accepted; shared by the callers' threads."""

    def __init__(self, orders: int) -> None:
        self._lock = threading.Lock()
        self._left = iter(range(1, orders + 1))
        self._step = max(1, orders // 200)
        self._accepted = 0

    def names(self) -> Iterator[str]:
        """Yield orders that no other thread has taken."""
        while True:
            with self._lock:
                number = next(self._left, None)
            if number is None:
                return
            yield f"order-{number:06}"

    def accept(self) -> None:
        """Count an order, and print the count now and then."""
        with self._lock:
            self._accepted += 1
            if self._accepted % self._step == 0:
                self.report()

    def report(self) -> None:
        """Print the count."""
        print(self._accepted, flush=True)


class Caller:
    """One connection to the service, made anew whenever it breaks."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._connection: http.client.HTTPConnection | None = None

    def place(self, order: str) -> None:
        """Place an order, however many calls it takes."""
        while not self._try(order):
            self.close()
            time.sleep(PAUSE_SECONDS)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _try(self, order: str) -> bool:
        body = json.dumps({"jsonrpc": "2.0", "id": order, "method": "orders.place", "params": [order, 100]})
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._parts.netloc, timeout=CALL_SECONDS)
        try:
            self._connection.request("POST", self._parts.path, body, {"Content-Type": "application/json"})
            answer = json.loads(self._connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return False
        return isinstance(answer, dict) and answer.get("result") == order


def load(url: str, orders: int, callers: int) -> None:
    """Place ``orders`` orders over ``callers`` connections."""
    progress = Progress(orders)

    def work() -> None:
        caller = Caller(url)
        for name in progress.names():
            caller.place(name)
            progress.accept()
        caller.close()

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress.report()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Place orders at the shop until each has been answered.")
    parser.add_argument("url", help="where the service orders answers")
    parser.add_argument("orders", type=int, help="how many")
    parser.add_argument("--callers", type=int, default=32, help="connections (32)")
    arguments = parser.parse_args()
    load(arguments.url, arguments.orders, arguments.callers)
