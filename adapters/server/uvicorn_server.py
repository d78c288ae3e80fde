"""The HTTP server of one process."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import structlog
import uvicorn

from adapters.asgi import create_container
from adapters.cli.console import print_status
from adapters.container import Container
from adapters.server.systemd import notify_ready
from adapters.settings import Settings

DRAIN_TIMEOUT_SECONDS = 10
"""The time limit of requests in progress during a shutdown."""

BACKLOG = 2048

ACCEPTS_PER_ITERATION = 16
"""Connections accepted per event-loop iteration. libuv accepts one per listener, and iterations are long under load."""

GC_GENERATION_0_THRESHOLD = 10_000
"""New objects before a collection, instead of 700. Reference counting frees nearly all of them earlier."""

FORCED_CLOSE_SECONDS = 0.05

Started = Callable[["Server"], Awaitable[None]]


def create_server(settings: Settings, on_started: Started) -> "Server":
    """Return a server of the API. `on_started` is awaited when it accepts requests."""
    container = create_container(settings)
    config = uvicorn.Config(
        container.app(),
        loop="uvloop",
        http=container.protocol(),
        ws="none",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        proxy_headers=False,  # the client address is not used
        server_header=False,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_SECONDS,
    )
    return Server(config, container, on_started)


@contextmanager
def bound_sockets(host: str, port: int) -> Iterator[Sequence[socket.socket]]:
    """Yield sockets for all addresses of the host, `::` with those of IPv4. Raises OSError with the address.

    They do not listen yet, so that clients are rejected until the service is ready.
    """
    sockets: list[socket.socket] = []
    with ExitStack() as stack:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            addresses = dict.fromkeys((family, address) for family, *_, address in found)
            for family, address in addresses:
                sockets.append(bound := stack.enter_context(socket.socket(family, socket.SOCK_STREAM)))
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    is_dual = address[0] == "::" and len(addresses) == 1
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual)
                bound.bind((address[0], sockets[0].getsockname()[1] or port, *address[2:]))
        except OSError as error:
            raise _listen_error(host, port, (error.strerror or str(error)).lower()) from error
        yield sockets


def _listen_error(host: str, port: int, reason: str) -> OSError:
    address = f"[{host}]" if ":" in host else host
    return OSError(f"cannot listen on {address}:{port}: {reason}. See HEXAPOST_HOST and HEXAPOST_PORT.")


def serve_in_process(settings: Settings, sockets: Sequence[socket.socket], header: str | None) -> int:
    """Serve in this process until SIGINT or SIGTERM, and return the exit status. `header` is for a sample request.

    SIGHUP has no effect, because a restart of the only process would lose requests.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logger = structlog.get_logger("hexapost.server")

    async def on_started(_: Server) -> None:
        ignored = partial(logger.warning, "SIGHUP ignored; a rolling restart needs --workers 2 or more")
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, ignored)
        print_startup_hint(sockets, header)
        notify_ready()

    return create_server(settings, on_started).serve_until_signal(sockets)


def print_startup_hint(sockets: Sequence[socket.socket], header: str | None) -> None:
    """Print the address of the documentation, and a sample request with this header."""
    host, port = sockets[0].getsockname()[:2]
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print_status(f"serving; documentation at {base}/docs")
    if header is not None:
        user = '{"email": "ada@example.org", "full_name": "Ada Lovelace"}'
        print_status(f"try: curl {base}/api/v1/users -H {header} -H 'Content-Type: application/json' -d '{user}'")


def _tune_garbage_collector() -> None:
    """Exclude all existing objects from garbage collection, and collect the others rarely.

    A full collection blocks all requests: it took 80 ms for the 150,000 objects of the libraries, and 40 ms once a
    second for the objects of 2,500 connections.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_GENERATION_0_THRESHOLD, 10, 10)


class Server(uvicorn.Server):
    """A server that reports itself as not ready at the start of its shutdown."""

    def __init__(self, config: uvicorn.Config, container: Container, on_started: Started) -> None:
        super().__init__(config)
        self.container = container
        self._on_started = on_started
        self._failed_addresses: list[tuple[str, int]] = []
        self.background_task: asyncio.Task[None] | None = None
        """A background task of the worker: it reports when the server is ready."""

    def serve_until_signal(self, sockets: Sequence[socket.socket]) -> int:
        """Serve on the sockets until SIGINT or SIGTERM, and return the exit status. Raises OSError for a busy port."""
        try:
            self.run(list(sockets))
        except (KeyboardInterrupt, SystemExit):
            # uvicorn raises the signal again after a regular shutdown, and SystemExit if it could not start.
            return 0 if self.started and self.should_exit else 1
        for host, port in self._failed_addresses:
            raise _listen_error(host, port, "address already in use")
        return 0 if self.started else 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the server, and call `on_started`."""
        addresses = {bound: bound.getsockname()[:2] for bound in sockets or ()}
        await super().startup(sockets=sockets)
        # Two services that start now can bind one port, but only one can listen. uvloop closes the socket of the other.
        self._failed_addresses = [address for bound, address in addresses.items() if bound.fileno() < 0]
        if self._failed_addresses:
            self.should_exit = True
        elif self.started:
            await self._accept_in_batches()
            _tune_garbage_collector()
            await self._on_started(self)

    async def _accept_in_batches(self) -> None:
        """Add listeners to each socket, to accept several connections per event-loop iteration."""
        loop, config = asyncio.get_running_loop(), self.config
        made: Callable[[], asyncio.Protocol]
        made = partial(config.http_protocol_class, config, self.server_state, self.lifespan.state)  # type: ignore[call-arg]
        for listener in [listener for server in self.servers for listener in server.sockets]:
            for _ in range(ACCEPTS_PER_ITERATION - 1):
                again = socket.socket(fileno=os.dup(listener.fileno()))
                self.servers.append(await loop.create_server(made, sock=again, backlog=config.backlog))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Report not ready, stop accepting connections, and complete the requests in progress."""
        self.container.readiness().mark_draining()
        abort_timer = asyncio.get_running_loop().call_later(FORCED_CLOSE_SECONDS, self._abort_remaining_connections)
        await super().shutdown(sockets=sockets)
        abort_timer.cancel()

    def _abort_remaining_connections(self) -> None:
        # Connections that were accepted during the call of `shutdown`.
        for connection in list(self.server_state.connections):
            connection.shutdown()
