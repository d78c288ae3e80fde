"""One request and its response on their way through the envelope."""

import re

import uuid_utils
from starlette.types import Message, Receive, Scope, Send

from adapters.http.admission import Room
from adapters.http.context import CALLER
from adapters.http.errors import REFUSAL, REQUEST_ID, ProblemError, problem_response
from adapters.http.incoming import Body
from adapters.http.problems import BODY_TOO_LARGE, Problem
from adapters.http.rates import RATE_HEADERS

_SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_LONGEST_LENGTH = 18  # digits, enough for any body
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")


class Exchange:
    """What is known of a request, and the `receive` and `send` that the application gets.

    `status` is 0 until the response starts, `bytes` counts what was sent of its body. `refusal` is why the request
    must not go on, known from its head; `is_last` ends the connection after the response.
    """

    __slots__ = ("_is_head", "_send", "body", "bytes", "is_last", "receive", "refusal", "request_id", "scope", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, most_bytes: int, room: Room | None) -> None:
        given_id = length = transfer = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == b"x-request-id":
                given_id = value
            elif name == b"transfer-encoding":
                transfer = value
        self._is_head = scope["method"] == "HEAD"
        self._send = send
        self.scope = _plain(scope)
        self.scope[REQUEST_ID] = self.request_id = _request_id(given_id)
        self.status = self.bytes = 0
        self.refusal: ProblemError | None = scope.get(REFUSAL)
        if self.refusal is None and length is not None and _exceeds(length, most_bytes):
            self.refusal = ProblemError(BODY_TOO_LARGE)
        self.is_last = self.refusal is not None
        self.body = None
        self.receive = receive
        if transfer is not None or length is not None or scope["method"] not in {"GET", "HEAD"}:
            self.body = Body(scope, receive, most_bytes, room, is_chunked=transfer is not None)
            self.receive = self.body.receive

    @property
    def key_id(self) -> str | None:
        """The API key that the request came with, once it is known."""
        caller = self.scope.get(CALLER)
        return None if caller is None else str(caller.key_id)

    async def send(self, message: Message) -> None:
        """Send on what the application sends, with the headers that every response has, without the body for HEAD."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message["headers"])
            headers.append((b"x-request-id", self.request_id.encode("ascii")))
            headers.append(_NOSNIFF)
            headers.extend(self.scope.get(RATE_HEADERS, ()))
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append(_NO_STORE)
            if self.is_last or (self.body is not None and self.body.is_left_over):
                headers.append(_CLOSE)
            message["headers"] = headers
        elif self._is_head:
            message["body"] = b""
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)

    @property
    def is_unfinished(self) -> bool:
        """Whether the application waits for more of the body."""
        return self.body is not None and self.body.is_awaited

    async def report(self, problem: Problem, *, detail: str | None = None) -> None:
        """Answer with a problem."""
        await problem_response(self.scope, problem, detail=detail)(self.scope, self.receive, self.send)

    async def give_up(self, problem: Problem) -> None:
        """Answer with a problem in place of the application; a response that has begun breaks off."""
        self.is_last = self.is_last or self.is_unfinished
        if not self.status:
            await self.report(problem)


def _plain(scope: Scope) -> Scope:
    """Return the scope as the routes know it: without a trailing slash, and GET for HEAD."""
    path = scope["path"]
    has_slash = len(path) > 1 and path[-1] == "/"
    if not has_slash and scope["method"] != "HEAD":
        return scope
    plain = dict(scope)  # the server goes by its own
    if has_slash:
        plain["path"] = path[:-1]
    if scope["method"] == "HEAD":
        plain["method"] = "GET"
    return plain


def _request_id(given: bytes | None) -> str:
    if given is not None and _SAFE_ID.fullmatch(given):
        return given.decode("ascii")
    return uuid_utils.uuid7().hex


def _exceeds(length: bytes, most_bytes: int) -> bool:
    return length.isdigit() and (len(length) > _LONGEST_LENGTH or int(length) > most_bytes)
