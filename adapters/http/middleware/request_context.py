"""The state of one request, from its arrival to its log record. Modules pass state about a request only here."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import uuid_utils
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from adapters.http.middleware.admission import AdmissionController, ConcurrencyLimit
from adapters.http.middleware.request_limits import Header, RequestLimits
from adapters.http.middleware.timeouts import WriteTimeoutMonitor
from adapters.http.problems import catalog
from adapters.http.problems.catalog import Problem
from adapters.http.problems.responses import ProblemError, problem_response
from application.authorization import Principal

STATUS_CLIENT_CLOSED_REQUEST = 499
"""The logged status of a request whose client disconnected before the response, as in nginx."""

_STATE_KEY = "request_context"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_MAX_LENGTH_DIGITS = 18
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")


class RequestContext:
    """The state of one request. It also wraps the `receive` and `send` of the ASGI server.

    The class attributes are the initial values. While `is_receiving` or `is_sending` is True, the request waits for its
    client and occupies no slot.
    """

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
    problem_code: str | None = None
    """The code of the problem that the response reports."""
    status = 0
    """The status of the response, 0 before its start."""
    response_bytes = 0
    _slot = ConcurrencyLimit()  # of rejected requests: without a limit

    def __init__(self, state: dict[str, Any], write_monitor: WriteTimeoutMonitor | None = None) -> None:
        state[_STATE_KEY] = self
        self._write_monitor = write_monitor

    @staticmethod
    def of(state: dict[str, Any]) -> "RequestContext":
        """Return the context in the state of a scope. If the ASGI server is not ours, create it."""
        return state.get(_STATE_KEY) or RequestContext(state)

    def start(
        self, scope: Scope, receive: Receive, send: Send, *, limits: RequestLimits, admission: AdmissionController
    ) -> None:
        """Read the headers that concern the connection, and occupy a slot. If this fails, set `rejection`."""
        headers = dict(scope["headers"])
        request_id, length = headers.get(b"x-request-id", b""), headers.get(b"content-length", b"")
        is_valid = _REQUEST_ID.fullmatch(request_id) is not None
        self.request_id = request_id.decode("ascii") if is_valid else uuid_utils.uuid7().hex
        self._receive, self._send = receive, send
        self._is_head = scope["method"] == "HEAD"
        self._is_chunked = b"transfer-encoding" in headers
        self._max_body_bytes = self._remaining_bytes = limits.max_body_bytes
        self.scope, path = scope, scope["path"]
        has_slash = len(path) > 1 and path[-1] == "/"
        if has_slash or self._is_head:
            # A copy for the routes, because the server reads the original.
            method = "GET" if self._is_head else scope["method"]
            self.scope = {**scope, "method": method, "path": path[:-1] if has_slash else path}
        if length.isdigit() and (len(length) > _MAX_LENGTH_DIGITS or int(length) > limits.max_body_bytes):
            self.rejection = self.rejection or self._body_too_large()
        self.close_after = self.rejection is not None
        slot = admission.find_slot(path) if self.rejection is None else self._slot
        if slot is None:
            self.rejection = ProblemError(catalog.OVERLOADED)
        else:
            self._slot = slot
        self._slot.active_requests += 1

    def finish(self) -> None:
        """Free the slot."""
        self._slot.active_requests -= 1

    async def receive(self) -> Message:
        """Return the next message of the client.

        Raises ProblemError if the body is too large, if the protocol rejects the request, and if no slot is free for
        the complete body.
        """
        if self.body_completed_at is not None:
            return await self._receive()
        slot = self._slot
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
        """Send a message with the standard headers. A response to HEAD has no body."""
        is_start = message["type"] == "http.response.start"
        if is_start:
            request_id = (b"x-request-id", self.request_id.encode("ascii"))
            headers = message["headers"] = [*message["headers"], request_id, _NOSNIFF, *self.rate_limit_headers]
            if b"cache-control" not in dict(headers):
                headers.append(_NO_STORE)
            # The connection may contain more of a chunked body, of unknown length.
            if self.close_after or (self._is_chunked and self.body_completed_at is None):
                headers.append(_CLOSE)
        elif self._is_head:
            message["body"] = b""
        self.is_sending = True
        self._slot.active_requests -= 1
        try:
            await self._send(message)  # waits while the client does not read
        except asyncio.CancelledError:  # the client did not read before the server stopped
            self.status = STATUS_CLIENT_CLOSED_REQUEST
            raise
        finally:
            self._slot.active_requests += 1
        self.is_sending = False
        if self._write_monitor is not None and self._write_monitor.is_lost:
            self.status = STATUS_CLIENT_CLOSED_REQUEST
        elif is_start:
            self.status = message["status"]
        else:
            self.response_bytes += len(message.get("body", b""))

    async def send_problem(self, problem: Problem, *, detail: str | None = None) -> None:
        """Send a problem response in place of the application, unless a response has started."""
        self.close_after = self.close_after or self.is_receiving
        if not self.status:
            await problem_response(self, problem, detail=detail)(self.scope, self.receive, self.send)

    async def send_timeout(self, problem: Problem | None) -> None:
        """Respond to a request that exceeded its deadline. `problem` is None if the server stops instead."""
        is_safe = self.scope["method"] in _SAFE_METHODS
        if problem is catalog.REQUEST_TIMEOUT or self.is_receiving:
            await self.send_problem(catalog.REQUEST_TIMEOUT)
        elif problem is None and is_safe:
            await self.send_problem(catalog.OVERLOADED)  # a different server can process it
        else:
            detail = "The response was not ready in time." if is_safe else catalog.COMMIT_RESULT_UNKNOWN
            await self.send_problem(catalog.DATABASE_UNAVAILABLE, detail=detail)
            self.problem_code = catalog.DEADLINE

    def _body_too_large(self) -> ProblemError:
        return ProblemError(catalog.BODY_TOO_LARGE, detail=f"The body exceeds {self._max_body_bytes} bytes.")


def request_context(request: Request) -> RequestContext:
    """Return the context of a request."""
    return RequestContext.of(request.scope["state"])
