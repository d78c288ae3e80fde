"""Retention: deletes expired records."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.ports import Clock, Storage, UnitOfWork
from application.transactions import Retry, readonly, transactional

BATCH = 500
"""Rows per transaction. Small batches keep the transactions short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionService:
    """Deletes expired records."""

    storage: Storage
    now: Clock
    retry: Retry = field(default_factory=Retry)
    batch: int = BATCH

    async def purge(self) -> int:
        """Delete all expired idempotency records in batches, and return their number."""
        now = self.now()
        purged = 0
        while True:
            removed = await self._purge(now)
            purged += removed
            if removed < self.batch:
                return purged

    @transactional
    async def _purge(self, work: UnitOfWork, now: datetime) -> int:
        return await work.outcomes.purge(now=now, limit=self.batch)

    @readonly
    async def lag(self, work: UnitOfWork) -> timedelta:
        """Return the age of the oldest expired record, zero if no record has expired."""
        first = await work.outcomes.first_expiry()
        return timedelta() if first is None else max(timedelta(), self.now() - first)
