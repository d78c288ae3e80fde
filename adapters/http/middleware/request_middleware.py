"""ASGI middleware: the life of a request outside FastAPI, with its log record, metrics and span."""

import asyncio
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.exception_summary import exception_types, traceback_locations
from adapters.http.dependencies import ROUTE_REJECTED, HttpOptions, RequestSpan
from adapters.http.middleware.request_context import STATUS_CLIENT_CLOSED_REQUEST, RequestContext
from adapters.http.middleware.timeouts import RequestDeadline
from adapters.http.problems.catalog import INTERNAL_ERROR

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class RequestMiddleware:
    """Admits requests, enforces their deadline, responds to unexpected errors, and records each request."""

    def __init__(self, app: ASGIApp, options: HttpOptions) -> None:
        self._app = app
        self._options = options
        self._access_log = options.access_log or structlog.get_logger("hexapost.access").info
        self._logger = structlog.get_logger("hexapost.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request. Pass lifespan and WebSocket scopes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        options = self._options
        start = perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        options.metrics.request_started()
        span = None if options.start_span is None else options.start_span(method, scope["headers"])
        context = RequestContext.of(scope.setdefault("state", {}))
        context.start(scope, receive, send, limits=options.limits, admission=options.admission)
        try:
            if context.rejection is None:
                await self._process(context)
            else:
                await context.send_problem(context.rejection.problem, detail=context.rejection.detail)
        finally:
            context.finish()
            self._record(context, method, perf_counter() - start, span)

    async def _process(self, context: RequestContext) -> None:
        deadline = RequestDeadline(self._options.limits, context)
        try:
            await self._app(context.scope, context.receive, context.send)
        except ClientDisconnect:
            context.status = context.status or STATUS_CLIENT_CLOSED_REQUEST
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - the last resort
            await self._handle_error(context, error, deadline)
        finally:
            deadline.stop()

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
            await context.send_problem(INTERNAL_ERROR)
        elif not context.is_sending:
            await context.send_timeout(deadline.problem)
        if is_cancelled:
            raise error

    def _record(self, context: RequestContext, method: str, seconds: float, span: RequestSpan | None) -> None:
        route = getattr(context.scope.get("route"), "path", None)
        self._options.metrics.request_finished(
            route=route if context.rejection is None else ROUTE_REJECTED,
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
