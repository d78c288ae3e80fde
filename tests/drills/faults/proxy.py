"""Base of the proxies: a thread with an event loop, connections that can be cut, and a count of cuts."""

import asyncio
import contextlib
import random
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import cast

HOST = "127.0.0.1"
CHUNK = 65_536
STOP_SECONDS = 10


@dataclass(slots=True)
class Pipe:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def cut(self) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Send the bytes, and wait while the peer reads slowly."""
        self.writer.write(data)
        await self.writer.drain()


class ConnectionCutError(Exception):
    """Raised to abort both sides of a connection."""


@dataclass(slots=True)
class Proxy(ABC):
    """A proxy on a free port. It injects faults only if `armed`, and counts them by kind in `cuts`."""

    seed: str
    armed: bool = False
    port: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(init=False)
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - the same faults for the same seed

    @abstractmethod
    async def connect(self) -> Pipe:
        """Connect to the server behind the proxy."""

    @abstractmethod
    async def pass_on(self, client: Pipe, server: Pipe) -> None:
        """Forward data until one side closes. Raises ConnectionCutError to abort both."""

    def cut(self, kind: str) -> ConnectionCutError:
        """Count a fault and return the error that aborts the connection."""
        self.cuts[kind] += 1
        return ConnectionCutError(kind)

    async def serve(self, started: Future[None], stop: asyncio.Event) -> None:
        """Accept connections until `stop` is set."""
        server = await asyncio.start_server(self._accept, HOST, 0)
        async with server:
            self.port = int(server.sockets[0].getsockname()[1])
            started.set_result(None)
            await stop.wait()
            for task in list(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._open.add(task)
        client = Pipe(reader, writer)
        try:
            with contextlib.suppress(ConnectionCutError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._joined(client)
        finally:
            client.cut()
            self._open.discard(task)

    async def _joined(self, client: Pipe) -> None:
        server = await self.connect()
        try:
            await self.pass_on(client, server)
        finally:
            server.cut()


@contextlib.contextmanager
def running(proxy: Proxy) -> Iterator[None]:
    loop, stop, started = asyncio.new_event_loop(), asyncio.Event(), Future[None]()

    def serve() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(proxy.serve(started, stop))

    thread = threading.Thread(target=serve, name=type(proxy).__name__, daemon=True)
    thread.start()
    started.result(STOP_SECONDS)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STOP_SECONDS)
