"""A TCP proxy to PostgreSQL that can freeze: it accepts connections and forwards no data, or forwards it late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import URL

from adapters.testing.template_databases import open_server


class FreezingProxy:
    """Forwards data until it freezes."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._clients: list[asyncio.StreamWriter] = []
        self.held = 0
        """The number of connections with data that is not forwarded yet."""
        self._serving: set[asyncio.Task[None] | None] = set()

    @property
    def connections(self) -> int:
        """The number of connections of clients."""
        return len(self._serving)

    def freeze(self) -> None:
        """Stop forwarding on all connections."""
        self._flows.clear()

    def thaw(self) -> None:
        """Abort the frozen connections, and forward new ones."""
        self.close()
        self._flows.set()

    def reset_clients(self) -> Callable[[], None]:
        """Abort the frozen connections towards the clients, and forward new ones. The result sends the late data."""
        flows, self._flows = self._flows, asyncio.Event()
        self._flows.set()
        for client in self._clients:
            client.transport.abort()
        self._clients.clear()
        return flows.set

    def close(self) -> None:
        """Abort all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def end(self) -> None:
        """Abort all connections, and cancel their tasks."""
        self.close()
        tasks = [task for task in self._serving if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        self._serving.add(task)
        self._writers.append(writer)
        self._clients.append(writer)
        flows = self._flows
        try:
            await flows.wait()
            inner, outer = await open_server(self._url)
            self._writers.append(outer)
            await asyncio.gather(self._pass(reader, outer, flows), self._pass(inner, writer, flows))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._serving.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
        try:
            while data := await reader.read(65_536):
                self.held += 1
                await flows.wait()
                self.held -= 1
                writer.write(data)
            if not writer.is_closing():
                writer.write_eof()  # after the data, which `abort` could discard
        except OSError:
            writer.transport.abort()


@asynccontextmanager
async def proxied(url: URL) -> AsyncIterator[tuple[URL, FreezingProxy]]:
    """Yield the URL of the database through a proxy, and the proxy."""
    proxy = FreezingProxy(url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    query = {name: value for name, value in url.query.items() if name not in {"host", "port"}}
    try:
        yield url.set(host="127.0.0.1", port=port, query=query), proxy
    finally:
        server.close()
        await proxy.end()
