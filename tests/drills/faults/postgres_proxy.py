"""Between the service and PostgreSQL: loses the acknowledgement of what is stored, or the request to store it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from tests.drills.faults.postgres_wire import (
    CANCEL_REQUEST,
    GSSAPI_REQUEST,
    REFUSED,
    TLS_REQUEST,
    Conversation,
    Messages,
    opening,
)
from tests.drills.faults.proxy import CHUNK, HOST, Pipe, Proxy, first_of

UNACKNOWLEDGED = "acknowledgement of what is stored lost"
UNASKED = "request to store lost"


@dataclass(slots=True, kw_only=True)
class PostgresProxy(Proxy):
    """Cuts connections of a server's at that share of what they store."""

    server: URL
    unacknowledged: float = 0.0
    unasked: float = 0.0

    def url(self, driver: str) -> URL:
        """Return the database's URL through the proxy."""
        tls = {"ssl": "disable"} if driver == "asyncpg" else {"sslmode": "disable"}
        through = self.server.set(drivername=f"postgresql+{driver}", host=HOST, port=self.port, query={})
        return through.update_query_dict(tls)

    async def connect(self) -> Pipe:
        """See `Proxy.connect`."""
        host = str(self.server.host or self.server.query.get("host", HOST))
        port = int(self.server.port or str(self.server.query.get("port", 5432)))
        if host.startswith("/"):
            return Pipe(*await asyncio.open_unix_connection(Path(host) / f".s.PGSQL.{port}"))
        return Pipe(*await asyncio.open_connection(host, port))

    async def pass_on(self, client: Pipe, server: Pipe) -> None:
        """See `Proxy.pass_on`."""
        if await _open(client, server) == CANCEL_REQUEST:
            await server.reader.read()  # the server does what it can, and hangs up
            return
        talk = Conversation()
        await first_of(
            asyncio.create_task(self._ask(client, server, talk)),
            asyncio.create_task(self._answer(client, server, talk)),
        )

    async def _ask(self, client: Pipe, server: Pipe, talk: Conversation) -> None:
        messages = Messages()
        while data := await client.reader.read(CHUNK):
            ready = []
            for message in messages.feed(data):
                if talk.asks_to_store(message) and self._strikes(self.unasked):
                    raise self.cut(UNASKED)
                ready.append(message.raw)
            await server.send(b"".join(ready))

    async def _answer(self, client: Pipe, server: Pipe, talk: Conversation) -> None:
        messages = Messages()
        while data := await server.reader.read(CHUNK):
            ready = []
            for message in messages.feed(data):
                if talk.has_stored(message) and self._strikes(self.unacknowledged):
                    raise self.cut(UNACKNOWLEDGED)
                ready.append(message.raw)
            await client.send(b"".join(ready))

    def _strikes(self, share: float) -> bool:
        return self.armed and self.chance.random() < share


async def _open(client: Pipe, server: Pipe) -> int:
    """Pass on what the connection begins with, and return its code; encryption is refused as a plain server does."""
    while True:
        head = await client.reader.readexactly(8)
        missing, code = opening(head)
        if code not in {TLS_REQUEST, GSSAPI_REQUEST}:
            await server.send(head + await client.reader.readexactly(missing))
            return code
        await client.send(REFUSED)
