"""The life of a request outside FastAPI: admission, deadline, standard headers, log record, metrics and span.

Modules pass the state of a request to each other only in its `RequestContext`.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from urllib.parse import quote

import structlog
import uuid_utils
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.deadline_timer import DeadlineTimer
from adapters.exception_summary import database_fields, exception_types, traceback_locations
from adapters.http.dependencies import ROUTE_PREFLIGHT, ROUTE_REJECTED, HttpOptions, RequestSpan
from adapters.http.middleware.admission import ConcurrencyLimit
from adapters.http.middleware.cors import CorsPolicy
from adapters.http.middleware.request_limits import Header, RequestDeadline, WriteTimeoutMonitor
from adapters.http.problems import catalog
from adapters.http.problems.catalog import Problem
from adapters.http.problems.responses import ProblemError, problem_response
from application.authorization import Principal

STATUS_CLIENT_CLOSED_REQUEST = 499
"""The logged status of a request whose client disconnected before the response, as in nginx."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_MAX_LENGTH_DIGITS = 18
_MIN_ERROR_STATUS = 400
_MIN_SERVER_ERROR_STATUS = 500
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")
_VERSIONS_WITHOUT_CONNECTION_HEADER = frozenset({"2", "3"})


class RequestContext:
    """The state of one request. It also wraps the `receive` and `send` of the ASGI server.

    The class attributes are the initial values. While `is_receiving` or `is_sending` is True, the request waits for its
    client and occupies no slot. Other modules set only `write_monitor`, `write_response` and `rejection` (the
    protocol), `principal` and `rate_limit_headers` (the route class), `response_timeout` (the export), `problem_code`
    (`problem_response`), and `database_fields` (the exception handlers). Routes find the context in
    `request.state.request_context`.
    """

    write_monitor: WriteTimeoutMonitor | None = None
    """The monitor of the connection. Other ASGI servers have none."""
    write_response: Callable[[Message, Message], bool] | None = None
    """Writes the start and the body of a response at once if possible. Other ASGI servers have none."""
    rejection: ProblemError | None = None
    """The reason for which the request must not reach a route. The protocol can set it until the body is complete."""
    close_after = False
    """True if the connection must be closed after the response."""
    is_receiving = False
    is_sending = False
    body_completed_at: float | None = None
    """The event-loop time at which the body was complete."""
    principal: Principal | None = None
    rate_limit_headers: Sequence[Header] = ()
    cors_headers: Sequence[Header] = ()
    preflight_response: Response | None = None
    """The response to a preflight request from an allowed origin. It replaces the routes."""
    root_path = ""
    """The prefix of all URLs in the response, which a proxy has put before the paths of the service."""
    problem_code: str | None = None
    """The code of the problem that the response reports."""
    database_fields: Mapping[str, str] = {}
    """The log fields of the database error that caused the response."""
    response_timeout: float | None = None
    """The time limit of the complete response in seconds, in place of that of all requests."""
    status = 0
    """The status of the response, 0 before its start."""
    response_bytes = 0
    _start: Message | None = None
    slot = ConcurrencyLimit()
    """The limit that counts the request. Rejected requests have this one, without a maximum."""

    def start(self, scope: Scope, receive: Receive, send: Send, options: HttpOptions, cors: CorsPolicy | None) -> None:
        """Read the headers that concern the connection, and occupy a slot. If this fails, set `rejection`."""
        headers = dict(scope["headers"])
        request_id, length = headers.get(b"x-request-id", b""), headers.get(b"content-length", b"")
        is_valid = _REQUEST_ID.fullmatch(request_id) is not None
        self.request_id = request_id.decode("ascii") if is_valid else uuid_utils.uuid7().hex
        self._receive, self._send = receive, send
        self.is_head = scope["method"] == "HEAD"
        self._is_chunked = b"transfer-encoding" in headers
        self._max_body_bytes = self._remaining_bytes = options.limits.max_body_bytes
        self.scope, path, root_path = scope, scope["path"], options.root_path
        self.root_path = root_path or quote(scope.get("root_path", ""))
        if root_path and f"{path}/".startswith(f"{root_path}/"):
            path = path[len(root_path) :] or "/"  # the proxy did not remove it
        has_slash = len(path) > 1 and path[-1] == "/" and path[:-1] != scope.get("root_path")
        if has_slash or self.is_head or root_path:
            # A copy for the routes, because the server reads the original.
            method = "GET" if self.is_head else scope["method"]
            self.scope = {**scope, "method": method, "path": path[:-1] if has_slash else path}
            if root_path:
                self.scope["root_path"] = root_path
        if length.isdigit() and (len(length) > _MAX_LENGTH_DIGITS or int(length) > options.limits.max_body_bytes):
            self.rejection = self.rejection or self._body_too_large()
        self.close_after = self.rejection is not None
        if cors is not None:
            self.cors_headers = cors.response_headers(headers)
            self.preflight_response = cors.find_preflight_response(scope["method"], headers)
        slot: ConcurrencyLimit | None = self.slot
        # A preflight request is always admitted, because a browser can read a 503 only after a successful one.
        if self.rejection is None and self.preflight_response is None:
            slot = options.admission.find_slot(path)
        if slot is None:
            self.rejection = ProblemError(catalog.OVERLOADED)
        else:
            self.slot = slot
        self.slot.active_requests += 1

    async def receive(self) -> Message:
        """Return the next message of the client.

        Raises ProblemError if the body is too large, if the protocol rejects the request, and if no slot is free for
        the complete body.
        """
        if self.body_completed_at is not None:
            return await self._receive()
        slot = self.slot
        self.is_receiving = True
        slot.active_requests -= 1
        try:
            message = await self._receive()
        finally:
            slot.active_requests += 1
        self.is_receiving = False
        if message["type"] == "http.request":
            self._remaining_bytes -= len(message.get("body", b""))
            if self._remaining_bytes < 0:
                raise self._body_too_large()
            if not message.get("more_body", False):
                self.body_completed_at = asyncio.get_running_loop().time()
                if slot.active_requests > slot.maximum:
                    raise ProblemError(catalog.OVERLOADED)
            elif self.rejection is not None:
                raise self.rejection
        return message

    async def send(self, message: Message) -> None:
        """Send a message with the standard headers. The start waits for the body, so that one write sends both."""
        if message["type"] == "http.response.start":
            self._add_headers(message)
            self._start = message
            return
        if self.is_head:
            message["body"] = b""
        start, self._start = self._start, None
        if start is not None:
            is_complete = not message.get("more_body", False)
            if is_complete and self.write_response is not None and self.write_response(start, message):
                self.status, self.response_bytes = start["status"], len(message["body"])
                return
            await self._forward(start)
        await self._forward(message)

    def _add_headers(self, start: Message) -> None:
        """Add the standard headers to the start of a response. An own Cache-Control takes precedence."""
        request_id = (b"x-request-id", self.request_id.encode("ascii"))
        standard = (request_id, _NOSNIFF, *self.rate_limit_headers, *self.cors_headers)
        headers = start["headers"] = [*start["headers"], *standard]
        if b"cache-control" not in dict(headers):
            headers.append(_NO_STORE)
        # The connection may contain more of a chunked body, of unknown length.
        must_close = self.close_after or (self._is_chunked and self.body_completed_at is None)
        if must_close and self.scope["http_version"] not in _VERSIONS_WITHOUT_CONNECTION_HEADER:
            headers.append(_CLOSE)

    async def _forward(self, message: Message) -> None:
        """Pass a message to the ASGI server."""
        self.is_sending = True
        self.slot.active_requests -= 1
        try:
            await self._send(message)  # waits while the client does not read
        except asyncio.CancelledError:  # the client did not read before the server stopped
            self.status = STATUS_CLIENT_CLOSED_REQUEST
            raise
        finally:
            self.slot.active_requests += 1
        self.is_sending = False
        if self.write_monitor is not None and self.write_monitor.is_lost:
            self.status = STATUS_CLIENT_CLOSED_REQUEST
            if message.get("more_body", False):
                raise ClientDisconnect
        elif message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.response_bytes += len(message.get("body", b""))

    async def send_problem(self, error: ProblemError) -> None:
        """Send a problem response in place of the application, unless a response has started."""
        self.close_after = self.close_after or self.is_receiving
        if not self.status:
            await problem_response(self, error)(self.scope, self.receive, self.send)

    async def send_timeout(self, problem: Problem | None) -> None:
        """Respond to a request that exceeded its deadline, or that the server cancels (without a `problem`)."""
        is_safe = self.scope["method"] in _SAFE_METHODS
        if problem is catalog.REQUEST_TIMEOUT or self.is_receiving:
            await self.send_problem(ProblemError(catalog.REQUEST_TIMEOUT))
        elif problem is None and is_safe:
            await self.send_problem(ProblemError(catalog.OVERLOADED))  # a different server can process it
        else:
            detail = "The response was not ready in time." if is_safe else catalog.COMMIT_RESULT_UNKNOWN
            await self.send_problem(ProblemError(catalog.DATABASE_UNAVAILABLE, detail=detail))
            self.problem_code = catalog.DEADLINE

    def close(self) -> None:
        """Release the objects of the server, which refer to this context after the request.

        Such a cycle of references would keep 16 objects per request until a garbage collection.
        """
        for name in ("scope", "write_response", "_receive", "_send"):
            vars(self).pop(name, None)

    def _body_too_large(self) -> ProblemError:
        return ProblemError(catalog.BODY_TOO_LARGE, detail=f"The body exceeds {self._max_body_bytes} bytes.")


