"""A request body on its way in."""

import asyncio

from starlette.types import Message, Receive, Scope

from adapters.http.admission import Room
from adapters.http.errors import REFUSAL, ProblemError
from adapters.http.problems import BODY_TOO_LARGE, OVERLOADED


class Body:
    """A request body that is bounded, and that the server may refuse while it comes in.

    `is_awaited` while somebody waits for more of it; `completed_at` is the loop's time at which all of it was there.
    """

    __slots__ = ("_is_chunked", "_left", "_receive", "_room", "_scope", "completed_at", "is_awaited")

    def __init__(self, scope: Scope, receive: Receive, most_bytes: int, room: Room | None, *, is_chunked: bool) -> None:
        self._scope = scope
        self._receive = receive
        self._room = room
        self._left = most_bytes
        self._is_chunked = is_chunked
        self.is_awaited = False
        self.completed_at: float | None = None

    @property
    def is_left_over(self) -> bool:
        """Whether the connection may still carry some of it, of any length."""
        return self._is_chunked and self.completed_at is None

    async def receive(self) -> Message:
        """Return the next message.

        Raises ProblemError when the body has become too large, or is refused, or comes when there is no room any more.
        """
        if self.completed_at is not None:
            return await self._receive()
        message = await self._next()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise ProblemError(BODY_TOO_LARGE)
            if not message.get("more_body", False):
                self.completed_at = asyncio.get_running_loop().time()
                if self._room is not None and self._room.in_work > self._room.most:
                    raise ProblemError(OVERLOADED)
            elif REFUSAL in self._scope:
                raise self._scope[REFUSAL]
        return message

    async def _next(self) -> Message:
        room = self._room
        self.is_awaited = True
        if room is not None:
            room.in_work -= 1
        try:
            message = await self._receive()
        finally:
            if room is not None:
                room.in_work += 1
        self.is_awaited = False
        return message
