"""Audit entries and erasure receipts in memory."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from typing_extensions import override

from adapters.memory.tables import InMemoryRepository, Tables, newest
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
        removed: list[UUID] = []

        def write(tables: Tables) -> None:
            expired = self._expired(tables, older_than)
            removed[:] = sorted(id_ for id_ in expired if self._view.is_unlocked("purge", id_))[:limit]
            for id_ in removed:
                self._view.lock("purge", id_)
                del tables.audit_entries[id_]

        self._view.write(write)
        self._view.tables()  # executes the write, so that the number is known
        return len(removed)

    @override
    async def count_expired(self, *, older_than: timedelta) -> int:
        return len(self._expired(self._view.tables(), older_than))

    @override
    async def get_erasure(self, user_id: UUID) -> ErasureReceipt:
        receipt = self._view.tables().erasure_receipts.get(user_id)
        if receipt is None:
            raise ErasureNotFoundError
        return receipt

    def _expired(self, tables: Tables, older_than: timedelta) -> Sequence[UUID]:
        latest = self._view.clock() - older_than
        return [entry.id for entry in tables.audit_entries.values() if entry.created_at <= latest]
