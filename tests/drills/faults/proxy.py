"""Base of the proxies: a thread with an event loop, connections that can be cut, and a count of cuts."""

import asyncio
import random
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
CHUNK = 65_536
STOP_SECONDS = 10


@dataclass(slots=True)
class Pipe:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
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

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - the same faults for the same seed

    @abstractmethod
    async def serve_client(self, client: Pipe) -> None:
        """Serve a client until one side closes. Raises ConnectionCutError to abort the connection."""

    def cut(self, kind: str) -> ConnectionCutError:
        """Count a fault and return the error that aborts the connection."""
        self.cuts[kind] += 1
        return ConnectionCutError(kind)

    def strikes(self, share: float) -> bool:
        """Return True for a random share of the calls, if the proxy is armed."""
        return self.armed and self.chance.random() < share

    async def serve(self, started: "Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
        """Accept connections until the event in the result of `started` is set."""
        server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = int(server.sockets[0].getsockname()[1])
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with (
            suppress(ConnectionCutError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError),
            closing(Pipe(reader, writer)) as client,
        ):
            await self.serve_client(client)


@contextmanager
def running(proxy: Proxy) -> Iterator[None]:
    """Run the proxy in a thread; the end of its event loop cancels the open connections."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve(started)), daemon=True)
    thread.start()
    loop, stop = started.result(STOP_SECONDS)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STOP_SECONDS)
