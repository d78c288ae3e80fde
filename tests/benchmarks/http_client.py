"""One keep-alive connection of the load generator, and the least of HTTP/1.1 (RFC 9112) that it has to read."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, cast

from tests.benchmarks.errors import BenchmarkError

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_STATUS = slice(9, 12)  # after "HTTP/1.1 "


class ResponseReader:
    """Assembles responses from received data. A response must be complete before the next request."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> int:
        """Return the status of the response that these bytes complete, or 0 if it is incomplete.

        Raises BenchmarkError for a response without Content-Length, and for bytes after its end.
        """
        if self._buffer:
            data = self._buffer + data
        end = data.find(_END_OF_HEAD)
        if end < 0:
            self._buffer = data
            return 0
        length = _LENGTH.search(data, 0, end + 2)
        if length is None:
            raise BenchmarkError(f"a response does not tell its length: {data[:end].decode('latin-1')}")
        missing = end + len(_END_OF_HEAD) + int(length[1]) - len(data)
        if missing < 0:
            raise BenchmarkError("a response is longer than it says")
        self._buffer = data if missing else b""
        return 0 if missing else int(data[_STATUS])


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time; `due` is when that was to be sent."""

    __slots__ = ("_answered", "_failed", "_reader", "_transport", "due")

    def __init__(self, answered: Callable[["Connection", int], None], failed: Callable[[BaseException], None]) -> None:
        """Call `answered` with the status of each response, and `failed` when there can be no more."""
        self._answered = answered
        self._failed = failed
        self._reader = ResponseReader()
        self._transport: asyncio.Transport | None = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            status = self._reader.feed(data)
        except (BenchmarkError, ValueError) as error:
            self._failed(error)
            return
        if status:
            self._answered(self, status)

    def connection_lost(self, exc: Exception | None) -> None:
        self._failed(exc or BenchmarkError("the service closed a connection"))

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was to be sent at this time."""
        self.due = due
        cast("Any", self._transport).write(request)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()
