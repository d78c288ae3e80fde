"""The application on a port, and what is said on a connection to it."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from uvicorn import Config
from uvicorn.server import ServerState

from adapters.http.admission import Admission
from adapters.http.limits import HeadLimits, RequestLimits
from adapters.http.protocol import bounded_protocol
from tests.http.support import ADMIN_KEY, Api, Json, serving

PATIENCE = 30.0
LIMITS = HeadLimits(max_headers=10, max_header_bytes=2000)
QUICK = replace(LIMITS, timeout=0.1)
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = (
    b"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: %s\r\n"
    % ADMIN_KEY.encode()
)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
LAST = GET + b"Connection: close\r\n\r\n"


@dataclass(frozen=True)
class Wire:
    """A server on a port of its own."""

    api: Api
    port: int
    state: ServerState

    async def open(self, first: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; what is sent first is there before the server takes the connection, and any time begins."""
        client = socket.create_connection(("127.0.0.1", self.port))
        client.sendall(first)
        client.setblocking(False)
        return await asyncio.open_connection(sock=client)

    async def said(self, *pieces: bytes) -> bytes:
        """Send the pieces one by one, and return all that is answered until the server ends the connection."""
        reader, writer = await self.open(b"".join(pieces[:1]))
        for piece in pieces[1:]:
            await asyncio.sleep(0.01)
            writer.write(piece)
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        return answer

    async def problem(self, *pieces: bytes) -> Json:
        """Return the problem that is the last answer, after checking that it is one as all are."""
        return self.check(await self.said(*pieces))

    def check(self, answer: bytes) -> Json:
        head, _, body = (
            answer[[found.start() for found in STATUS.finditer(answer)][-1] :].decode().partition("\r\n\r\n")
        )
        status, *lines = head.split("\r\n")
        headers = dict(line.split(": ") for line in lines)
        problem: Json = json.loads(body)
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-request-id"] == problem["request_id"] == self.api.log[-1]["request_id"]
        assert int(status.split()[1]) == problem["status"] == self.api.log[-1]["status"]
        return problem


@asynccontextmanager
async def listening(
    head: HeadLimits = LIMITS,
    request: RequestLimits | None = None,
    admission: Admission | None = None,
    *,
    send_timeout: float = 20.0,
    keep_alive: int = 1,
) -> AsyncIterator[Wire]:
    admission = admission or Admission()
    async with serving(limits=request, admission=admission) as api:
        config = Config(api.app, ws="none", log_config=None, timeout_keep_alive=keep_alive)
        config.load()
        state = ServerState()
        protocol = bounded_protocol(head, admission, send_timeout=send_timeout)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
        try:
            yield Wire(api, server.sockets[0].getsockname()[1], state)
        finally:
            server.close()
            for connection in list(state.connections):
                connection.transport.abort()
