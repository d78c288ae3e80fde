"""Proxy in front of the service that drops requests and responses."""

import asyncio
import re
from contextlib import closing
from dataclasses import dataclass

from typing_extensions import override

from tests.drills.faults.proxy import HOST, Pipe, Proxy

REQUEST_DROPPED = "request dropped"
CUT_DURING_REQUEST = "connection cut during the request"
RESPONSE_DROPPED = "response dropped"
RESPONSE_TRUNCATED = "response truncated"
FAULTS = (REQUEST_DROPPED, CUT_DURING_REQUEST, RESPONSE_DROPPED, RESPONSE_TRUNCATED)

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)


@dataclass(slots=True, kw_only=True)
class HttpProxy(Proxy):
    """Cuts connections at a share of the requests, with each kind of fault equally often."""

    server_port: int
    share: float = 0.0

    @override
    async def serve_client(self, client: Pipe) -> None:
        with closing(Pipe(*await asyncio.open_connection(HOST, self.server_port))) as server:
            while True:
                request = await read_message(client.reader)
                fault = self.chance.choice(FAULTS) if self.strikes(self.share) else None
                if fault == REQUEST_DROPPED:
                    raise self.cut(fault)
                await server.send(request)
                if fault == CUT_DURING_REQUEST:
                    raise self.cut(fault)
                response = await read_message(server.reader)
                if fault == RESPONSE_TRUNCATED:
                    await client.send(response[: self.chance.randrange(1, len(response))])
                if fault is not None:
                    raise self.cut(fault)
                await client.send(response)


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Read a request or response with Content-Length. Raises IncompleteReadError if it ends early."""
    head = await reader.readuntil(_END_OF_HEAD)
    length = _LENGTH.search(head)
    return head + await reader.readexactly(int(length[1])) if length else head
