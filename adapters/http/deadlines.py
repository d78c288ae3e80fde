"""The time that a request has: its body to arrive, and then its answer to be made."""

import asyncio

from adapters.http.exchange import Exchange
from adapters.http.limits import RequestLimits
from adapters.http.problems import DATABASE_UNAVAILABLE, REQUEST_TIMEOUT, Problem

INSIST_SECONDS = 0.25
"""After which a task that was cancelled and goes on, such as one that waits for a frozen server, is cancelled again."""


class Deadline:
    """Cancels the task that makes it when the request has had its time; `problem` then says what it ran into.

    One timer serves both times, because almost no request lives to see it. In the time that a client takes to read,
    which the connection limits, the answer has as long as ever.
    """

    __slots__ = ("_begun", "_cancelled", "_exchange", "_limits", "_loop", "_started", "_task", "_timer", "problem")

    def __init__(self, limits: RequestLimits, exchange: Exchange) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._limits = limits
        self._exchange = exchange
        self._started = self._begun = self._loop.time()
        self._cancelled = 0
        self.problem: Problem | None = None
        shortest = limits.request_timeout if exchange.body is None else min(limits.body_timeout, limits.request_timeout)
        self._timer = self._loop.call_later(shortest, self._look)

    def _look(self) -> None:
        now, body = self._loop.time(), self._exchange.body
        if self._exchange.is_sending:
            self._begun = now
        if self._exchange.is_unfinished:
            due, problem = self._started + self._limits.body_timeout, REQUEST_TIMEOUT
        else:
            begun = max(self._begun, (body and body.completed_at) or 0.0)
            due, problem = begun + self._limits.request_timeout, DATABASE_UNAVAILABLE
        if now < due:
            # The body may be there at once, and the time of the answer begin.
            self._timer = self._loop.call_at(min(due, now + self._limits.request_timeout), self._look)
        else:
            self.problem = problem
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._cancelled += 1
            self._timer = self._loop.call_later(INSIST_SECONDS, self._cancel)

    def end(self) -> None:
        """Stop the clock, and take back the cancellations that were its own."""
        self._timer.cancel()
        while self._cancelled and self._task is not None:
            self._cancelled -= 1
            self._task.uncancel()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody else has cancelled the task; asked after the end."""
        return self._task is not None and self._task.cancelling() > 0
