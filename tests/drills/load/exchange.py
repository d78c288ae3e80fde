"""One keep-alive connection of a client's, over a bare socket: what comes of each request is told apart."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

ACKNOWLEDGED = "acknowledged"
"""Answered with 2xx."""
REFUSED = "refused"
"""Answered with another status. One of 5xx does not say that nothing was stored."""
UNKNOWN = "unknown"
"""Sent, and not answered: the connection was cut, or the time was up. It may have been done or not."""
UNSENT = "unsent"
"""There was no connection to send it on."""
CANCELLED = "cancelled"
"""Sent, and the client hung up before there was an answer. It may have been done or not."""
MISTAKEN = "mistaken"
"""Answered with 2xx, and with something else than was asked for."""

_END_OF_HEAD = b"\r\n\r\n"
_FIELD = re.compile(r"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a request; a status of 0 is none. The names of headers are in lower case."""

    outcome: str
    status: int
    headers: Mapping[str, str]
    body: str


def _nothing(outcome: str) -> Answer:
    return Answer(outcome=outcome, status=0, headers={}, body="")


class Connection:
    """Carries one request at a time, and connects again where that is needed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes, *, seconds: float) -> Answer:
        """Return what came of a request within that time."""
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await self._connected()
                try:
                    writer.write(request)
                    return await self._answer(reader)
                except (OSError, asyncio.IncompleteReadError, ValueError):
                    self.close()
                    return _nothing(UNKNOWN)
        except TimeoutError:
            outcome = UNSENT if self._streams is None else UNKNOWN
            self.close()
            return _nothing(outcome)
        except OSError:
            return _nothing(UNSENT)

    async def open(self) -> None:
        """Connect before the first request. Raises OSError when that fails."""
        await self._connected()

    def close(self) -> None:
        """End the connection; the next request makes a new one."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # A connection that was seen to end between two requests has lost none of them.
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[1].is_closing()):
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        return self._streams

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(_END_OF_HEAD)).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        headers = {name.lower(): value.strip() for name, value in _FIELD.findall(head)}
        body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
        if headers.get("connection", "").lower() == "close":
            self.close()
        outcome = ACKNOWLEDGED if 200 <= status < 300 else REFUSED
        return Answer(outcome=outcome, status=status, headers=headers, body=body)
