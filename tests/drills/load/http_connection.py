"""Keep-alive HTTP connection of the load generator, as a protocol of the event loop."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import cast

from typing_extensions import override

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
_LENGTH = re.compile(r"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
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
        self._open: _OpenConnection | None = None
        self._used = 0.0

    async def exchange(self, request: bytes, *, seconds: float) -> Response:
        """Send a request and return its result within that time."""
        due = monotonic() + seconds
        try:
            async with asyncio.timeout(seconds):
                connection = await self.connect()
        except OSError:  # also a timeout
            self.close()
            return Response(outcome=UNSENT)
        try:
            head, body = await connection.exchange(request, due - monotonic())
            response = _parse(head, body)
        except (OSError, ValueError):
            self.close()
            return Response(outcome=UNKNOWN)
        self._used = monotonic()
        if response.headers.get("connection", "").lower() == "close":
            self.close()
        return response

    def close(self) -> None:
        if self._open is not None:
            self._open.abort()
            self._open = None

    async def connect(self) -> "_OpenConnection":
        """Connect, unless the connection is open and was used a short time ago."""
        # If the server closed the connection between two requests, no request was lost.
        if self._open is not None and (self._open.is_closed or monotonic() - self._used >= IDLE_SECONDS):
            self.close()
        if self._open is None:
            _, self._open = await asyncio.get_running_loop().create_connection(_OpenConnection, *self._address)
            self._used = monotonic()
        return self._open


class _OpenConnection(asyncio.Protocol):
    """Receives one response at a time. Streams and a timeout per request cost half of the time of the generator."""

    _transport: asyncio.Transport
    is_closed = False

    def __init__(self) -> None:
        self._received = b""
        self._response: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    async def exchange(self, request: bytes, seconds: float) -> tuple[str, str]:
        """Send a request. Return the head and the body of the response.

        Raises OSError if the connection is lost, and after that time, and ValueError for a malformed response.
        """
        loop = asyncio.get_running_loop()
        self._response, self._received = loop.create_future(), b""
        timer = loop.call_later(max(0.0, seconds), self._fail, TimeoutError())
        try:
            if self.is_closed:
                raise ConnectionResetError
            self._transport.write(request)
            return await self._response
        finally:
            timer.cancel()

    def abort(self) -> None:
        self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0 or self._response.done():
            return
        try:
            head = self._received[:end].decode("latin-1")
            length = _LENGTH.search(head)
            body = self._received[end + len(_END_OF_HEAD) :]
            if len(body) >= (int(length[1]) if length else 0):
                self._response.set_result((head, body.decode()))
        except ValueError as error:
            self._fail(error)

    @override
    def eof_received(self) -> None:
        self.is_closed = True

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._fail(ConnectionResetError())

    def _fail(self, error: Exception) -> None:
        if not self._response.done():
            self._response.set_exception(error)


def _parse(head: str, body: str) -> Response:
    """Return the response. Raises ValueError if its first line is malformed."""
    status = int(head.split(" ", 2)[1])
    headers = {name.lower(): value.strip() for name, value in _FIELD.findall(head)}
    outcome = ACKNOWLEDGED if 200 <= status < 300 else REFUSED
    return Response(outcome=outcome, status=status, headers=headers, body=body)
