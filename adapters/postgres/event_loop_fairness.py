"""Limits the number of result pages that are decoded per event-loop iteration, to keep latency low."""

import asyncio

MAX_PAGES_PER_ITERATION = 2
SMALL_PAGE_ROWS = 10
"""Pages with at most this number of rows are not limited."""


class FairScheduler:
    """Admits two pages per event-loop iteration, in order of arrival.

    A response with 100 posts takes about 2 ms. Ten of them in one iteration would delay probes, rejections and small
    requests by 20 ms.
    """

    def __init__(self) -> None:
        self._admitted = 0

    async def wait(self) -> None:
        """Wait until one more page may be decoded."""
        while self._admitted == MAX_PAGES_PER_ITERATION:  # noqa: ASYNC110 - `sleep(0)` lasts one iteration
            await asyncio.sleep(0)
        if not self._admitted:
            # At the start of the next iteration, before the waiting pages.
            asyncio.get_running_loop().call_soon(self._reset)
        self._admitted += 1

    def _reset(self) -> None:
        self._admitted = 0
