"""Time limits: of a request, and of a client that does not read its response."""

import asyncio
from typing import TYPE_CHECKING

from adapters.http.middleware.request_limits import RequestLimits
from adapters.http.problems.catalog import DATABASE_UNAVAILABLE, REQUEST_TIMEOUT, Problem

if TYPE_CHECKING:
    from adapters.http.middleware.request_context import RequestContext

RECANCEL_INTERVAL_SECONDS = 0.25
"""A task that suppresses its cancellation, for example while it waits for a frozen server, is cancelled again."""


class RequestDeadline:
    """Cancels the current task after the time limit of the body or of the response. `problem` is then the cause.

    One timer serves both limits, because almost all requests end before it fires. While the client reads a response,
    the deadline does not advance: the connection limits that time.
    """

    def __init__(self, limits: RequestLimits, context: "RequestContext") -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._limits = limits
        self._context = context
        self._start = self._response_start = self._loop.time()
        self._cancellations = 0
        self.problem: Problem | None = None
        self._timer = self._loop.call_later(min(limits.body_timeout, limits.request_timeout), self._check)

    def _check(self) -> None:
        now, context = self._loop.time(), self._context
        if context.is_sending:
            self._response_start = now
        if context.is_receiving:
            due, problem = self._start + self._limits.body_timeout, REQUEST_TIMEOUT
        else:
            started_at = max(self._response_start, context.body_completed_at or 0.0)
            due, problem = started_at + self._limits.request_timeout, DATABASE_UNAVAILABLE
        if now < due:
            # The body may be complete before `due`. The limit of the response starts then.
            self._timer = self._loop.call_at(min(due, now + self._limits.request_timeout), self._check)
        else:
            self.problem = problem
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._cancellations += 1
            self._timer = self._loop.call_later(RECANCEL_INTERVAL_SECONDS, self._cancel)

    def stop(self) -> None:
        """Stop the timer, and undo the cancellations of this deadline."""
        self._timer.cancel()
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
