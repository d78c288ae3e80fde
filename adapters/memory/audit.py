"""Audit entries and erasure receipts in memory."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from typing_extensions import override

from adapters.memory.tables import InMemoryRepository, newest
from application.ports import AuditRepository
from domain.audit import AuditEntry, ErasureNotFoundError, ErasureReceipt


class InMemoryAuditRepository(InMemoryRepository, AuditRepository):
    """Stores audit entries and erasure receipts in memory."""

    @override
    async def list(
        self,
        *,
        limit: int,
        after: UUID | None = None,
        subject_id: UUID | None = None,
        actor_id: UUID | None = None,
        user_id: UUID | None = None,
    ) -> Sequence[AuditEntry]:
        entries = self._view.tables().audit_entries.values()
        found = (
            entry
            for entry in entries
            if subject_id in {None, entry.subject_id}
            and actor_id in {None, entry.actor_id}
            and user_id in {None, entry.user_id}
        )
        return newest(found, limit=limit, after=after)

    @override
    async def purge(self, *, older_than: timedelta, limit: int) -> int:
        return self._view.purge(
            lambda tables: tables.audit_entries,
            self._expiry(older_than),
            age=lambda entry: entry.created_at,
            limit=limit,
        )

    @override
    async def count_expired(self, *, older_than: timedelta) -> int:
        is_expired = self._expiry(older_than)
        return sum(map(is_expired, self._view.tables().audit_entries.values()))

    @override
    async def get_erasure(self, user_id: UUID) -> ErasureReceipt:
        receipt = self._view.tables().erasure_receipts.get(user_id)
        if receipt is None:
            raise ErasureNotFoundError
        return receipt

    def _expiry(self, older_than: timedelta) -> Callable[[AuditEntry], bool]:
        latest = self._view.clock() - older_than
        return lambda entry: entry.created_at <= latest
