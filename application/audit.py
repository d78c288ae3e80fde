"""Use cases of the audit trail. Repositories write entries and receipts, in the transaction of each change."""

from dataclasses import dataclass, field
from uuid import UUID

from application.authorization import Principal
from application.pagination import Page
from application.ports import Storage, UnitOfWork
from application.transactions import RetryPolicy, readonly
from domain.api_keys import Scope
from domain.audit import AuditEntry, ErasureReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditService:
    """Use cases of the audit trail. Every use case raises ForbiddenError if the principal lacks the required scope."""

    storage: Storage
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    @readonly
    async def list(
        self,
        work: UnitOfWork,
        principal: Principal,
        *,
        limit: int,
        after: UUID | None = None,
        subject_id: UUID | None = None,
        actor_id: UUID | None = None,
    ) -> Page[AuditEntry]:
        """Return a page of at most `limit` entries, newest first, below the ID `after`.

        `subject_id` and `actor_id` select entries with these values.
        """
        principal.require_scopes(Scope.AUDIT_READ)
        entries = await work.audit.list(limit=limit + 1, after=after, subject_id=subject_id, actor_id=actor_id)
        return Page.from_rows(entries, limit)

    @readonly
    async def get_erasure(self, work: UnitOfWork, principal: Principal, user_id: UUID) -> ErasureReceipt:
        """Return the receipt of the erasure of a user. Raises ErasureNotFoundError."""
        principal.require_scopes(Scope.AUDIT_READ)
        return await work.audit.get_erasure(user_id)
