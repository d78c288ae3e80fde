"""Between a client and the service: loses requests and answers."""

import asyncio
import re
from dataclasses import dataclass

from tests.drills.faults.proxy import HOST, Pipe, Proxy

UNSENT = "request lost"
UNHEARD = "cut while it was at work"
UNANSWERED = "answer lost"
HALF = "answer lost half way"
FAULTS = (UNSENT, UNHEARD, UNANSWERED, HALF)

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)


@dataclass(slots=True, kw_only=True)
class HttpProxy(Proxy):
    """Cuts connections to a service at that share of its requests, each kind of fault as often as the others."""

    server_port: int
    share: float = 0.0

    async def connect(self) -> Pipe:
        """See `Proxy.connect`."""
        return Pipe(*await asyncio.open_connection(HOST, self.server_port))

    async def pass_on(self, client: Pipe, server: Pipe) -> None:
        """See `Proxy.pass_on`."""
        while True:
            request = await read_message(client.reader)
            fault = self.chance.choice(FAULTS) if self.armed and self.chance.random() < self.share else None
            if fault == UNSENT:
                raise self.cut(fault)
            await server.send(request)
            if fault == UNHEARD:
                raise self.cut(fault)
            answer = await read_message(server.reader)
            if fault == HALF:
                await client.send(answer[: self.chance.randrange(1, len(answer))])
            if fault is not None:
                raise self.cut(fault)
            await client.send(answer)


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Return a whole request or response that tells its length. Raises IncompleteReadError where one ends early."""
    head = await reader.readuntil(_END_OF_HEAD)
    length = _LENGTH.search(head)
    return head + await reader.readexactly(int(length[1])) if length else head
