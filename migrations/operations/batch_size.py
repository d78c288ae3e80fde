"""Adapts the batch size of a backfill to the duration of its batches."""

TARGET_SECONDS = 0.05
"""The duration of a batch. It delays writers of the batch's rows, and commits that wait for the WAL."""
_INITIAL_ROWS = 10
_GROWTH_FACTOR = 2.0
"""The maximum change per batch, because one slow batch may have waited for a lock."""


class AdaptiveBatchSize:
    """The number of rows in the next batch."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self.rows = min(_INITIAL_ROWS, max_rows)

    def record_duration(self, seconds: float) -> None:
        """Set the size of the next batch from the duration of the last one."""
        factor = min(_GROWTH_FACTOR, max(1 / _GROWTH_FACTOR, TARGET_SECONDS / max(seconds, 1e-9)))
        self.rows = max(1, min(self._max_rows, round(self.rows * factor)))
