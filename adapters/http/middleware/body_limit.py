"""The stream of a request body, with its limits."""

import asyncio
from typing import TYPE_CHECKING

from starlette.types import Message, Receive

from adapters.http.problems.catalog import BODY_TOO_LARGE, OVERLOADED
from adapters.http.problems.responses import ProblemError

if TYPE_CHECKING:
    from adapters.http.middleware.request_context import RequestContext


class RequestBodyStream:
    """Receives a request body of limited size. The protocol can reject the request in the meantime.

    `is_waiting` is True while the application waits for the client. `completed_at` is the loop time of the last part.
    """

    __slots__ = ("_context", "_is_chunked", "_receive", "_remaining_bytes", "completed_at", "is_waiting")

    def __init__(self, context: "RequestContext", receive: Receive, max_bytes: int, *, is_chunked: bool) -> None:
        self._context = context
        self._receive = receive
        self._remaining_bytes = max_bytes
        self._is_chunked = is_chunked
        self.is_waiting = False
        self.completed_at: float | None = None

    @property
    def has_unread_data(self) -> bool:
        """Return True if the connection may contain more of the body, of unknown length."""
        return self._is_chunked and self.completed_at is None

    async def receive(self) -> Message:
        """Return the next message.

        Raises ProblemError if the body is too large, if the protocol rejects the request, and if no slot is free for
        the complete body.
        """
        if self.completed_at is not None:
            return await self._receive()
        message = await self._wait()
        if message["type"] == "http.request":
            self._remaining_bytes -= len(message.get("body", b""))
            if self._remaining_bytes < 0:
                raise ProblemError(BODY_TOO_LARGE)
            if not message.get("more_body", False):
                self.completed_at = asyncio.get_running_loop().time()
                if self._context.slot is not None and self._context.slot.is_exceeded:
                    raise ProblemError(OVERLOADED)
            elif self._context.rejection is not None:
                raise self._context.rejection
        return message

    async def _wait(self) -> Message:
        slot = self._context.slot
        self.is_waiting = True
        if slot is not None:
            slot.release()
        try:
            message = await self._receive()
        finally:
            if slot is not None:
                slot.reacquire()
        self.is_waiting = False
        return message
