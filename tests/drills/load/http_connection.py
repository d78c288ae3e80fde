"""Keep-alive HTTP connection of the load generator, as a protocol of the event loop."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import cast

from httptools import HttpParserError, HttpResponseParser
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
            response = await connection.exchange(request, due - monotonic())
        except (OSError, HttpParserError):
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
    _response: asyncio.Future[Response] | None = None
    is_closed = False

    async def exchange(self, request: bytes, seconds: float) -> Response:
        """Send a request, and return the response.

        Raises OSError if the connection is lost, and after that time, and HttpParserError for a malformed response.
        """
        loop = asyncio.get_running_loop()
        self._response, self._parser = loop.create_future(), HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = b""
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
        if self._response is not None and not self._response.done():
            try:
                self._parser.feed_data(data)
            except HttpParserError as error:
                self._fail(error)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        outcome = ACKNOWLEDGED if 200 <= status < 300 else REFUSED
        response = Response(outcome=outcome, status=status, headers=self._headers, body=self._body.decode())
        if self._response is not None and not self._response.done():
            self._response.set_result(response)

    @override
    def eof_received(self) -> None:
        self.is_closed = True

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._fail(ConnectionResetError())

    def _fail(self, error: Exception) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(error)
