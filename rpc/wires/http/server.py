"""An HTTP server for a service's application: listening, bounds per connection, and an orderly stop."""

import asyncio
import errno
import logging
import os
import resource
import socket
import ssl
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPMessageDelegate
from tornado.iostream import IOStream

from gemstone_events.cancellation import end
from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.wires.http.application import RpcApplication

_BACKLOG = 1024
_RESERVED_DESCRIPTORS = 128
_POLL_SECONDS = 0.01
_CLOSE_SECONDS = 1.0
_SWEEPS = 10
"""How often within ``answer_timeout`` is looked for answers that nobody takes."""
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_logger = logging.getLogger("gemstone_events.rpc.http")


class HttpServer:
    """Serves an application on one address.

    Args:
        application: what answers; its ``limits`` hold for the server.
        host: address or name to listen on.
        port: 0 takes a free one.
        tls: a server-side context, for HTTPS.

    The constructor opens nothing. ``start`` and ``stop`` belong to one event loop; a stopped server stays stopped.
    """

    def __init__(
        self, application: RpcApplication, *, host: str = "127.0.0.1", port: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._application = application
        self._host = host
        self._port = port
        self._tls = tls
        self._server: _BoundedServer | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that the server listens on; before ``start`` the one that was asked for."""
        return self._port

    async def start(self) -> None:
        """Listen.

        Raises:
            ServiceConfigurationError: the address cannot be listened on; the message says how to mend it.
        """
        try:
            sockets = await _listen(self._host, self._port)
        except (OSError, UnicodeError) as error:
            raise ServiceConfigurationError(_explain(error, self._host, self._port)) from error
        self._port = sockets[0].getsockname()[1]
        limits = self._application.limits
        self._server = _BoundedServer(
            self._application,
            ssl_options=self._tls,
            max_header_size=limits.header_bytes,
            idle_connection_timeout=limits.idle_timeout,
            max_body_size=limits.body_bytes,
        )
        self._server.bound(self._application, _room_for(limits.connections))
        self._server.add_sockets(sockets)
        self._watch = asyncio.get_running_loop().create_task(self._server.cut_off_stalled(limits.answer_timeout))

    async def stop(self, timeout: float = 10.0) -> bool:
        """Take no more connections and requests, let those that are in flight finish, and close.

        Every call whose body had come in whole is finished, also where its client is gone, so that no accepted
        notification is lost. Calls that need longer than ``timeout`` seconds are cancelled. Stopping twice is harmless,
        and where the first time was cut short, the second one ends it.

        Returns:
            True if everything was finished in time.
        """
        server = self._server
        if server is None:
            return True
        server.stop()
        in_flight = self._application.in_flight
        in_flight.draining = True
        drained = await server.drain(timeout)
        if not drained:
            _logger.warning("%d HTTP requests were not finished in %.1f s: cancelling them", len(in_flight), timeout)
            await in_flight.abandon()
        await end(self._watch)
        await self._application.lingering.close()
        await server.close_all_connections()
        self._server = None
        return drained


class _BoundedServer(HTTPServer):
    """Tornado's server, with a bound on its connections and a way to wait for them."""

    def bound(self, application: RpcApplication, connections: int) -> None:
        self._application = application
        self._max_connections = connections
        self._unread: dict[object, float] = {}

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        self._unread.pop(server_conn, None)  # Tornado reads on when the answer before is taken
        return super().start_request(server_conn, request_conn)

    async def cut_off_stalled(self, seconds: float) -> None:
        """Close connections whose clients do not take an answer in time; what still runs is not meant."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(seconds / _SWEEPS)
            for connection in list(self._connections):
                if self._application.in_flight.is_busy(connection) or not connection.stream.writing():
                    continue
                if clock() - self._unread.setdefault(connection, clock()) >= seconds:
                    _logger.warning("a connection was closed: its client did not take an answer in %.1f s", seconds)
                    connection.stream.close()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        if len(self._connections) + len(self._application.lingering) < self._max_connections:
            super().handle_stream(stream, address)
            return
        _logger.warning("a connection from %s was refused: %d are open", address[:1], self._max_connections)
        stream.write(_FULL)
        stream.close()

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        self._unread.pop(server_conn, None)
        self._application.in_flight.end(server_conn)

    async def close_all_connections(self) -> None:
        """Close all connections at once. Who is being authenticated still is not waited for for long."""
        closing = [asyncio.ensure_future(connection.close()) for connection in list(self._connections)]
        if closing:
            _, late = await asyncio.wait(closing, timeout=_CLOSE_SECONDS)
            await end(*late)

    async def drain(self, timeout: float) -> bool:
        """Close idle connections, and busy ones when they are done; tell whether all were done in time."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while True:
            for connection in list(self._connections):
                if not self._application.in_flight.is_busy(connection) and not connection.stream.writing():
                    await connection.close()
            if not self._connections and not len(self._application.in_flight):
                return True
            if clock() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets on one port of all addresses of a host, which for ``localhost`` are two."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, address[:2]) for family, _, _, _, address in found):
            try:
                listening = socket.create_server((address[0], port), family=family, backlog=_BACKLOG)
            except OSError as error:
                if error.errno in _NO_SUCH_ADDRESS and len(found) > 1:
                    continue  # as ::1 of localhost where IPv6 is off
                raise
            listening.setblocking(False)
            sockets.append(listening)
            port = listening.getsockname()[1]
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return sockets


def _room_for(connections: int) -> int:
    """Return how many connections the process has file descriptors for, if those are fewer."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY or descriptors - _RESERVED_DESCRIPTORS >= connections:
        return connections
    room = max(descriptors - _RESERVED_DESCRIPTORS, descriptors // 2)
    _logger.warning(
        "at most %d HTTP connections instead of %d: the process may open %d files only (ulimit -n)",
        room,
        connections,
        descriptors,
    )
    return room


def _explain(error: OSError | UnicodeError, host: str, port: int) -> str:
    no_address = f"{host!r} is no address of this machine: set host to one that is, as 127.0.0.1 or 0.0.0.0"
    if isinstance(error, UnicodeError):  # no name that DNS could have
        return no_address
    where = f"port {port} on {host!r}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program: stop that one, or choose another port (0 takes a free one)"
    if error.errno == errno.EACCES:
        return f"{where} may not be listened on: choose a port above 1023, or let a proxy listen there"
    if error.errno in _NO_SUCH_ADDRESS or isinstance(error, socket.gaierror):
        return no_address
    return f"{where} cannot be listened on: {error}"
