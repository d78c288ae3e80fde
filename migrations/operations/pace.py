"""How many rows a batch has: as many as are written while others do not mind to wait for them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 0.05
"""How long a batch may take. Who changes one of its rows waits for its end, and whoever commits for its log."""
_FIRST = 10
_FACTOR = 2.0
"""By how much the next batch may be larger, or smaller: what took long once may have waited for others."""


class Pace:
    """The size of the next batch, by how long the last ones took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = min(_FIRST, most)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Take the time of a batch of that size."""
        begun = time.monotonic()
        yield
        self.took(time.monotonic() - begun)

    def took(self, seconds: float) -> None:
        """Set the size of the next batch by how long the last one took."""
        factor = min(_FACTOR, max(1 / _FACTOR, SECONDS / max(seconds, 1e-9)))
        self.size = max(1, min(self._most, round(self.size * factor)))
