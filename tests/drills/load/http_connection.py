"""Keep-alive HTTP connection of the load generator, over a plain socket."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

ACKNOWLEDGED = "acknowledged"
"""The response has status 2xx."""
REFUSED = "refused"
"""The response has another status. After a 5xx, the write may be stored or not."""
UNKNOWN = "unknown"
"""Sent without a response: connection aborted or timeout. The write may be stored or not."""
UNSENT = "unsent"
"""Connecting failed."""
CANCELLED = "cancelled"
"""Sent, and the client disconnected before the response. The write may be stored or not."""
MISMATCHED = "mismatched"
"""The response has status 2xx and the content of another request."""

IDLE_SECONDS = 2.0
"""Longest time between two requests of a connection: the service closes it after 5 s, perhaps during the next one."""
_END_OF_HEAD = b"\r\n\r\n"
_FIELD = re.compile(r"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Result of a request. Without a response, the status is 0. Header names are in lower case."""

    outcome: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


class Connection:
    """Sends one request at a time, and reconnects if needed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    async def exchange(self, request: bytes, *, seconds: float) -> Response:
        """Send a request and return its result within that time."""
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await self.connect()
                try:
                    writer.write(request)
                    return await self._answer(reader)
                except (OSError, asyncio.IncompleteReadError, ValueError):
                    self.close()
                    return Response(outcome=UNKNOWN)
        except TimeoutError:
            outcome = UNSENT if self._streams is None else UNKNOWN
            self.close()
            return Response(outcome=outcome)
        except OSError:
            return Response(outcome=UNSENT)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, unless the connection is open and was used a short time ago."""
        # If the server closed the connection between two requests, no request was lost.
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[1].is_closing()):
            self.close()
        if monotonic() - self._used >= IDLE_SECONDS:
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
            self._used = monotonic()
        return self._streams

    async def _answer(self, reader: asyncio.StreamReader) -> Response:
        head = (await reader.readuntil(_END_OF_HEAD)).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        headers = {name.lower(): value.strip() for name, value in _FIELD.findall(head)}
        body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
        self._used = monotonic()
        if headers.get("connection", "").lower() == "close":
            self.close()
        outcome = ACKNOWLEDGED if 200 <= status < 300 else REFUSED
        return Response(outcome=outcome, status=status, headers=headers, body=body)
