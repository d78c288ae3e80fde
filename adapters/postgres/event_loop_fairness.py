"""Limits the number of result pages that are decoded per event-loop iteration, to keep latency low."""

import asyncio
from collections import deque

MAX_PAGES_PER_ITERATION = 2
SMALL_PAGE_ROWS = 10
"""Pages with at most this number of rows are not limited."""


class FairScheduler:
    """Admits two pages per event-loop iteration, in order of arrival.

    A response with 100 posts takes about 2 ms. Ten of them in one iteration would delay probes, rejections and small
    requests by 20 ms.
    """

    __slots__ = ("_running", "_waiting")

    def __init__(self) -> None:
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Wait until one more page may be decoded."""
        loop = asyncio.get_running_loop()
        if self._running < MAX_PAGES_PER_ITERATION:
            if not self._running:
                loop.call_soon(self._admit_waiting)
            self._running += 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _admit_waiting(self) -> None:
        self._running = 0
        while self._waiting and self._running < MAX_PAGES_PER_ITERATION:
            first = self._waiting.popleft()
            if not first.done():  # the waiting request may have been cancelled
                first.set_result(None)
                self._running += 1
        if self._running:
            asyncio.get_running_loop().call_soon(self._admit_waiting)
