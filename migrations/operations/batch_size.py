"""How many rows a batch has: as many as are written while others do not mind to wait for them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

TARGET_SECONDS = 0.05
"""How long a batch may take. Who changes one of its rows waits for its end, and whoever commits for its log."""
_INITIAL_ROWS = 10
_GROWTH_FACTOR = 2.0
"""By how much the next batch may be larger, or smaller: what took long once may have waited for others."""


class AdaptiveBatchSize:
    """The size of the next batch, by how long the last ones took."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self.size = min(_INITIAL_ROWS, max_rows)

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Take the time of a batch of that size."""
        begun = time.monotonic()
        yield
        self.record_duration(time.monotonic() - begun)

    def record_duration(self, seconds: float) -> None:
        """Set the size of the next batch by how long the last one took."""
        factor = min(_GROWTH_FACTOR, max(1 / _GROWTH_FACTOR, TARGET_SECONDS / max(seconds, 1e-9)))
        self.size = max(1, min(self._max_rows, round(self.size * factor)))
