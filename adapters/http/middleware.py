"""What every request and response goes through, in one layer of pure ASGI."""

import asyncio
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.failures import kinds, places
from adapters.http.admission import Admission, Room, refuse
from adapters.http.context import REFUSED, AccessLog, Metrics, RequestSpan, Trace
from adapters.http.deadlines import Deadline
from adapters.http.errors import PROBLEM
from adapters.http.exchange import CLIENT_GONE, Exchange
from adapters.http.limits import RequestLimits
from adapters.http.problems import (
    DATABASE_UNAVAILABLE,
    DEADLINE,
    INTERNAL_ERROR,
    OUTCOME_UNKNOWN,
    OVERLOADED,
    REQUEST_TIMEOUT,
    Problem,
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

_LATE = "The request was not answered in time."


class Envelope:
    """Request ids, trailing slashes, HEAD, the limits, headers of every response, failures, what is told of it all."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: RequestLimits,
        admission: Admission,
        access_log: AccessLog,
        metrics: Metrics,
        trace: Trace | None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._admission = admission
        self._access_log = access_log
        self._metrics = metrics
        self._trace = trace
        self._logger = structlog.get_logger("hexapost.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what is none is passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.began()
        span = None if self._trace is None else self._trace(method, scope["headers"])
        room = self._admission.room(scope)
        exchange = Exchange(scope, receive, send, self._limits.max_body_bytes, room)
        try:
            if room is None:
                exchange.scope[PROBLEM] = OVERLOADED.code
                await refuse(exchange.send, exchange.request_id)
            else:
                await self._work_on(exchange, room)
        finally:
            self._write_down(exchange, method, perf_counter() - started, span)

    async def _work_on(self, exchange: Exchange, room: Room) -> None:
        deadline = Deadline(self._limits, exchange)
        try:
            if exchange.refusal is None:
                await self._app(exchange.scope, exchange.receive, exchange.send)
            else:
                await exchange.report(exchange.refusal.problem, detail=exchange.refusal.detail)
        except ClientDisconnect:
            exchange.status = exchange.status or CLIENT_GONE
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - what nobody expected ends here
            await self._fail(exchange, error, deadline)
        finally:
            deadline.end()
            room.in_work -= 1

    def _write_down(self, exchange: Exchange, method: str, seconds: float, span: RequestSpan | None) -> None:
        route = getattr(exchange.scope.get("route"), "path", None)
        rejection = exchange.scope.get(PROBLEM)
        counted = REFUSED if exchange.is_refused else route
        self._metrics.ended(route=counted, method=method, status=exchange.status, seconds=seconds, rejection=rejection)
        traced = {}
        if span is not None:
            span.end(route=route, status=exchange.status)
            traced = {"trace_id": span.trace_id}
        self._access_log(
            "request",
            request_id=exchange.request_id,
            **traced,
            route=route,
            method=method,
            status=exchange.status,
            duration_ms=round(seconds * 1000, 3),
            key_id=exchange.key_id,
            bytes=exchange.bytes,
        )

    async def _fail(self, exchange: Exchange, error: BaseException, deadline: Deadline) -> None:
        """Answer in place of the application. Raises the cancellation again that came from outside."""
        deadline.end()
        is_cancelled = deadline.is_cancelled and isinstance(error, asyncio.CancelledError)
        if deadline.problem is None and not is_cancelled:
            self._logger.error(
                "request failed", request_id=exchange.request_id, exception=kinds(error), traceback=places(error)
            )
            await exchange.give_up(INTERNAL_ERROR)
        elif not exchange.is_sending:
            await _end(exchange, deadline.problem)
        if is_cancelled:
            raise error


async def _end(exchange: Exchange, problem: Problem | None) -> None:
    """Answer a request that ran into this problem of its deadline, or else one that a server which stops gives up."""
    if problem is REQUEST_TIMEOUT or exchange.is_unfinished:
        await exchange.give_up(REQUEST_TIMEOUT)
    elif problem is None and exchange.is_safe:
        await exchange.give_up(OVERLOADED)  # the next server may take it
    else:
        await exchange.give_up(DATABASE_UNAVAILABLE, detail=_LATE if exchange.is_safe else OUTCOME_UNKNOWN)
        exchange.scope[PROBLEM] = DEADLINE
