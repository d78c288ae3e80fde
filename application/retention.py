"""Retention: deletes expired records."""

from dataclasses import dataclass, field
from datetime import timedelta

from application.ports import Storage, UnitOfWork
from application.transactions import RetryPolicy, readonly, transactional

PURGE_BATCH_SIZE = 500
"""Rows per transaction. Small batches keep the transactions short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionService:
    """Deletes expired records."""

    storage: Storage
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    batch_size: int = PURGE_BATCH_SIZE

    async def purge(self) -> int:
        """Delete all expired idempotency records in batches, and return their number."""
        purged = 0
        while True:
            removed = await self._purge()
            purged += removed
            if removed < self.batch_size:
                return purged

    @transactional
    async def _purge(self, work: UnitOfWork) -> int:
        return await work.idempotency.purge(limit=self.batch_size)

    @readonly
    async def purge_lag(self, work: UnitOfWork) -> timedelta:
        """Return the age of the oldest expired record, zero if no record has expired."""
        return await work.idempotency.purge_lag()
