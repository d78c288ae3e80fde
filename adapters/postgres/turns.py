"""Turns of the event loop that stay short, however many pages of rows come at once."""

import asyncio
from collections import deque

MOST_IN_A_TURN = 2
FEW = 10
"""So many rows are worth no turn of their own."""


class Turns:
    """Lets two pages go on in a turn of the event loop, and others in the turns that follow, in order.

    To make an answer of a hundred posts takes some 2 ms: ten of them in one turn would keep probes, refusals and small
    requests waiting for 20 ms, and twice.
    """

    __slots__ = ("_taken", "_waiting")

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return as soon as there is a turn for one more page."""
        loop = asyncio.get_running_loop()
        if self._taken < MOST_IN_A_TURN:
            if not self._taken:
                loop.call_soon(self._next)
            self._taken += 1
            return
        mine = loop.create_future()
        self._waiting.append(mine)
        await mine

    def _next(self) -> None:
        self._taken = 0
        while self._waiting and self._taken < MOST_IN_A_TURN:
            first = self._waiting.popleft()
            if not first.done():  # who waited may have been cancelled
                first.set_result(None)
                self._taken += 1
        if self._taken:
            asyncio.get_running_loop().call_soon(self._next)
