"""Proxy in front of PostgreSQL that drops requests, or acknowledgements of commits."""

import asyncio
import re
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import URL
from typing_extensions import override

from adapters.testing.template_databases import open_server, with_driver
from tests.drills.faults.proxy import CHUNK, HOST, Pipe, Proxy

ACK_DROPPED = "acknowledgement dropped"
REQUEST_DROPPED = "request dropped"
_COMMITTED = re.compile(rb"C....(?:COMMIT|(?:INSERT 0|UPDATE|DELETE|SELECT) [1-9]\d*)\0.*Z\0\0\0\x05I\Z", re.DOTALL)
"""CommandComplete and then ReadyForQuery outside a transaction (PostgreSQL, "Frontend/Backend Protocol").

The server sends both in one piece. SELECT is the tag of a statement `WITH … AS (INSERT …)`, and of reads.
"""


@dataclass(slots=True, kw_only=True)
class PostgresProxy(Proxy):
    """Cuts connections at these shares of the acknowledgements and of the requests."""

    server: URL
    drop_ack_share: float = 0.0
    drop_request_share: float = 0.0

    def url(self, driver: str) -> URL:
        return with_driver(self.server, driver).set(host=HOST, port=self.port, query={"sslmode": "disable"})

    @override
    async def serve_client(self, client: Pipe) -> None:
        with closing(Pipe(*await open_server(self.server))) as server:
            pumps = [asyncio.create_task(pump(client, server)) for pump in (self._send_requests, self._send_responses)]
            try:
                done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in done:
                    pump.result()
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    async def _send_requests(self, client: Pipe, server: Pipe) -> None:
        while data := await client.reader.read(CHUNK):
            if self.strikes(self.drop_request_share):
                raise self.cut(REQUEST_DROPPED)
            await server.send(data)

    async def _send_responses(self, client: Pipe, server: Pipe) -> None:
        while data := await server.reader.read(CHUNK):
            if _COMMITTED.search(data) and self.strikes(self.drop_ack_share):
                raise self.cut(ACK_DROPPED)
            await client.send(data)
