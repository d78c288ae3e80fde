"""The life of a request outside FastAPI: admission, deadline, last-resort problem, log record, metrics and span."""

import asyncio
import logging
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.deadline_timer import DeadlineTimer
from adapters.exception_summary import database_fields, exception_types, traceback_locations
from adapters.http.dependencies import ROUTE_PREFLIGHT, ROUTE_REJECTED, HttpOptions
from adapters.http.middleware.cors import CorsPolicy
from adapters.http.middleware.request_context import STATUS_CLIENT_CLOSED_REQUEST, RequestContext
from adapters.http.middleware.request_limits import RequestDeadline
from adapters.http.problems import catalog
from adapters.http.problems.responses import ProblemError

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_MIN_ERROR_STATUS = 400
_MIN_SERVER_ERROR_STATUS = 500


class RequestLifecycle:
    """Admits and records requests. It has no state, so the protocol and the middleware have one each."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._cors = None if options.cors_origins is None else CorsPolicy(options.cors_origins)
        self._access_log = options.access_log or structlog.get_logger("hexapost.access").log

    def admit(self, context: RequestContext, scope: Scope) -> None:
        """Occupy a slot for a request, or set its rejection. Precedes `start`."""
        context.admit(scope, self._options, self._cors)

    def reject(self, context: RequestContext) -> bool:
        """Respond to a rejected request, and record it. Return False if it was admitted, or needs the ASGI server."""
        if not context.write_rejection():
            return False
        self.start(context)
        self.finish(context)
        return True

    def start(self, context: RequestContext) -> None:
        """Record the start of a request. Its span becomes the current one."""
        scope, options = context.scope, self._options
        options.metrics.request_started()
        context.method = scope["method"] if scope["method"] in _METHODS else "other"
        if options.start_span is not None:
            context.span = options.start_span(context.method, scope["headers"])

    def finish(self, context: RequestContext) -> None:
        """Release the slot of a request, and record its end."""
        context.slot.active_requests -= 1
        seconds = perf_counter() - context.started_at
        is_preflight = context.preflight_response is not None
        route = ROUTE_PREFLIGHT if is_preflight else getattr(context.scope.get("route"), "path", None)
        self._options.metrics.request_finished(
            route=route if context.rejection is None else ROUTE_REJECTED,
            method=context.method,
            status=context.status,
            seconds=seconds,
            rejection=context.problem_code,
        )
        trace_fields = {}
        if context.span is not None:
            context.span.end(route=route, status=context.status)
            trace_fields = {"trace_id": context.span.trace_id}
        level = logging.INFO
        if context.status >= _MIN_ERROR_STATUS:
            level = logging.WARNING if context.status < _MIN_SERVER_ERROR_STATUS else logging.ERROR
        self._access_log(
            level,
            "request",
            request_id=context.request_id,
            **trace_fields,
            route=route,
            method=context.method,
            status=context.status,
            duration_ms=round(seconds * 1000, 3),
            api_key_id=None if context.principal is None else str(context.principal.api_key_id),
            response_bytes=context.response_bytes,
            **context.database_fields,
        )


class RequestMiddleware:
    """Enforces the deadline of requests, and responds to rejected requests and unexpected errors."""

    def __init__(self, app: ASGIApp, options: HttpOptions) -> None:
        self._app = app
        self._options = options
        self._lifecycle = RequestLifecycle(options)
        self._logger = structlog.get_logger("hexapost.http")
        self._deadlines = DeadlineTimer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request. Pass lifespan and WebSocket scopes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context: RequestContext | None = scope.get("state", {}).get("request_context")
        if context is None:  # the ASGI server is not ours
            context = RequestContext()
            # Some servers use one state for all requests of a connection, so the context is added to a copy.
            scope["state"] = {**scope.get("state", {}), "request_context": context}
        if not context.started_at:  # the protocol has not admitted the request
            self._lifecycle.admit(context, scope)
        self._lifecycle.start(context)
        context.start(scope, receive, send, self._options.root_path)
        deadline = RequestDeadline(self._options.limits, context, self._deadlines)
        try:
            if context.rejection is None:
                app = context.preflight_response or self._app
                await app(context.scope, context.receive, context.send)
            else:
                await context.send_problem(context.rejection)
        except ClientDisconnect:
            context.status = context.status or STATUS_CLIENT_CLOSED_REQUEST
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - the last resort
            await self._handle_error(context, error, deadline)
        finally:
            deadline.stop()
            self._lifecycle.finish(context)

    async def _handle_error(self, context: RequestContext, error: BaseException, deadline: RequestDeadline) -> None:
        """Respond in place of the application. Raises a cancellation that came from outside again."""
        deadline.stop()
        is_cancelled = deadline.is_cancelled_externally and isinstance(error, asyncio.CancelledError)
        if deadline.problem is None and not is_cancelled:
            context.database_fields = database_fields(error)
            self._logger.error(
                "request failed",
                request_id=context.request_id,
                **context.database_fields,
                exception=exception_types(error),
                traceback=traceback_locations(error),
            )
            await context.send_problem(ProblemError(catalog.INTERNAL_ERROR))
        elif not context.is_sending:
            await context.send_timeout(deadline.problem)
        if is_cancelled:
            raise error
