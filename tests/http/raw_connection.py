"""The application on a port, and raw connections to it."""

import asyncio
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from typing_extensions import override
from uvicorn import Config
from uvicorn.server import ServerState

from adapters.http.middleware.admission import AdmissionController
from adapters.http.middleware.http_protocol import BoundedHttpProtocol, bounded_protocol
from adapters.http.middleware.request_limits import HeaderLimits, RequestLimits
from tests.http.support import ADMIN_KEY, Api, Json, check_problem, serving
from tests.support.polling import wait_until

PATIENCE = 30.0
SEND_BUFFER = 65_536
"""Bytes per connection; by default the kernel keeps megabytes, and a slow reader is noticed late."""
LIMITS = HeaderLimits(max_headers=10, max_header_bytes=2000)
QUICK = replace(LIMITS, timeout=0.05)
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = (
    b"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: %s\r\n"
    % ADMIN_KEY.encode()
)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
LAST = GET + b"Connection: close\r\n\r\n"


@dataclass(frozen=True)
class RawConnection:
    """A server on a port."""

    api: Api
    port: int
    state: ServerState
    received: Counter[tuple[str, int]]
    """The number of bytes that the server has received from each client address."""

    async def open(self, first: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; `first` is sent before the server accepts the connection and starts its timers."""
        client = socket.create_connection(("127.0.0.1", self.port))
        client.sendall(first)
        client.setblocking(False)
        return await asyncio.open_connection(sock=client)

    async def send_and_read(self, *pieces: bytes) -> bytes:
        """Send each piece after the server received the one before; return all responses until it disconnects."""
        reader, writer = await self.open(b"".join(pieces[:1]))
        client, sent = writer.get_extra_info("sockname"), len(b"".join(pieces[:1]))

        def can_send() -> bool:
            return self.received[client] == sent or reader.at_eof() or writer.is_closing()

        for piece in pieces[1:]:
            await wait_until(can_send)
            sent += len(piece)
            writer.write(piece)
            await writer.drain()
        response = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        return response

    async def problem(self, *pieces: bytes) -> Json:
        """Send the pieces; check the last response and return its problem."""
        return self.check(await self.send_and_read(*pieces))

    def check(self, response: bytes) -> Json:
        """Check that the last response is a problem that closes the connection, and return the problem."""
        last = [found.start() for found in STATUS.finditer(response)][-1]
        head, _, body = response[last:].partition(b"\r\n\r\n")
        lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
        status, event = int(head.split()[1]), self.api.log[-1]
        parsed = httpx.Response(status, headers=[(name, value) for name, value in lines], content=body)
        problem = check_problem(parsed, event["status"], parsed.json()["type"].removeprefix("/problems/"))
        assert parsed.headers["connection"] == "close"
        assert parsed.headers["x-content-type-options"] == "nosniff"
        assert problem["request_id"] == event["request_id"]
        return problem

    @property
    def connections(self) -> list[BoundedHttpProtocol]:
        return [one for one in self.state.connections if isinstance(one, BoundedHttpProtocol)]

    def shut_down(self) -> None:
        """Shut down all connections, as a server that stops."""
        for connection in list(self.state.connections):
            connection.shutdown()

    def abort(self) -> None:
        """Abort all connections."""
        for connection in self.connections:
            connection._transport.abort()


class CountingProtocol(BoundedHttpProtocol):
    """Counts the bytes that it receives."""

    received: Counter[tuple[str, int]]

    @override
    def data_received(self, data: bytes) -> None:
        assert self.client is not None
        self.received[self.client] += len(data)
        super().data_received(data)


@asynccontextmanager
async def listening(
    head: HeaderLimits = LIMITS,
    request: RequestLimits | None = None,
    admission: AdmissionController | None = None,
    *,
    write_timeout: float = 20.0,
    keep_alive: float = PATIENCE,
    **options: Any,
) -> AsyncIterator[RawConnection]:
    admission = admission or AdmissionController()
    async with serving(limits=request, admission=admission, **options) as api:
        config = Config(api.app, ws="none", log_config=None)
        config.timeout_keep_alive = keep_alive  # type: ignore[assignment] # seconds of `loop.call_later`
        config.load()
        state = ServerState()
        received = Counter[tuple[str, int]]()
        bounded = bounded_protocol(head, write_timeout=write_timeout)
        protocol = type("TestedProtocol", (CountingProtocol, bounded), {"received": received})
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        server = await loop.create_server(lambda: protocol(config, state, {}), sock=listener)
        wire = RawConnection(api, listener.getsockname()[1], state, received)
        try:
            yield wire
        finally:
            server.close()
            wire.abort()