class RequestMiddleware:
    """Admits requests, enforces their deadline, responds to unexpected errors, and records each request."""

    def __init__(self, app: ASGIApp, options: HttpOptions) -> None:
        self._app = app
        self._options = options
        self._cors = None if options.cors_origins is None else CorsPolicy(options.cors_origins)
        self._access_log = options.access_log or structlog.get_logger("hexapost.access").log
        self._logger = structlog.get_logger("hexapost.http")
        self._deadlines = DeadlineTimer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an HTTP request. Pass lifespan and WebSocket scopes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        options = self._options
        started_at = perf_counter()
        options.metrics.request_started()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        span = None if options.start_span is None else options.start_span(method, scope["headers"])
        context: RequestContext | None = scope.get("state", {}).get("request_context")
        if context is None:  # the ASGI server is not ours
            context = RequestContext()
            # Some servers use one state for all requests of a connection, so the context is added to a copy.
            scope["state"] = {**scope.get("state", {}), "request_context": context}
        context.start(scope, receive, send, options, self._cors)
        deadline = RequestDeadline(options.limits, context, self._deadlines)
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
            context.slot.active_requests -= 1
            self._record(context, method, perf_counter() - started_at, span)
            context.close()

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

    def _record(self, context: RequestContext, method: str, seconds: float, span: RequestSpan | None) -> None:
        is_preflight = context.preflight_response is not None
        route = ROUTE_PREFLIGHT if is_preflight else getattr(context.scope.get("route"), "path", None)
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
        level = logging.INFO
        if context.status >= _MIN_ERROR_STATUS:
            level = logging.WARNING if context.status < _MIN_SERVER_ERROR_STATUS else logging.ERROR
        self._access_log(
            level,
            "request",
            request_id=context.request_id,
            **trace_fields,
            route=route,
            method=method,
            status=context.status,
            duration_ms=round(seconds * 1000, 3),
            api_key_id=None if context.principal is None else str(context.principal.api_key_id),
            response_bytes=context.response_bytes,
            **context.database_fields,
        )
