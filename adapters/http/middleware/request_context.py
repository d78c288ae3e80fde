"""The state of one request, from its arrival to its log record."""

import asyncio
import re
from collections.abc import Sequence

import uuid_utils
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from adapters.http.middleware.admission import ConcurrencyLimit
from adapters.http.middleware.body_limit import RequestBodyStream
from adapters.http.middleware.header_validation import Header
from adapters.http.middleware.write_timeout import WriteTimeoutMonitor
from adapters.http.problems.catalog import BODY_TOO_LARGE, Problem
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

    `rejection` is the reason for which the request must not reach the application. `problem_code` is the problem that
    the response reports. `status` is 0 until the response starts. `is_sending` is True while a part of the response
    waits for the client. `close_after` closes the connection after the response.
    """

    __slots__ = (
        "_is_head", "_send", "_write_monitor", "body", "close_after", "is_sending", "principal", "problem_code",
        "rate_limit_headers", "receive", "rejection", "request_id", "response_bytes", "scope", "slot", "status",
    )  # fmt: skip

    def __init__(self, write_monitor: WriteTimeoutMonitor | None = None) -> None:
        self._write_monitor = write_monitor
        self._is_head = False
        self.body: RequestBodyStream | None = None
        self.close_after = False
        self.is_sending = False
        self.principal: Principal | None = None
        self.problem_code: str | None = None
        self.rate_limit_headers: Sequence[Header] = ()
        self.rejection: ProblemError | None = None
        self.slot: ConcurrencyLimit | None = None
        self.status = self.response_bytes = 0

    @classmethod
    def of(cls, scope: Scope) -> "RequestContext":
        """Return the context that the protocol created, or a new one on a different ASGI server."""
        context: RequestContext = scope.setdefault("state", {}).setdefault(_STATE_KEY, cls())
        return context

    def attach(self, scope: Scope) -> None:
        """Make this the context of a request."""
        scope["state"][_STATE_KEY] = self

    def start(self, scope: Scope, receive: Receive, send: Send, *, max_body_bytes: int) -> None:
        """Read the headers that concern the transport of the request."""
        request_id = length = transfer_encoding = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == b"x-request-id":
                request_id = value
            elif name == b"transfer-encoding":
                transfer_encoding = value
        self.request_id = _request_id(request_id)
        self.scope = _normalize(scope)
        self.receive = receive
        self._is_head = scope["method"] == "HEAD"
        self._send = send
        if self.rejection is None and length is not None and _exceeds(length, max_body_bytes):
            self.rejection = ProblemError(BODY_TOO_LARGE, detail=f"The body exceeds {max_body_bytes} bytes.")
        self.close_after = self.rejection is not None
        if transfer_encoding is not None or length is not None or scope["method"] not in {"GET", "HEAD"}:
            is_chunked = transfer_encoding is not None
            self.body = RequestBodyStream(self, receive, max_body_bytes, is_chunked=is_chunked)
            self.receive = self.body.receive

    async def send(self, message: Message) -> None:
        """Send a message with the standard headers. A response to HEAD has no body."""
        is_start = message["type"] == "http.response.start"
        if is_start:
            self._add_standard_headers(message)
        elif self._is_head:
            message["body"] = b""
        slot = self.slot
        self.is_sending = True
        if slot is not None:
            slot.release()
        try:
            await self._send(message)  # waits while the client does not read
        except asyncio.CancelledError:  # the client did not read before the server stopped
            self.status = STATUS_CLIENT_CLOSED_REQUEST
            raise
        finally:
            if slot is not None:
                slot.reacquire()
        self.is_sending = False
        if self._write_monitor is not None and self._write_monitor.is_lost:
            self.status = STATUS_CLIENT_CLOSED_REQUEST
        elif is_start:
            self.status = message["status"]
        else:
            self.response_bytes += len(message.get("body", b""))

    def _add_standard_headers(self, message: Message) -> None:
        headers = list(message["headers"])
        headers.append((b"x-request-id", self.request_id.encode("ascii")))
        headers.append(_NOSNIFF)
        headers.extend(self.rate_limit_headers)
        if not any(name == b"cache-control" for name, _ in headers):
            headers.append(_NO_STORE)
        if self.close_after or (self.body is not None and self.body.has_unread_data):
            headers.append(_CLOSE)
        message["headers"] = headers

    @property
    def is_rejected(self) -> bool:
        """Return True if the request does not reach a route: it is malformed, or no slot was free."""
        return self.rejection is not None or self.slot is None

    @property
    def is_awaiting_body(self) -> bool:
        """Return True while the application waits for more of the body."""
        return self.body is not None and self.body.is_waiting

    @property
    def is_safe(self) -> bool:
        """Return True if the method does not change state (RFC 9110 section 9.2.1)."""
        return self.scope["method"] in _SAFE_METHODS

    async def send_problem(self, problem: Problem, *, detail: str | None = None) -> None:
        """Send a problem response."""
        await problem_response(self, problem, detail=detail)(self.scope, self.receive, self.send)

    async def send_or_abort(self, problem: Problem, *, detail: str | None = None) -> None:
        """Send a problem response in place of the application, or abort a response that has started."""
        self.close_after = self.close_after or self.is_awaiting_body
        if not self.status:
            await self.send_problem(problem, detail=detail)


def request_context(request: Request) -> RequestContext:
    """Return the context of a request."""
    return RequestContext.of(request.scope)


def _normalize(scope: Scope) -> Scope:
    """Return the scope for the routes: without a trailing slash in the path, and with GET for HEAD."""
    path = scope["path"]
    has_slash = len(path) > 1 and path[-1] == "/"
    if not has_slash and scope["method"] != "HEAD":
        return scope
    normalized = dict(scope)  # a copy, because the server reads the original
    if has_slash:
        normalized["path"] = path[:-1]
    if scope["method"] == "HEAD":
        normalized["method"] = "GET"
    return normalized


def _request_id(value: bytes | None) -> str:
    if value is not None and _REQUEST_ID.fullmatch(value):
        return value.decode("ascii")
    return uuid_utils.uuid7().hex


def _exceeds(length: bytes, max_bytes: int) -> bool:
    return length.isdigit() and (len(length) > _MAX_LENGTH_DIGITS or int(length) > max_bytes)
