"""The HTTP server of one process, over a container."""

import asyncio
import gc
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.metadata import version

import uvicorn

from adapters.cli.output import report
from adapters.cli.secrets import cursor_secret, key_peppers
from adapters.container import Container
from adapters.settings import Settings
from adapters.telemetry.metrics import shared_directory

DRAIN_SECONDS = 10
"""Longest time for the requests under way when the process is told to stop."""

BACKLOG = 2048

ACCEPTED_IN_A_TURN = 16
"""Connections accepted in a turn of the event loop, which is long under load: libuv accepts one for each listener."""

YOUNG_OBJECTS = 10_000
"""New objects at which the garbage collector looks at once, instead of 700: nearly all go by themselves before."""

STRAGGLER_SECONDS = 0.05

Started = Callable[["Server"], Awaitable[None]]


def made_server(settings: Settings, when_started: Started) -> "Server":
    """Return a server of the API; `when_started` is awaited as soon as it takes requests."""
    container = Container(
        settings=settings,
        cursor_secret=cursor_secret(settings),
        peppers=key_peppers(settings),
        version=version("hexapost"),
        figures=shared_directory(),
    )
    config = uvicorn.Config(
        container.app(),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=container.protocol(),
        ws="none",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        proxy_headers=False,  # nothing here asks where a client is
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return Server(config, container, when_started)


def announce(address: tuple[str, int], header: str | None) -> None:
    """Say where the documentation is, and what to try with this header."""
    host, port = address
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    report(f"serving; documentation at {base}/docs")
    if header is not None:
        user = '{"email": "ada@example.org", "full_name": "Ada Lovelace"}'
        report(f"try: curl {base}/api/v1/users -H {header} -H 'Content-Type: application/json' -d '{user}'")


def _collect_rarely() -> None:
    """Have the garbage collector never look again at what is there now, and rarely at all else that is alive.

    A full collection holds up all requests: of the 150,000 objects of the libraries it took 80 ms, and of what belongs
    to 2,500 connections 40 ms, once a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)


class Server(uvicorn.Server):
    """A server that is ready no more as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, container: Container, when_started: Started) -> None:
        super().__init__(config)
        self.container = container
        self._when_started = when_started
        self.telling: asyncio.Task[None] | None = None
        """What goes on beside it, such as to tell when it is ready."""

    def serve_until_told(self, sockets: Sequence[socket.socket] = ()) -> int:
        """Serve until SIGINT or SIGTERM, on these sockets if there are any; return the exit status."""
        try:
            self.run(list(sockets) or None)
        except (KeyboardInterrupt, SystemExit):
            # The server has stopped in order and raises again the signal that asked it to, or it could not start.
            return 0 if self.started and self.should_exit else 1
        return 0 if self.started else 1

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return host, port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and let others know."""
        await super().startup(sockets=sockets)
        if self.started:
            await self._listen_more()
            _collect_rarely()
            await self._when_started(self)

    async def _listen_more(self) -> None:
        """Listen to each socket again and again, to accept more than one connection in a turn of the event loop."""
        loop, config = asyncio.get_running_loop(), self.config
        made: Callable[[], asyncio.Protocol]
        made = partial(config.http_protocol_class, config, self.server_state, self.lifespan.state)  # type: ignore[call-arg]
        for listener in [listener for server in self.servers for listener in server.sockets]:
            for _ in range(ACCEPTED_IN_A_TURN - 1):
                again = socket.socket(fileno=os.dup(listener.fileno()))
                self.servers.append(await loop.create_server(made, sock=again, backlog=config.backlog))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop in order: be ready no more, accept nothing more, and end what is under way."""
        self.container.readiness().drain()
        stragglers = asyncio.get_running_loop().call_later(STRAGGLER_SECONDS, self._end_stragglers)
        await super().shutdown(sockets=sockets)
        stragglers.cancel()

    def _end_stragglers(self) -> None:
        # What was accepted in the very moment in which the others were told.
        for connection in list(self.server_state.connections):
            connection.shutdown()
