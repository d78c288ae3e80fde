"""ASGI middleware: admission, deadline, last-resort problem responses, log record, metrics and span of each request."""

import asyncio
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.exception_summary import exception_types, traceback_locations
from adapters.http.dependencies import ROUTE_REJECTED, AccessLog, MetricsRecorder, RequestSpan, StartSpan
from adapters.http.middleware.admission import AdmissionController
from adapters.http.middleware.request_context import STATUS_CLIENT_CLOSED_REQUEST, RequestContext
from adapters.http.middleware.request_limits import RequestLimits
from adapters.http.middleware.timeouts import RequestDeadline
from adapters.http.problems.catalog import (
    COMMIT_RESULT_UNKNOWN,
    DATABASE_UNAVAILABLE,
    DEADLINE,
    INTERNAL_ERROR,
    OVERLOADED,
    REQUEST_TIMEOUT,
    Problem,
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class RequestMiddleware:
    """Owns the life of a request, outside FastAPI."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: RequestLimits,
        admission: AdmissionController,
        access_log: AccessLog,
        metrics: MetricsRecorder,
        trace: StartSpan | None,
    ) -> None:
        self._app = app
        self._limits = limits
        self._admission = admission
        self._access_log = access_log
        self._metrics = metrics
        self._trace = trace
        self._logger = structlog.get_logger("hexapost.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request. Pass lifespan and WebSocket scopes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.request_started()
        span = None if self._trace is None else self._trace(method, scope["headers"])
        context = RequestContext.of(scope)
        context.start(scope, receive, send, max_body_bytes=self._limits.max_body_bytes)
        context.slot = self._admission.acquire(scope["path"])
        try:
            if context.slot is None:
                await context.send_problem(OVERLOADED)
            else:
                await self._process(context)
        finally:
            self._record(context, method, perf_counter() - start, span)

    async def _process(self, context: RequestContext) -> None:
        deadline = RequestDeadline(self._limits, context)
        try:
            if context.rejection is None:
                await self._app(context.scope, context.receive, context.send)
            else:
                await context.send_problem(context.rejection.problem, detail=context.rejection.detail)
        except ClientDisconnect:
            context.status = context.status or STATUS_CLIENT_CLOSED_REQUEST
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - the last resort
            await self._handle_error(context, error, deadline)
        finally:
            deadline.stop()
            if context.slot is not None:
                context.slot.release()

    async def _handle_error(self, context: RequestContext, error: BaseException, deadline: RequestDeadline) -> None:
        """Respond in place of the application. Raises a cancellation that came from outside again."""
        deadline.stop()
        is_cancelled = deadline.is_cancelled_externally and isinstance(error, asyncio.CancelledError)
        if deadline.problem is None and not is_cancelled:
            self._logger.error(
                "request failed",
                request_id=context.request_id,
                exception=exception_types(error),
                traceback=traceback_locations(error),
            )
            await context.send_or_abort(INTERNAL_ERROR)
        elif not context.is_sending:
            await _send_timeout(context, deadline.problem)
        if is_cancelled:
            raise error

    def _record(self, context: RequestContext, method: str, seconds: float, span: RequestSpan | None) -> None:
        route = getattr(context.scope.get("route"), "path", None)
        self._metrics.request_finished(
            route=ROUTE_REJECTED if context.is_rejected else route,
            method=method,
            status=context.status,
            seconds=seconds,
            rejection=context.problem_code,
        )
        trace_fields = {}
        if span is not None:
            span.end(route=route, status=context.status)
            trace_fields = {"trace_id": span.trace_id}
        self._access_log(
            "request",
            request_id=context.request_id,
            **trace_fields,
            route=route,
            method=method,
            status=context.status,
            duration_ms=round(seconds * 1000, 3),
            api_key_id=None if context.principal is None else str(context.principal.api_key_id),
            response_bytes=context.response_bytes,
        )


async def _send_timeout(context: RequestContext, problem: Problem | None) -> None:
    """Respond to a request that exceeded its deadline. `problem` is None if the server stops instead."""
    if problem is REQUEST_TIMEOUT or context.is_awaiting_body:
        await context.send_or_abort(REQUEST_TIMEOUT)
    elif problem is None and context.is_safe:
        await context.send_or_abort(OVERLOADED)  # a different server can process it
    else:
        detail = "The response was not ready in time." if context.is_safe else COMMIT_RESULT_UNKNOWN
        await context.send_or_abort(DATABASE_UNAVAILABLE, detail=detail)
        context.problem_code = DEADLINE
