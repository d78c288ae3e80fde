"""The limits of a request: sizes, times, and the validity of its request line and headers (RFC 9112)."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.deadline_timer import DeadlineTimer
from adapters.http.problems.catalog import (
    DATABASE_UNAVAILABLE,
    MALFORMED_REQUEST,
    REQUEST_HEADER_FIELDS_TOO_LARGE,
    REQUEST_TIMEOUT,
    Problem,
)
from adapters.http.problems.responses import ProblemError

if TYPE_CHECKING:
    from adapters.http.middleware.request_context import RequestContext

Header = tuple[bytes, bytes]

RECANCEL_INTERVAL_SECONDS = 0.25
"""A task that suppresses its cancellation, for example while it waits for a frozen server, is cancelled again."""

# uri-host [ ":" port ] (RFC 9110 section 7.2), with a non-empty host, as in every http URI
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=-]++|%[0-9A-Fa-f]{2})++(?::[0-9]*)?|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")
_LINE_OVERHEAD_BYTES = len(b": \r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """The limits of the body and of the response. Times are in seconds."""

    max_body_bytes: int = 65_536
    max_json_depth: int = 32
    body_timeout: float = 10.0
    """From the end of the headers to the end of the body."""
    request_timeout: float = 10.0
    """From the end of the body to the response."""
    export_timeout: float = 60.0
    """From the end of the body to the end of an export."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderLimits:
    """The limits of the request line and headers."""

    max_headers: int = 100
    max_header_bytes: int = 32_768
    timeout: float = 10.0
    """Seconds from the start of the connection, or from the first byte of a later request."""

    def too_large(self) -> ProblemError:
        """Return the error for a request line and headers that are too large."""
        detail = f"The request line and headers exceed {self.max_header_bytes} bytes."
        return ProblemError(REQUEST_HEADER_FIELDS_TOO_LARGE, detail=detail)

    def validate_size(self, url: bytes, headers: Sequence[Header]) -> None:
        """Raise ProblemError if the request line and headers are too large."""
        lines = sum(len(name) + len(value) + _LINE_OVERHEAD_BYTES for name, value in headers)
        if len(url) + lines > self.max_header_bytes:
            raise self.too_large()

    def validate(self, version: str, method: bytes, headers: Sequence[Header]) -> None:
        """Raise ProblemError for too many headers, and for headers that make the request ambiguous.

        The parser rejects a Content-Length that is repeated, not a number, or combined with Transfer-Encoding.
        """
        if len(headers) > self.max_headers:
            detail = f"The request has more than {self.max_headers} headers."
            raise ProblemError(REQUEST_HEADER_FIELDS_TOO_LARGE, detail=detail)
        if version not in {"1.1", "1.0"} or method == b"CONNECT":
            raise _malformed("The request is not an HTTP/1.1 request to an origin server.")
        host = None
        for name, value in headers:
            if name == b"host":
                if host is not None or not _HOST.fullmatch(value):
                    raise _malformed("The Host header is malformed or repeated.")
                host = value
            elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
                raise _malformed("The Transfer-Encoding header must be chunked, and requires HTTP/1.1.")
        if host is None and version == "1.1":
            raise _malformed("The Host header is missing.")


def _malformed(detail: str) -> ProblemError:
    return ProblemError(MALFORMED_REQUEST, detail=detail)


class RequestDeadline:
    """Cancels the current task after the time limit of the body or of the response. `problem` is then the cause.

    One entry of the timer serves both limits, because almost all requests end before it is due. While the client reads
    a response, the deadline does not advance: the connection limits that time.
    """

    def __init__(self, limits: RequestLimits, context: "RequestContext", timer: DeadlineTimer) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._limits = limits
        self._context = context
        self._start = self._response_start = self._loop.time()
        self._cancellations = 0
        self.problem: Problem | None = None
        self._timer = timer
        timer.add(self._check, self._start + min(limits.body_timeout, limits.request_timeout))

    def _check(self) -> None:
        now, context = self._loop.time(), self._context
        limit = context.response_timeout
        if context.is_sending and limit is None:
            self._response_start = now
        if context.is_receiving:
            due, problem = self._start + self._limits.body_timeout, REQUEST_TIMEOUT
        else:
            started_at = max(self._response_start, context.body_completed_at or 0.0)
            due, problem = started_at + (limit or self._limits.request_timeout), DATABASE_UNAVAILABLE
        if now < due:
            # The body may be complete before `due`. The limit of the response starts then.
            self._timer.add(self._check, min(due, now + self._limits.request_timeout))
        else:
            self.problem = problem
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._cancellations += 1
            self._timer.add(self._cancel, self._loop.time() + RECANCEL_INTERVAL_SECONDS)

    def stop(self) -> None:
        """Remove the deadline, and undo its cancellations."""
        self._timer.remove(self._check)
        self._timer.remove(self._cancel)
        while self._cancellations and self._task is not None:
            self._cancellations -= 1
            self._task.uncancel()

    @property
    def is_cancelled_externally(self) -> bool:
        """Return True if a different party cancelled the task. Precondition: `stop` was called."""
        return self._task is not None and self._task.cancelling() > 0


class WriteTimeoutMonitor:
    """Aborts a connection if its client does not read for the given time.

    It checks the write buffer twice in that time, so that one timer serves all responses of the connection. `is_lost`
    is True after the connection was lost.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport, seconds: float) -> None:
        self._loop = loop
        self._transport = transport
        self._interval = seconds / 2
        self._unread_bytes = 0
        self.is_lost = False
        self._timer = loop.call_later(self._interval, self._check)

    def _check(self) -> None:
        unread = self._transport.get_write_buffer_size()
        if unread and unread == self._unread_bytes:
            self._transport.abort()
            return
        self._unread_bytes = unread
        self._timer = self._loop.call_later(self._interval, self._check)

    def connection_lost(self) -> None:
        """Stop the monitor, because the connection was lost."""
        self.is_lost = True
        self._timer.cancel()
