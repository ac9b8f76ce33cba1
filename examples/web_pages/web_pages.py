"""Web pages beside the methods: templates, static files and request handlers of your own.

It serves until Ctrl-C. With ``--once`` it fetches its own pages, prints them and ends.
"""

import asyncio
import sys
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient

from gemstone_events import GemstoneCustomHandler, MicroService, exposed_method

HERE = Path(__file__).parent


class GuestPage(GemstoneCustomHandler):
    """A Tornado request handler; ``self.microservice`` is the service."""

    async def get(self, guest: str) -> None:
        assert isinstance(self.microservice, Guestbook)
        # Templates escape what they show, so a guest's name cannot bring HTML of its own.
        self.render("guest.html", guest=guest, greeting=self.microservice.greet(guest))


class Guestbook(MicroService):
    name = "guestbook"
    event_transports = ()  # no events
    event_store = "memory:"
    template_dir = str(HERE / "templates")
    static_dirs = (("/static", str(HERE / "static")),)
    extra_handlers = ((r"/guests/(\w+)", GuestPage),)  # the URL is a regular expression, as in Tornado

    @exposed_method()
    def greet(self, guest: str) -> str:
        return f"Good to see you, {guest}!"


async def fetch_once() -> None:
    async with Guestbook(port=0) as guestbook:
        for path in ("/guests/Ada", "/static/style.css"):
            response = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{guestbook.bound_port}{path}")
            print(f"GET {path}: {response.code} {response.headers['Content-Type']}\n{response.body.decode()}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--once"]:
        asyncio.run(fetch_once())
    else:
        print("open http://127.0.0.1:8000/guests/Ada")
        Guestbook().start()
