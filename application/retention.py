"""What is kept for a time only, and removed after it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from application.ports import Clock, Storage, UnitOfWork
from application.transactions import Retry, readonly, transactional

BATCH = 500
"""Rows that one transaction removes: few enough that it is short and holds nobody up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionService:
    """Removes what has expired."""

    storage: Storage
    now: Clock
    retry: Retry = field(default_factory=Retry)
    batch: int = BATCH

    async def purge(self) -> int:
        """Remove every outcome that has expired, batch by batch, and return how many these were."""
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
        """Return for how long something has been there that has expired, at most; none for nothing."""
        first = await work.outcomes.first_expiry()
        return timedelta() if first is None else max(timedelta(), self.now() - first)
