"""One request and its response on their way through the envelope."""

import re

import uuid_utils
from starlette.types import Message, Receive, Scope, Send

from adapters.http.context import CALLER
from adapters.http.errors import REQUEST_ID, ProblemError
from adapters.http.problems import BODY_TOO_LARGE
from adapters.http.rates import RATE_HEADERS

_SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_LONGEST_LENGTH = 18  # digits, enough for any body
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")


class Exchange:
    """What is known of a request, and the `receive` and `send` that the application gets.

    `status` is 0 until the response starts, `bytes` counts what was sent of its body.
    """

    __slots__ = ("_body", "_is_head", "_send", "bytes", "is_too_large", "receive", "request_id", "scope", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send, most_bytes: int) -> None:
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
        self.is_too_large = length is not None and _exceeds(length, most_bytes)
        self._body = None
        self.receive = receive
        if transfer is not None or (length is None and scope["method"] not in {"GET", "HEAD"}):
            self._body = BoundedBody(receive, most_bytes, is_chunked=transfer is not None)
            self.receive = self._body.receive

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
            if self.is_too_large or (self._body is not None and self._body.is_left_over):
                headers.append(_CLOSE)
            message["headers"] = headers
        elif self._is_head:
            message["body"] = b""
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)


class BoundedBody:
    """A request body of a length that was not announced."""

    __slots__ = ("_is_chunked", "_is_complete", "_left", "_receive")

    def __init__(self, receive: Receive, most_bytes: int, *, is_chunked: bool) -> None:
        self._receive = receive
        self._left = most_bytes
        self._is_chunked = is_chunked
        self._is_complete = False

    @property
    def is_left_over(self) -> bool:
        """Whether the connection may still carry some of it, of any length."""
        return self._is_chunked and not self._is_complete

    async def receive(self) -> Message:
        """Return the next message. Raises ProblemError when the body has become too large."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise ProblemError(BODY_TOO_LARGE)
            self._is_complete = not message.get("more_body", False)
        return message


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
