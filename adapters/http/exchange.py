"""One request and its response on their way through the envelope."""

import asyncio
import re
from collections.abc import Iterable

import uuid_utils
from starlette.types import Message, Receive, Scope, Send

from adapters.http.admission import Room
from adapters.http.context import CALLER
from adapters.http.errors import REFUSAL, REQUEST_ID, ProblemError, problem_response
from adapters.http.heads import Header
from adapters.http.incoming import Body
from adapters.http.outgoing import OUTGOING, Outgoing
from adapters.http.problems import BODY_TOO_LARGE, Problem
from adapters.http.rates import RATE_HEADERS

CLIENT_GONE = 499
"""The status that is written down when the client left before it had its response, as nginx does."""

_SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_LONGEST_LENGTH = 18  # digits, enough for any body
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")


class Exchange:
    """What is known of a request, and the `receive` and `send` that the application gets.

    `status` is 0 until the response has started, `bytes` counts what was sent of its body; `is_sending` while a part of
    it waits for the client to read others. `refusal` is why the request must not go on, known from its head; `is_last`
    ends the connection after the response.
    """

    __slots__ = (
        "_is_head", "_outgoing", "_room", "_send", "body", "bytes", "is_last", "is_sending", "receive", "refusal",
        "request_id", "scope", "status",
    )  # fmt: skip

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
        self._room = room
        self._outgoing: Outgoing | None = scope.get(OUTGOING)
        self.scope = _plain(scope)
        self.scope[REQUEST_ID] = self.request_id = _request_id(given_id)
        self.status = self.bytes = 0
        self.is_sending = False
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
        is_start = message["type"] == "http.response.start"
        if is_start:
            message["headers"] = self._with_ours(message["headers"])
        elif self._is_head:
            message["body"] = b""
        room = self._room
        self.is_sending = True
        if room is not None:
            room.in_work -= 1
        try:
            await self._send(message)  # the server waits while the client does not read
        except asyncio.CancelledError:  # it did not read in the time that a server which stops had left
            self.status = CLIENT_GONE
            raise
        finally:
            if room is not None:
                room.in_work += 1
        self.is_sending = False
        if self._outgoing is not None and self._outgoing.is_lost:
            self.status = CLIENT_GONE
        elif is_start:
            self.status = message["status"]
        else:
            self.bytes += len(message.get("body", b""))

    def _with_ours(self, headers: Iterable[Header]) -> list[Header]:
        found = list(headers)
        found.append((b"x-request-id", self.request_id.encode("ascii")))
        found.append(_NOSNIFF)
        found.extend(self.scope.get(RATE_HEADERS, ()))
        if not any(name == b"cache-control" for name, _ in found):
            found.append(_NO_STORE)
        if self.is_last or (self.body is not None and self.body.is_left_over):
            found.append(_CLOSE)
        return found

    @property
    def is_refused(self) -> bool:
        """Whether the request goes to no route: its head is in error, or there is no room."""
        return self.refusal is not None or self._room is None

    @property
    def is_unfinished(self) -> bool:
        """Whether the application waits for more of the body."""
        return self.body is not None and self.body.is_awaited

    @property
    def is_safe(self) -> bool:
        """Whether the request changes nothing, by its method (RFC 9110 section 9.2.1)."""
        return self.scope["method"] in _SAFE

    async def report(self, problem: Problem, *, detail: str | None = None) -> None:
        """Answer with a problem."""
        await problem_response(self.scope, problem, detail=detail)(self.scope, self.receive, self.send)

    async def give_up(self, problem: Problem, *, detail: str | None = None) -> None:
        """Answer with a problem in place of the application; a response that has begun breaks off."""
        self.is_last = self.is_last or self.is_unfinished
        if not self.status:
            await self.report(problem, detail=detail)


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
